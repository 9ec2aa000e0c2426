"""`evaluate` with bodies that answer questions: on files, on benchmarks, with one metric or another.

The bodies have a random head: their answers are bad, and not all the same.
"""

import json
import shutil
from collections import Counter
from dataclasses import replace

import pytest
import torch
from support.generated_questions import write_questions

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.identity import lineage_of
from fairseq_minimodel.bodies.language_side import LanguageSide, language_side_of
from fairseq_minimodel.cli import main
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.inference.solve import solver_of, speaker_of
from fairseq_minimodel.kinds.batches import Batches
from fairseq_minimodel.kinds.questions import Answer, Question, read_question_file
from fairseq_minimodel.kinds.spans import Answerer
from fairseq_minimodel.kinds.window_options import WindowOptions, write_record
from fairseq_minimodel.packs.module import load_module, save_module
from fairseq_minimodel.packs.pack import Description, load_pack, save_pack
from fairseq_minimodel.packs.plug_module import plug_module
from fairseq_minimodel.vocabulary.symbols import fingerprint, read_symbols

WORDS = {
    "en": [f"word{index}" for index in range(1, 60)],
    "de": [f"wort{index}" for index in range(70)],
}
WINDOWS = ["--max-length", "12", "--stride", "4", "--max-question", "1"]
OPTIONS = WindowOptions(max_length=12, stride=4, max_question=1)


@pytest.fixture(scope="module")
def folder(joint_checkpoint, source_data, target_data, tmp_path_factory):
    """Two bodies, packs of en and de, XQuAD of both and MLQA's four pairs of them."""
    folder = tmp_path_factory.mktemp("questions")
    base, generator = read_checkpoint(joint_checkpoint), torch.Generator().manual_seed(1)
    for name in ("body.pt", "other.pt"):
        head = {
            "span_head.weight": torch.randn(2, 16, generator=generator),
            "span_head.bias": torch.zeros(2),
        }
        write_body(folder / name, base, "span_qa", {**base.state, **head})
    write_body(folder / "headless.pt", base, "span_qa", base.state)
    write_body(folder / "classifier.pt", base, "sentence_prediction", base.state)
    source = language_side_of(base.state)
    target = LanguageSide(torch.randn(80, 16, generator=generator), torch.zeros(80))
    write_pack(folder / "packs" / "en", base, "en", source, source_data)
    write_pack(folder / "packs" / "de", base, "de", target, target_data)
    write_pack(folder / "more" / "sw", base, "sw", target, target_data)
    (folder / "xquad").mkdir()
    (folder / "mlqa").mkdir()
    for seed, (language, words) in enumerate(WORDS.items()):
        write_questions(folder / f"xquad/xquad.{language}.json", words, seed, count=40)
        for other in WORDS:
            name = f"mlqa/test-context-{language}-question-{other}.json"
            write_questions(folder / name, words, seed, count=20)
    return folder


def write_body(path, base, task, state):
    config = {**base.config, "task": {**base.config["task"], "_name": task}}
    write_checkpoint(path, replace(base, state=state, config=config))


def write_pack(folder, base, language, side, data):
    symbols = read_symbols(data / "dict.txt")
    description = Description(
        language, lineage_of(base.state), fingerprint(symbols), len(symbols), 16, depth=2
    )
    save_pack(folder, side, description, data / "dict.txt", data / "sentencepiece.bpe.model")


@pytest.fixture
def evaluate(folder, capsys, monkeypatch):
    """The verb, run in the folder; returns its exit code, what it printed and its message."""
    monkeypatch.chdir(folder)

    def run(*options, body=("body.pt",)):
        code = main(["evaluate", "--body", *body, *WINDOWS, *map(str, options)])
        return code, *capsys.readouterr()

    return run


XQUAD = ["--benchmark", "xquad", "--data", "xquad", "--packs", "packs"]
MLQA = ["--benchmark", "mlqa", "--data", "mlqa", "--packs", "packs"]
FILES = ["--test", "packs/de", "xquad/xquad.de.json", "--test", "packs/en", "xquad/xquad.en.json"]


def read(path, without=("inputs",)):
    return [
        {name: value for name, value in score.items() if name not in without}
        for score in json.loads(path.read_text())
    ]


def rows_of(table):
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|")
    ]


def plain_f1(answer, right):
    common = (Counter(answer.split()) & Counter(right.split())).total()
    return 2 * common / (len(answer.split()) + len(right.split()))


