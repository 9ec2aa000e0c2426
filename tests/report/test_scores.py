import pytest

from fairseq_minimodel.report.scores import Score, read_score, score_curve, summarise

ACCURACY = {
    "accuracy": 0.5, "low": 0.4, "high": 0.6, "examples": 99, "chance": 0.125, "majority": 0.25,
}  # fmt: skip
QUESTIONS = {"f1": 0.25, "f1_low": 0.2, "f1_high": 0.3, "questions": 10, "exact_match": 0.1}
BITS = {"bits": 9.7, "low": 9.6, "high": 9.8, "masked": 1000, "tokens": 7000}


def found(value):
    return {"to English": {"value": value, "low": 0.1, "high": 0.3}, "from English": {"value": 0.9}}


def test_each_kind_of_score_has_its_measure():
    assert read_score(ACCURACY) == Score(
        50, 40, 60, 99, "accuracy (%; chance 12.5 %, always the most frequent label 25.0 %)",
        12.5, True,
    )  # fmt: skip
    assert read_score(QUESTIONS) == Score(25, 20, 30, 10, "F1 (%)", None, True)
    assert read_score(BITS) == Score(9.7, 9.6, 9.8, 1000, "bits a masked token", None, False)


def test_pairs_found_are_those_by_csls_if_it_was_tried():
    row = {
        "pairs": 400,
        "chance": 1 / 400,
        "accuracies": {"cosine": found(0.2), "csls": found(0.25)},
    }
    assert read_score(row)[:4] == (25, 10, 30, 400)
    assert read_score(row).measure == "pairs found, to English, by CSLS (%; chance 0.2 %)"
    del row["accuracies"]["csls"]
    assert read_score(row).value == 20 and "by cosine" in read_score(row).measure


def test_a_row_of_something_else_is_refused():
    with pytest.raises(KeyError):
        read_score({"language": "de", "pack": "packs/de"})


def test_over_seeds_the_mean_and_the_range_alone_the_interval():
    first, second = read_score(ACCURACY), read_score({**ACCURACY, "accuracy": 0.8})
    assert summarise([first]) == (50, 40, 60)
    assert summarise([first, second]) == (65, 50, 80)


def test_a_curve_begins_with_the_control():
    curve = score_curve("MiniPost", [(20, 0.5), (10, 0.3)], 0.2)
    assert (curve.flops, curve.scores) == ([0, 10, 20], [0.2, 0.3, 0.5])
    assert score_curve("MiniPost", [(20, 0.5)], None).flops == [20]
