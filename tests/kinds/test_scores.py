"""The rows that `evaluate`, `retrieve` and `perplexity` write, of this version and of earlier ones."""

import pytest

from fairseq_minimodel.kinds.scores import Score, read_score, read_scores, summarise

ACCURACY = {
    "accuracy": 0.5, "low": 0.4, "high": 0.6, "examples": 99, "chance": 0.125, "majority": 0.25,
}  # fmt: skip
QUESTIONS = {"f1": 0.25, "f1_low": 0.2, "f1_high": 0.3, "questions": 10, "exact_match": 0.1}
BITS = {"bits": 9.7, "low": 9.6, "high": 9.8, "masked": 1000, "tokens": 7000}


def found(value):
    return {"to English": {"value": value, "low": 0.1, "high": 0.3}, "from English": {"value": 0.9}}


def test_each_kind_of_score_has_its_measure():
    most_frequent = "always the most frequent label 25.0 %"
    score = read_score(ACCURACY)
    assert score == Score(
        "classification", "accuracy", "%", 50, 40, 60, 99, 12.5, note=most_frequent
    )
    assert score.measure == f"accuracy (%; chance 12.5 %, {most_frequent})" and score.per_cent
    score = read_score(QUESTIONS)
    assert score == Score("span", "F1", "%", 25, 20, 30, 10, None)
    assert score.measure == "F1 (%)"
    score = read_score(BITS)
    assert score == Score("masked", "bits per masked token", "bits", 9.7, 9.6, 9.8, 1000, None)
    assert score.measure == "bits per masked token" and not score.per_cent


def test_pairs_found_are_those_by_csls_if_it_was_tried():
    row = {
        "pairs": 400,
        "chance": 1 / 400,
        "accuracies": {"cosine": found(0.2), "csls": found(0.25)},
    }
    score = read_score(row)
    assert (score.value, score.low, score.high, score.n) == (25, 10, 30, 400)
    assert read_score(row).measure == "pairs found, to English, by CSLS (%; chance 0.2 %)"
    del row["accuracies"]["csls"]
    assert read_score(row).value == 20 and "by cosine" in read_score(row).measure


def test_a_row_has_all_its_scores_and_their_place():
    place = {"language": "de", "pack": "packs/de", "body": "body.pt", "data": "test.json"}
    row = {**QUESTIONS, "exact_match_low": 0, "exact_match_high": 0.2, **place}
    f1, exact = read_scores(row)
    assert (f1.metric, f1.value, exact.metric, exact.value) == ("F1", 25, "exact match", 10)
    assert {name: getattr(exact, name) for name in place} == place
    assert list(read_scores({"kind": "span", **row})) == [f1, exact]


def test_over_seeds_the_mean_and_the_range_alone_the_interval():
    first, second = read_score(ACCURACY), read_score({**ACCURACY, "accuracy": 0.8})
    assert summarise([first]) == (50, 40, 60)
    assert summarise([first, second]) == (65, 50, 80)


def test_a_row_of_something_else_is_refused():
    for row in ({"language": "de", "pack": "packs/de"}, {**ACCURACY, "kind": "of another version"}):
        with pytest.raises(KeyError):
            read_score(row)
    with pytest.raises(TypeError, match="low is true, not a number"):
        read_score({**ACCURACY, "low": True})