def test_each_language_is_scored_from_files_and_from_a_benchmark(evaluate, folder, tmp_path):
    code, printed, _ = evaluate(*FILES, "--json", tmp_path / "files.json")
    assert code == 0
    scores = read(tmp_path / "files.json")
    assert [(score["language"], score["questions"]) for score in scores] == [("de", 40), ("en", 40)]
    body = read_checkpoint("body.pt")
    answerer = Answerer("body.pt", body, OPTIONS, 30, "squad")
    for score, row in zip(scores, rows_of(printed)[2:], strict=True):
        # words have neither case nor punctuation here, and every answer is one word
        questions = list(read_question_file(score["data"]))
        answers = answerer.answers(
            speaker_of(body, load_pack(score["pack"]), Batches(8192)), questions
        )
        right = [question.answers[0].text for question in questions]
        equal = [a == b for a, b in zip(answers, right, strict=True)]
        f1 = [plain_f1(a, b) for a, b in zip(answers, right, strict=True)]
        assert score["exact_match"] == pytest.approx(sum(equal) / 40)
        assert score["f1"] == pytest.approx(sum(f1) / 40) and 0 < score["f1"] < 1
        assert score["f1_low"] < score["f1"] < score["f1_high"]
        assert score["answered"] == 40 and score["metric"] == "squad"
        assert row[0] == score["language"] and row[6] == f"{100 * score['f1']:.1f}"
    assert evaluate(*XQUAD, "--json", tmp_path / "benchmark.json")[0] == 0
    assert read(tmp_path / "benchmark.json") == scores


def test_the_size_of_the_batches_does_not_matter(evaluate, tmp_path):
    for size in (64, 8192):
        evaluate(*FILES, "--max-tokens", size, "--json", tmp_path / f"{size}.json")
    assert read(tmp_path / "64.json") == read(tmp_path / "8192.json")


def test_bodies_stand_side_by_side_by_f1(evaluate, tmp_path):
    bodies = ("body.pt", "other.pt")
    code, printed, _ = evaluate(*XQUAD, "--json", tmp_path / "scores.json", body=bodies)
    assert code == 0
    scores = read(tmp_path / "scores.json")
    assert [score["body"] for score in scores] == ["body.pt", "body.pt", "other.pt", "other.pt"]
    rows = rows_of(printed)
    assert rows[0] == ["xquad test: F1 (%)", "examples", *bodies]
    assert [row[:2] for row in rows[2:]] == [["de", "40"], ["en", "40"], ["mean", "-"]]
    german, english, other_german, other_english = (100 * score["f1"] for score in scores)
    assert german != other_german
    assert [cell.split()[0] for cell in rows[2][2:]] == [f"{german:.1f}", f"{other_german:.1f}"]
    means = (german + english) / 2, (other_german + other_english) / 2
    assert rows[4][2:] == [f"{mean:.1f}" for mean in means]


@pytest.mark.parametrize(
    ("options", "metric"),
    [(XQUAD, "squad"), (MLQA, "mlqa"), ([*MLQA, "--metric", "squad"], "squad"),
     ([*FILES, "--metric", "mlqa"], "mlqa")],
)  # fmt: skip
def test_the_metric_is_that_of_the_benchmark(options, metric, evaluate, tmp_path):
    assert evaluate(*options, "--json", tmp_path / "scores.json")[0] == 0
    assert {score["metric"] for score in read(tmp_path / "scores.json")} == {metric}


def test_the_metric_is_what_answers_are_compared_by(evaluate, folder, tmp_path, monkeypatch):
    """MLQA's rules take German articles off both sides; SQuAD's do not."""
    monkeypatch.setattr(
        Answerer,
        "answers",
        lambda self, speaker, questions: [f"die {one.answers[0].text}" for one in questions],
    )
    for metric, exact_match in (("mlqa", 1), ("squad", 0)):
        output = tmp_path / f"{metric}.json"
        evaluate(*MLQA, "--languages", "de", "--metric", metric, "--json", output)
        assert [score["exact_match"] for score in read(output)] == [exact_match]


