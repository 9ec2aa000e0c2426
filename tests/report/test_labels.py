"""Scores of tags in the report: each label has its F1, by language."""

import json

from fairseq_minimodel.kinds.registry import KINDS
from fairseq_minimodel.kinds.scores import read_scores, row_of
from fairseq_minimodel.kinds.tags import EntityScores
from fairseq_minimodel.report.blocks import Folded, Table
from fairseq_minimodel.report.comparison import read_tasks, score_section
from fairseq_minimodel.report.gather import gather


def scores(f1, **labels):
    known = {
        name: {"precision": 1.0, "recall": 1.0, "f1": one, "n": 5} for name, one in labels.items()
    }
    return EntityScores(
        sentences=9, words=90, lost=2, truncated=0, labels=known, entities=10, found=9,
        precision=0.5, recall=0.5, f1=f1, f1_low=f1 - 0.1, f1_high=f1 + 0.1,
    )  # fmt: skip


def test_each_label_has_a_row(tmp_path):
    rows = [
        row_of(KINDS["tags"], scores(0.5, PER=0.25, LOC=0.75), "en", "packs/en", "en.iob2", "a.pt"),
        row_of(KINDS["tags"], scores(0.4, PER=0.5), "de", "packs/de", "de.iob2", "a.pt"),
    ]
    (score, *others) = read_scores(rows[0])
    assert (score.metric, score.value, score.n) == ("F1 of entities", 50, 90) and not others
    assert "2 words without a token, which count as mistakes" in score.measure
    (tmp_path / "ner.json").write_text(json.dumps(rows))
    section = score_section(read_tasks(gather([tmp_path]), "en"))
    table, folded = section.blocks
    assert isinstance(table, Table) and isinstance(folded, Folded)
    [labels] = folded.blocks
    cells = {name: dict(zip(labels.headers[1:], row, strict=True)) for name, *row in labels.rows}
    assert cells["PER"] == {"en": "25.0", "de": "50.0"}
    assert cells["LOC"] == {"en": "75.0", "de": ""}
