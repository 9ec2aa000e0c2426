"""Rank correlation by its definition, and scores of similarity by the verb."""

import math
import random

import pytest
import torch
from support.bodies import sentences

from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.evaluation.evaluate import evaluate
from fairseq_minimodel.inference.model import load
from fairseq_minimodel.kinds.similarity import rank_correlation


def plain_correlation(ours, theirs):
    """Pearson's of the ranks, of equal values their mean rank."""

    def ranks(values):
        return [
            sum(other < value for other in values)
            + (sum(other == value for other in values) + 1) / 2
            for value in values
        ]

    x, y = ranks(ours), ranks(theirs)
    mx, my = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    return covariance / math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))


def test_it_is_the_correlation_of_ranks_with_the_interval_of_bonett_and_wright():
    generator = random.Random(1)
    theirs = [generator.randint(0, 5) for _ in range(60)]
    ours = [score + generator.gauss(0, 2) for score in theirs]
    found = rank_correlation(ours, theirs)
    assert found.value == pytest.approx(plain_correlation(ours, theirs)) and 0.2 < found.value < 0.9
    error = 1.959964 * math.sqrt((1 + found.value**2 / 2) / 57)
    for bound, sign in ((found.low, -1), (found.high, 1)):
        assert bound == pytest.approx(math.tanh(math.atanh(found.value) + sign * error), abs=1e-6)
    assert rank_correlation(theirs, theirs) == (1, 1, 1)
    with pytest.raises(InputError, match="3 pairs say nothing"):
        rank_correlation([1, 2, 3], [1, 2, 3])


def test_the_verb_scores_the_cosines(bodies, encoder, tmp_path):
    first, second = sentences("de", 30, seed=1), sentences("de", 30, seed=2)
    scores = [index % 6 for index in range(30)]
    rows = zip(first, second, scores, strict=True)
    (tmp_path / "sts.tsv").write_text("".join(f"{a}\t{b}\t{c}\n" for a, b, c in rows))
    pack = bodies / "packs/de"
    [row] = evaluate(
        [encoder], tests=[(str(pack), str(tmp_path / "sts.tsv"))], text_columns=["1", "2"],
        label_column="3", output=tmp_path / "scores.json",
    )  # fmt: skip
    model = load(encoder, pack)
    cosines = torch.cosine_similarity(model.encode(first), model.encode(second)).tolist()
    assert row["spearman"] == pytest.approx(plain_correlation(cosines, scores), abs=1e-6)
    assert row["kind"] == "vectors" and row["pairs"] == 30


@pytest.mark.parametrize(
    ("line", "columns", "sentence"),
    [("a\tb\tx", "1 2", "'x' is not a number"), ("a\tb\t1", "1", "give two --text-columns"),
     ("a\tb\t1", "1 2", "has 1 pairs: give at least 4")],
)  # fmt: skip
def test_what_is_refused(line, columns, sentence, bodies, encoder, tmp_path, capsys):
    (tmp_path / "sts.tsv").write_text(f"{line}\n")
    words = ["evaluate", "--body", encoder, "--test", bodies / "packs/de", tmp_path / "sts.tsv",
             "--label-column", "3", "--text-columns", *columns.split()]  # fmt: skip
    assert main([str(word) for word in words]) == 2
    assert sentence in capsys.readouterr().err
