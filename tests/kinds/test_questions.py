"""SQuAD, MLQA, XQuAD and TyDiQA-GoldP in the forms in which they are published."""

import json

import pytest
from support.published import SHAPES, publish

from fairseq_minimodel.corpus.benchmarks.read import read_benchmark
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.kinds.questions import Answer, Question

CONTEXT = "Der Zug 🚆 nach Köln fährt um neun."  # the train is one character


def squad(*questions, context=CONTEXT, title="Bahn"):
    """One article, one paragraph; a question is (id, [(text, answer_start), ...])."""
    entries = [
        {
            "id": identity,
            "question": "Wohin?",
            "answers": [{"text": text, "answer_start": start} for text, start in answers],
        }
        for identity, answers in questions
    ]
    article = {"paragraphs": [{"context": context, "qas": entries}]}
    return json.dumps(
        {"version": "1.1", "data": [{"title": title, **article} if title else article]}
    )


def question(identity, answers, context_language="en", question_language="en", title="Bahn"):
    return Question(
        id=identity,
        question="Wohin?",
        context=CONTEXT,
        answers=tuple(Answer(*answer) for answer in answers),
        context_language=context_language,
        question_language=question_language,
        title=title,
    )


KOELN = [("Köln", 15)]


@pytest.mark.parametrize("shape", SHAPES)
def test_squad(tmp_path, shape):
    answers = [*KOELN, ("nach Köln", 10)]
    files = {"dev-v1.1.json": squad(("q1", answers), ("q2", KOELN)), "train-v1.1.json": "unread"}
    split = read_benchmark("squad", publish(tmp_path, files, shape), "dev")["en"]
    assert split.rows == (question("q1", answers), question("q2", KOELN))


def test_long_json_on_one_line_and_json_over_several(tmp_path):
    long = squad(("q1", [("Köln", 2_000_001)]), context="x" * 2_000_001 + "Köln")
    indented = json.dumps(json.loads(squad(("q2", KOELN))), indent=1)
    path = publish(tmp_path, {"xquad.de.json": long, "xquad.en.json": "\ufeff" + indented})
    splits = read_benchmark("xquad", path, "test")
    assert len(splits["de"].rows[0].context) == 2_000_005
    assert splits["en"].rows == (question("q2", KOELN),)


@pytest.mark.parametrize("shape", SHAPES)
def test_mlqa_keeps_the_languages_of_context_and_question_apart(tmp_path, shape):
    pairs = [("de", "de"), ("de", "en"), ("en", "de")]
    files = {
        f"MLQA_V1/{split}/{split}-context-{context}-question-{asked}.json": squad(
            (f"{split}-{context}-{asked}", KOELN)
        )
        for context, asked in pairs
        for split in ("dev", "test")
    }
    path = publish(tmp_path, files, shape)
    assert {key: split.rows for key, split in read_benchmark("mlqa", path, "test").items()} == {
        "de": (question("test-de-de", KOELN, "de", "de"),),
        "de-en": (question("test-de-en", KOELN, "de", "en"),),
        "en-de": (question("test-en-de", KOELN, "en", "de"),),
    }
    assert list(read_benchmark("mlqa", path, "dev", ["en-de"])) == ["en-de"]


def test_xquad(tmp_path):
    files = {f"xquad.{code}.json": squad(("q", KOELN)) for code in ("de", "zh")}
    assert list(read_benchmark("xquad", publish(tmp_path, files), "test")) == ["de", "zh"]


SWAHILI, ENGLISH = ("swahili-12-0", KOELN), ("english-7-1", KOELN)


