"""Values worked by hand from the rules of the official scripts."""

import random

import pytest

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.kinds.answer_metrics import exact_match, f1, normaliser


@pytest.mark.parametrize(
    ("metric", "language", "text", "expected"),
    [
        ("squad", "en", "The  Cat, a dog & an\tOwl!", "cat dog owl"),
        ("squad", "en", "theatre of a-b", "theatre of ab"),
        ("squad", "en", "“the” 5 %…", "“ ” 5 …"),  # no ASCII, so no punctuation here
        ("squad", "de", "der Hund", "der hund"),
        ("squad", "en", "the.", ""),
        ("mlqa", "en", "“The” Cat—a dog…", "cata dog"),
        ("mlqa", "en", "a $5 + `x`", "5 x"),
        ("mlqa", "de", "Die Stadt, des Weines", "stadt weines"),
        ("mlqa", "de", "the a an", "the a an"),
        ("mlqa", "es", "¿Los gatos y una casa?", "gatos y casa"),
        ("mlqa", "vi", "Những con của cái", "con"),
        ("mlqa", "hi", "एक शहर।", "एक शहर"),
        ("mlqa", "ar", "الكتاب، والبيت", "كتاب و بيت"),  # also where it is not a prefix of the word
        ("mlqa", "zh", "中国abc def長城，1", "中 国 abc def 長 城 1"),
    ],
)
def test_normalisation(metric, language, text, expected):
    assert normaliser(metric, language)(text) == expected


@pytest.mark.parametrize(
    ("metric", "language", "prediction", "answers", "right", "overlap"),
    [
        ("squad", "en", "The cat.", ["cat"], True, 1),
        # 2 words of 3 common with 2 of 2: precision 2/3, recall 1
        ("squad", "en", "big black cat", ["a black cat"], False, 4 / 5),
        # words count as often as they occur: 1 common of 3 and of 2
        ("squad", "en", "x x x", ["x y"], False, 2 / 5),
        ("squad", "en", "black cat", ["dog", "a cat", "black cat!"], True, 1),
        ("squad", "en", "black cat", ["dog", "cat owl", "cat"], False, 2 / 3),
        ("squad", "en", "dog", ["cat"], False, 0),
        ("squad", "en", "the", ["a"], True, 0),  # both empty: equal, and without a common word
        ("mlqa", "de", "das alte Haus", ["Haus, alte"], False, 1),
        # 中 国 人 against 中 国
        ("mlqa", "zh", "中国人", ["中国"], False, 4 / 5),
    ],
)
def test_scores(metric, language, prediction, answers, right, overlap):
    normalise = normaliser(metric, language)
    assert exact_match(prediction, answers, normalise) is right
    assert f1(prediction, answers, normalise) == pytest.approx(overlap)


def test_languages_and_metrics_without_rules_are_refused():
    with pytest.raises(InputError, match="'mlqa-v2'.*squad, mlqa"):
        normaliser("mlqa-v2", "en")
    with pytest.raises(InputError, match="no rules for the language 'sw'.*ar, de, en"):
        normaliser("mlqa", "sw")
    assert normaliser("squad", "sw")("Jibu!") == "jibu"


def test_a_kept_library_gives_the_same():
    """torchmetrics, on made-up answers with all that the rules look at.

    None is empty once articles are left out: there it follows the script of SQuAD 2.0, and F1 is 1
    for two empty answers.
    """
    squad = pytest.importorskip("torchmetrics.functional.text").squad
    generator = random.Random(1)
    words = ["the", "The", "a", "an", "Rhine", "rhine,", "(1944)", "1944.", "U.S.", "new-born", ""]
    normalise = normaliser("squad", "en")
    for _ in range(300):
        said = " ".join(["Bonn", *generator.choices(words, k=generator.randint(0, 4))])
        right = [
            " ".join([*generator.choices(words, k=generator.randint(1, 4)), town])
            for town in ("Bonn", "Köln")
        ]
        found = squad(
            {"prediction_text": said, "id": "1"},
            {"answers": {"answer_start": [0, 0], "text": right}, "id": "1"},
        )
        assert 100 * exact_match(said, right, normalise) == found["exact_match"].item()
        assert 100 * f1(said, right, normalise) == pytest.approx(found["f1"].item(), abs=1e-3)