@pytest.mark.parametrize("where", ["data", "beside the body"])
def test_the_windows_are_those_of_the_training_data(evaluate, folder, tmp_path, where, capsys):
    """Where their record is found, none of the options is needed; one that is given counts more."""
    base = read_checkpoint(folder / "body.pt")
    task = {**base.config["task"], "data": str(tmp_path / "data")}
    write_checkpoint(tmp_path / "body.pt", replace(base, config={**base.config, "task": task}))
    (tmp_path / "data").mkdir()
    write_record(tmp_path / ("data" if where == "data" else ""), OPTIONS)
    body = ["--body", str(tmp_path / "body.pt")]

    def score(name, *options):
        output = str(tmp_path / f"{name}.json")
        assert main(["evaluate", *body, *FILES, *options, "--json", output]) == 0
        return read(tmp_path / f"{name}.json")

    recorded = score("recorded")
    assert recorded == score("given", *WINDOWS)
    assert score("shorter", "--max-length", "9") == score("all", *WINDOWS, "--max-length", "9")
    assert score("shorter2", "--max-length", "9") != recorded
    [record] = tmp_path.rglob("windows.json")
    record.write_text('{"max_length": "12"}')
    assert main(["evaluate", *body, *FILES]) == 2
    assert f"{record} is damaged" in capsys.readouterr().err
    record.unlink()  # as data that an earlier version prepared: the windows are BERT's
    assert main(["evaluate", *body, *FILES]) == 2
    assert "--max-length 384 is more than the 32 positions" in capsys.readouterr().err


def test_plugged_bodies_and_modules_keep_the_record_of_the_windows(folder, source_data, tmp_path):
    body = read_checkpoint(folder / "body.pt")
    write_checkpoint(tmp_path / "body.pt", body)
    write_record(tmp_path, OPTIONS)
    arguments = ["--body", tmp_path / "body.pt", "--pack", folder / "packs/de"]
    assert main(["plug", *map(str, arguments), "--output", str(tmp_path / "plugged")]) == 0
    trained = replace(body.replaced(body.state, task_module="lora"), path=tmp_path / "trained.pt")
    state = build_model(trained, read_symbols(source_data / "dict.txt")).state_dict()
    save_module(tmp_path / "module", trained.replaced(state), None)
    over = plug_module(replace(body, path=folder / "x.pt"), load_module(tmp_path / "module"))[0]
    for checkpoint in (read_checkpoint(tmp_path / "plugged/model.pt"), over):
        assert solver_of("x", checkpoint, {}).windows == OPTIONS
        assert solver_of("x", checkpoint, {"stride": 3}).windows == replace(OPTIONS, stride=3)


def test_long_questions_are_counted(evaluate, folder, tmp_path):
    question = {
        "id": 1,
        "question": "word1 word2",
        "answers": [{"text": "word3", "answer_start": 0}],
    }
    short = {**question, "question": "word1"}
    record = {"data": [{"paragraphs": [{"context": "word3 word4", "qas": [question, short]}]}]}
    (tmp_path / "q.json").write_text(json.dumps(record))
    output = tmp_path / "scores.json"
    printed = evaluate("--test", "packs/en", tmp_path / "q.json", "--json", output)[1]
    assert f"en: 1 of 2 questions of {tmp_path / 'q.json'} were too long" in printed
    assert read(output)[0]["truncated"] == 1


@pytest.mark.parametrize(
    ("said", "right", "exact_match", "f1"),
    [
        # evaluate-v1.1.py and mlqa_evaluation_v1.py compare "" as any other answer; without a common
        # word their F1 is 0
        ("", "the.", 1, 0),
        ("", "word3", 0, 0),
        ("a", "the.", 1, 0),
        ("word3", "word3.", 1, 1),
    ],
)
def test_an_empty_answer_is_compared_as_the_official_scripts_compare_it(
    folder, monkeypatch, said, right, exact_match, f1
):
    monkeypatch.setattr(Answerer, "answers", lambda *unused: [said])
    row = Question("1", "word1", f"word3 {right}", (Answer(right, 6),), "en", "en", "")
    body = read_checkpoint(folder / "body.pt")
    speaker = speaker_of(body, load_pack(folder / "packs/en"), Batches(8192))
    score = Answerer("x", body, OPTIONS, 30, "squad").score(speaker, [row], "en")
    assert (score.exact_match, score.f1, score.answered) == (exact_match, f1, bool(said))