@pytest.mark.parametrize(
    ("split", "title", "files"),
    [
        ("train", "Bahn", {"tydiqa-goldp-v1.1-train.json": squad(SWAHILI, ENGLISH)}),
        ("dev", "Bahn", {"tydiqa-goldp-v1.1-dev.json": squad(SWAHILI, ENGLISH)}),
        (
            "dev",
            "Bahn",
            {
                "tydiqa-goldp-v1.1-dev/tydiqa-goldp-dev-swahili.json": squad(SWAHILI),
                "tydiqa-goldp-v1.1-dev/tydiqa-goldp-dev-english.json": squad(ENGLISH),
            },
        ),
        (
            "train",
            "",
            {
                "tydiqa.goldp.sw.train.json": squad(SWAHILI, title=None),
                "tydiqa.goldp.en.train.json": squad(ENGLISH, title=None),
            },
        ),
    ],
    ids=["train", "dev", "by language", "xtreme"],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_tydiqa(tmp_path, split, title, files, shape):
    path = publish(tmp_path, files, shape)
    expected = {
        "en": (question(*ENGLISH, "en", "en", title),),
        "sw": (question(*SWAHILI, "sw", "sw", title),),
    }
    splits = read_benchmark("tydiqa-goldp", path, split)
    assert {key: value.rows for key, value in splits.items()} == expected
    assert list(read_benchmark("tydiqa-goldp", path, split, ["sw"])) == ["sw"]


@pytest.mark.parametrize("hidden", [[], [("", 0)]])
def test_questions_without_answers_are_counted(tmp_path, hidden):
    path = publish(tmp_path, {"dev-v1.1.json": squad(("q1", hidden), ("q2", KOELN))})
    split = read_benchmark("squad", path, "dev")["en"]
    assert (len(split.rows), split.left_out) == (1, {"unlabelled": 1})
    path = publish(tmp_path, {"dev-v1.1.json": squad(("q1", hidden))})
    with pytest.raises(InputError, match="no row to use in 'en' .1 unlabelled"):
        read_benchmark("squad", path, "dev")


def changed(key, value):
    """The JSON of one question, in which every `key` has another value; None takes it away."""

    def change(pairs):
        record = dict(pairs)
        if key in record:
            record[key] = value
        return {name: entry for name, entry in record.items() if entry is not None}

    return json.dumps(json.loads(squad(("q1", KOELN)), object_pairs_hook=change))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "dev-v1.1.json is damaged .Expecting"),
        ('{"data": [], "data": []}', "data is there twice"),
        (b'{"data":\n"\xc3"}', "dev-v1.1.json is damaged .it is not UTF-8 in line 2"),
        ("[" * 100_000, "dev-v1.1.json is damaged .nested in more than"),
        (changed("question", "\ud800"), "half a surrogate pair"),
        (changed("context", "a \udfff"), "half a surrogate pair"),
        ("[]", "dev-v1.1.json: no list under the key 'data'"),
        (changed("data", "x"), "no list under the key 'data'"),
        (changed("paragraphs", None), "no list under the key 'paragraphs'"),
        (changed("context", 5), "no text under the key 'context'"),
        (changed("qas", None), "no list under the key 'qas'"),
        (changed("id", 7.5), "no text under the key 'id'"),
        (changed("id", True), "no text under the key 'id'"),
        (changed("question", None), "question q1: no text under the key 'question'"),
        (changed("answers", {}), "question q1: no list under the key 'answers'"),
        (changed("answers", ["x"]), "question q1: no text under the key 'text'"),
        (changed("answer_start", 14), "1 of 1 answers do not .* .question q1: 'Köln' at 14.; fix"),
        (changed("answer_start", -19), "'Köln' at -19"),
        (changed("answer_start", "14"), "'Köln' at '14'"),
        (changed("answer_start", 15.5), "'Köln' at 15.5"),
        (changed("answer_start", True), "'Köln' at True"),
        (changed("answer_start", [15]), "'Köln' at .15."),
        (changed("answer_start", None), "'Köln' at None"),
        (changed("text", "Bonn"), "'Bonn' at 15"),
        ('{"data": []}', "no row to use in 'en'"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_benchmark("squad", publish(tmp_path, {"dev-v1.1.json": content}), "dev")
    assert "published" in str(caught.value)


@pytest.mark.parametrize("start", ["15", " 15 ", 15.0])
@pytest.mark.parametrize("identity", [7, 2**70])
def test_numbers_are_read_however_they_are_spelled(tmp_path, start, identity):
    record = json.loads(changed("answer_start", start))
    record["data"][0]["paragraphs"][0]["qas"][0]["id"] = identity
    path = publish(tmp_path, {"dev-v1.1.json": json.dumps(record)})
    [question] = read_benchmark("squad", path, "dev")["en"].rows
    assert (question.id, question.answers[0].start) == (str(identity), 15)


SEVERAL = "aa b aa c aa"  # aa at 0, 5 and 10


def offsets_file(tmp_path, *answers):
    """One question for each list of (text, answer_start)."""
    qas = [
        {"id": f"q{number}", "question": "?", "answers": [
            {"text": text, "answer_start": start} for text, start in given
        ]}
        for number, given in enumerate(answers)
    ]  # fmt: skip
    record = {"data": [{"paragraphs": [{"context": SEVERAL, "qas": qas}]}]}
    return publish(tmp_path, {"dev-v1.1.json": json.dumps(record)})


def test_all_bad_offsets_are_counted_at_once(tmp_path):
    path = offsets_file(tmp_path, *([[("aa", 1)]] * 7), [("aa", 5)])
    with pytest.raises(InputError, match="7 of 8 answers .*question q4.* and 2 more") as caught:
        read_benchmark("squad", path, "dev")
    assert "q5" not in str(caught.value) and "--bad-offsets skip" in str(caught.value)


def test_bad_offsets_can_be_left_out(tmp_path, caplog):
    path = offsets_file(tmp_path, [("aa", 1), ("c", 8)], [("aa", 1)], [("aa", 5)])
    split = read_benchmark("squad", path, "dev", bad_offsets="skip")["en"]
    assert [(row.id, [one.text for one in row.answers]) for row in split.rows] == [
        ("q0", ["c"]), ("q2", ["aa"])
    ]  # fmt: skip
    assert split.left_out == {"misplaced": 1}
    assert "2 of 4 answers" in caplog.text and "2 were left out" in caplog.text


@pytest.mark.parametrize(
    ("given", "taken"),
    [(1, 0), (2, 0), (3, 5), (6, 5), (8, 10), (9, 10), (11, 10), (99, 10), (-4, 0), (None, 0)],
)
def test_bad_offsets_can_be_moved_to_the_nearest_place(tmp_path, given, taken, caplog):
    path = offsets_file(tmp_path, [("aa", given)], [("zz", 0)])
    split = read_benchmark("squad", path, "dev", bad_offsets="nearest")["en"]
    assert [row.answers[0].start for row in split.rows] == [taken]
    assert split.left_out == {"misplaced": 1}  # it stands nowhere
    assert "1 were moved to the nearest place, 1 were left out" in caplog.text


def test_an_id_without_its_language_is_refused(tmp_path):
    path = publish(tmp_path, {"tydiqa-goldp-v1.1-dev.json": squad(SWAHILI, ("klingon-1", KOELN))})
    with pytest.raises(InputError, match="question klingon-1: the id does not begin with a lang"):
        read_benchmark("tydiqa-goldp", path, "dev")
