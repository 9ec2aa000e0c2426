"""What the rest of the package takes from the registry of kinds."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest

from fairseq_minimodel.evaluation.evaluate import _read_rows
from fairseq_minimodel.evaluation.table import notes_of, score_table
from fairseq_minimodel.inference.predict import Line, read_rows
from fairseq_minimodel.kinds.kind import Kind, Metric
from fairseq_minimodel.kinds.registry import KINDS, kind_of, kind_of_task
from fairseq_minimodel.kinds.scores import read_score, row_of


@dataclass(frozen=True)
class ChoiceScores:
    tokens: int
    f1: float
    low: float
    high: float
    truncated: int


@pytest.fixture
def choices(monkeypatch):
    """A new kind, by one entry of the registry."""
    kind = Kind(
        name="choices",
        tasks={"choosing": "evaluate {}"},
        trained="was fine-tuned to choose",
        loss_unit="bits per token",
        text_keys=(("tokens",),),
        rows="tokens",
        count="tokens",
        metrics=(Metric("F1 of entities", ("f1", "low", "high"), hub="f1"),),
        form=ChoiceScores,
        columns=(("F1 (%)", lambda row: f"{100 * row['f1']:.1f}"),),
        solver=lambda *unused: None,
    )
    monkeypatch.setitem(KINDS, "choices", kind)
    return kind


def test_the_kind_of_a_checkpoint_is_that_of_its_task():
    names = ("sentence_prediction", "span_qa", "tagging", "masked_lm", "language_adaptation")
    assert [kind_of_task(name).name for name in names] == [
        "classification", "span", "tags", "masked", "masked",
    ]  # fmt: skip
    assert kind_of_task("translation") is None and kind_of_task(None) is None
    assert kind_of({}).name == kind_of({"task": {"_name": "translation"}}).name == "masked"


def test_no_task_has_two_kinds():
    tasks = [task for kind in KINDS.values() for task in kind.tasks]
    assert len(tasks) == len(set(tasks))


def test_a_new_kind_is_scored_and_read_by_its_entry_alone(choices, tmp_path):
    assert kind_of({"task": {"_name": "choosing"}}) is choices and choices.is_fine_tuned
    facts = ChoiceScores(tokens=50, f1=0.5, low=0.4, high=0.6, truncated=3)
    row = row_of(choices, facts, "de", "packs/de", "test.conllu", "body.pt")
    score = read_score(row)  # "f1" alone would be that of answers
    assert (score.kind, score.value, score.n, score.measure) == (
        "choices",
        50,
        50,
        "F1 of entities (%)",
    )
    assert (score.language, score.body, score.data) == ("de", "body.pt", "test.conllu")
    assert "F1 (%)" in score_table(choices, [row]) and "50.0" in score_table(choices, [row])
    assert (
        "de: 3 of 50 tokens of test.conllu were too long for body.pt" in notes_of(choices, [row])[1]
    )
    output = tmp_path / "scores.json"
    output.write_text(json.dumps([{**row, "inputs": "x", "left_out": {}}]))
    assert _read_rows(output)[0]["f1"] == 0.5
    line = Line(1, b'{"tokens": "a b"}\n', 0)
    assert next(read_rows([line], "x", True, choices)).texts == ("a b",)


def test_heads_are_known_by_their_tensors():
    state = {"classification_heads.x.out_proj.weight": None, "encoder.lm_head.weight": None}
    task = {"classification_head_name": "x"}
    assert [kind.name for kind in KINDS.values() if kind.has_head(state, task)] == [
        "classification", "masked",
    ]  # fmt: skip
    assert not KINDS["classification"].has_head(state, {})
    assert not replace(KINDS["masked"], head=None).has_head(state, {})


def test_the_names_of_kinds_cost_no_torch():
    code = (
        "import sys, fairseq_minimodel.corpus.benchmarks.table, fairseq_minimodel.corpus.questions\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