def test_bad_offsets_of_a_file_are_skipped_where_that_is_asked_for(evaluate, folder, tmp_path):
    record = json.loads((folder / "xquad/xquad.en.json").read_text())
    first = record["data"][0]["paragraphs"][0]["qas"][0]
    first["answers"][0]["answer_start"] += 1
    (tmp_path / "q.json").write_text(json.dumps(record))
    test = ["--test", "packs/en", tmp_path / "q.json"]
    code, _, message = evaluate(*test)
    assert code == 2 and "1 of 40 answers do not stand in their context" in message
    for rule, count in (("skip", 39), ("nearest", 40)):
        evaluate(*test, "--bad-offsets", rule, "--json", tmp_path / "scores.json")
        assert read(tmp_path / "scores.json")[0]["questions"] == count


def test_what_is_there_is_not_computed_again(evaluate, tmp_path):
    output = tmp_path / "scores.json"
    options = [*XQUAD, "--json", output]
    evaluate(*options)
    scores = json.loads(output.read_text())
    right = scores[0]["f1"]
    scores[0]["f1"] = 0.9876
    output.write_text(json.dumps(scores[:1]))  # as if it had stopped after one language
    assert "98.8" in evaluate(*options)[1]
    assert json.loads(output.read_text()) == scores
    for change in (["--max-answer", "2"], ["--metric", "mlqa"], ["--stride", "3"]):
        output.write_text(json.dumps(scores))
        assert evaluate(*options, *change)[0] == 0
        # scores by another metric come beside those that are there
        place = len(scores) if change[0] == "--metric" else 0
        assert json.loads(output.read_text())[place]["f1"] != 0.9876, change
    evaluate(*options)
    assert json.loads(output.read_text())[0]["f1"] == right


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([*MLQA, "--languages", "de-en"],
         "de-en of mlqa has contexts in de and questions in en, and a pack reads one language"),
        ([*MLQA, "--languages", "en", "en-de"], "en-de of mlqa has contexts in en"),
        ([*MLQA, "--languages", "de-sw"], "no pack of the language de-sw; there is de, en"),
        (["--benchmark", "xnli", "--data", "xquad", "--packs", "packs"],
         "xnli is not a span benchmark; these are: squad, mlqa, xquad, tydiqa-goldp"),
        (["--benchmark", "nowhere", "--data", "xquad", "--packs", "packs"],
         "no benchmark 'nowhere'"),
        ([*FILES, "--max-length", "33"], "--max-length 33 is more than the 32 positions"),
        ([*FILES, "--device", "nonsense"], "--device nonsense cannot be used here"),
        (["--test", "nowhere", "xquad/xquad.de.json"], "nowhere is not a language pack"),
        (["--test", "packs/de", "absent.json"], "absent.json does not exist"),
        (["--test", "packs/de", "packs/de/language.json"], "not in the form of SQuAD v1.1"),
    ],
)  # fmt: skip
def test_refusals(options, sentence, evaluate, tmp_path):
    code, _, message = evaluate(*options, "--json", tmp_path / "scores.json")
    assert code == 2
    assert sentence in message and len(message.strip().splitlines()) == 1
    assert not (tmp_path / "scores.json").exists()


def test_a_language_without_rules_is_refused_before_the_work(evaluate, monkeypatch):
    monkeypatch.setattr(Answerer, "answers", lambda *unused: pytest.fail("has begun"))
    more = ["--test", "more/sw", "xquad/xquad.de.json", "--metric", "mlqa"]
    code, _, message = evaluate(*FILES, *more)
    assert code == 2 and "no rules for the language 'sw'" in message


@pytest.mark.parametrize(
    ("bodies", "sentence"),
    [
        (["absent.pt"], "no checkpoint absent.pt"),
        (["headless.pt"], "headless.pt was not fine-tuned for questions"),
        (["body.pt", "classifier.pt"], "the bodies are of different kinds"),
        (["body.pt", "{joint}"], "was not fine-tuned for a task that is scored"),
    ],
)
def test_bodies_that_do_not_answer(bodies, sentence, evaluate, joint_checkpoint):
    bodies = [body.format(joint=joint_checkpoint) for body in bodies]
    code, _, message = evaluate(*FILES, body=bodies)
    assert code == 2 and sentence in message and len(message.strip().splitlines()) == 1


def test_one_pack_for_two_languages_reads_mixed_pairs_by_their_file(evaluate, folder, tmp_path):
    """The way out that the refusal of such pairs names."""
    pack, file = tmp_path / "both", "mlqa/test-context-de-question-en.json"
    shutil.copytree(folder / "packs" / "de", pack)
    code, printed, _ = evaluate("--test", pack, file, "--metric", "mlqa")
    assert code == 0 and rows_of(printed)[2][0] == "de"
