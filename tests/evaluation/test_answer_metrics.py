"""Values worked by hand from the rules of the official scripts."""

import pytest

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.evaluation.answer_metrics import exact_match, f1, normaliser


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
        ("mlqa", "ar", "الكتاب، والبيت", "كتاب و بيت"),  # also where it is no prefix of the word
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
