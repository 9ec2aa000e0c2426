"""Real files, against numbers that were counted without this package (csv, json and awk)."""

from collections import Counter

import pytest

from fairseq_minimodel.corpus.benchmarks.read import read_benchmark


def labels(split):
    return dict(Counter(example.label for example in split.rows))


@pytest.mark.parametrize("language", ["ar", "de", "el", "en", "hi", "ru", "sw", "tr", "vi"])
def test_xnli(shared_data, language):
    [split] = read_benchmark("xnli", shared_data / "nli", "dev", [language]).values()
    assert labels(split) == {"entailment": 830, "neutral": 830, "contradiction": 830}
    assert split.left_out == {}


@pytest.mark.parametrize(
    ("name", "entailment", "neutral", "contradiction"),
    [("train", 2770, 2778, 2782), ("dev", 326, 325, 349), ("test", 654, 677, 669)],
)
def test_counterfactual_snli(shared_data, name, entailment, neutral, contradiction):
    split = read_benchmark("snli-counterfactual", shared_data / "nli", name)["en"]
    assert labels(split) == {
        "entailment": entailment,
        "neutral": neutral,
        "contradiction": contradiction,
    }


# The rows kept of dev and of zh/test are those that the README of PAWS-X counts, too.
@pytest.mark.parametrize(
    ("name", "language", "different", "same", "untranslated"),
    [
        ("dev", "de", 1101, 831, 68),
        ("dev", "en", 1137, 863, 0),
        ("dev", "es", 1115, 847, 38),
        ("dev", "fr", 1132, 860, 8),
        ("dev", "ja", 1126, 854, 20),
        ("dev", "ko", 1125, 840, 35),
        ("dev", "zh", 1131, 853, 16),
        ("test", "de", 1073, 895, 32),
        ("test", "zh", 1081, 894, 25),
    ],
)
def test_pawsx(shared_data, name, language, different, same, untranslated):
    split = read_benchmark("pawsx", shared_data / "paraphrase", name, [language])[language]
    assert labels(split) == {"0": different, "1": same}
    assert split.left_out == ({"untranslated": untranslated} if untranslated else {})


@pytest.mark.parametrize("language", ["ar", "de", "el", "en", "hi", "ru", "sw", "tr", "vi"])
def test_sib(shared_data, language):
    counts = {
        name: labels(read_benchmark("sib200", shared_data / "topic", name, [language])[language])
        for name in ("train", "dev")
    }
    assert counts == {
        "train": {
            "science/technology": 176, "travel": 138, "politics": 102, "sports": 85, "health": 77,
            "entertainment": 65, "geography": 58,
        },
        "dev": {
            "science/technology": 25, "travel": 20, "politics": 14, "sports": 12, "health": 11,
            "entertainment": 9, "geography": 8,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "folder", "split", "language", "quotation_marks"),
    [
        ("pawsx", "paraphrase", "test", "de", 361),
        ("snli-counterfactual", "nli", "train", "en", 80),
        ("sib200", "topic", "train", "en", 82),
        ("sib200", "topic", "train", "ru", 219),
    ],
)
def test_only_quotation_marks_of_the_text_are_left(
    shared_data, name, folder, split, language, quotation_marks
):
    rows = read_benchmark(name, shared_data / folder, split, [language])[language].rows
    assert sum(text.count('"') for row in rows for text in row.texts) == quotation_marks


@pytest.mark.parametrize(
    ("name", "split", "language", "questions", "starts", "characters", "titles"),
    [
        ("mlqa", "dev", "ar", 517, 179011, 10136, 238),
        ("mlqa", "dev", "de", 512, 172331, 11645, 281),
        ("mlqa", "dev", "en", 1148, 480078, 22003, 520),
        ("mlqa", "dev", "hi", 507, 180851, 9737, 217),
        ("mlqa", "dev", "vi", 511, 223306, 9878, 228),
        ("tydiqa-goldp", "train", "en", 3696, 637051, 95368, 1),
        ("tydiqa-goldp", "train", "sw", 2755, 336833, 43351, 1),
        ("xquad", "test", "ar", 1190, 348078, 21314, 48),
        ("xquad", "test", "de", 1190, 452569, 25303, 48),
        ("xquad", "test", "el", 1190, 458519, 25641, 48),
        ("xquad", "test", "en", 1190, 398471, 22556, 48),
        ("xquad", "test", "hi", 1190, 379537, 21330, 48),
        ("xquad", "test", "ru", 1190, 433736, 25467, 48),
        ("xquad", "test", "tr", 1190, 391311, 23215, 48),
        ("xquad", "test", "vi", 1190, 409665, 23393, 48),
    ],
)
def test_questions(shared_data, name, split, language, questions, starts, characters, titles):
    split = read_benchmark(name, shared_data / "qa", split, [language])[language]
    answers = [answer for question in split.rows for answer in question.answers]
    assert len(split.rows) == questions
    assert sum(answer.start for answer in answers) == starts
    assert sum(len(answer.text) for answer in answers) == characters
    assert len({question.title for question in split.rows}) == titles
    assert {question.context_language for question in split.rows} == {language}
    assert split.left_out == {}


@pytest.mark.parametrize(
    ("language", "code", "pairs", "characters", "english"),
    [
        ("ar", "ara", 1000, 23576, 28064),
        ("de", "deu", 1000, 55318, 47436),
        ("el", "ell", 1000, 28225, 25757),
        ("hi", "hin", 1000, 33559, 33087),
        ("ru", "rus", 1000, 32013, 32646),
        ("sw", "swh", 390, 9255, 10431),
        ("tr", "tur", 1000, 33516, 33276),
        ("vi", "vie", 1000, 38893, 37683),
    ],
)
def test_tatoeba(shared_data, language, code, pairs, characters, english):
    split = read_benchmark("tatoeba", shared_data / "parallel", "test", [language])[language]
    assert (split.language, len(split.rows)) == (code, pairs)
    assert sum(len(row.text) for row in split.rows) == characters
    assert sum(len(row.english) for row in split.rows) == english
