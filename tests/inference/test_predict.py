"""The verb `predict`: what goes in line by line comes out line by line, with what a model says."""

import gzip
import io
import json
import lzma
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from support.bodies import WINDOWS, sentences

import fairseq_minimodel
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.inference import predict as serving
from fairseq_minimodel.inference.predict import (
    Line,
    Row,
    answered,
    portions,
    read_rows,
    write_predictions,
)
from fairseq_minimodel.kinds.registry import KINDS

QUESTIONS = [f"--{name.replace('_', '-')}={value}" for name, value in WINDOWS.items()]


@pytest.fixture
def predict(bodies, tmp_path, monkeypatch, capsys):
    """The verb, run in a folder of its own; returns exit code, what it wrote and its message."""
    monkeypatch.chdir(tmp_path)

    def run(body, *options, text=None, language="en"):
        if text is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        pack = bodies / "packs" / language
        code = main(["predict", "--body", str(bodies / body), "--pack", str(pack), *options])
        written = capsys.readouterr()
        return code, [json.loads(line) for line in written.out.splitlines()], written.err

    return run


def in_lines(*records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def labelled(model, texts):
    return [
        {
            "label": one.label,
            "probabilities": {
                name: pytest.approx(value, abs=1e-5) for name, value in one.probabilities.items()
            },
        }
        for one in model.predict(texts)
    ]


@pytest.fixture(scope="module")
def topics(bodies):
    return fairseq_minimodel.load(bodies / "topics.pt", bodies / "packs/de")


def test_lines_get_labels_in_their_order(predict, topics, tmp_path, monkeypatch):
    """Over several portions, each sorted by length."""
    monkeypatch.setattr(serving, "PORTION_LINES", 16)
    texts = sentences("de", 50)
    (tmp_path / "texts.txt").write_text("\n\n".join(texts))  # blank lines, and no end of the last
    options = ("--input", "texts.txt", "--output", "out/labels.jsonl")
    code, printed, message = predict("topics.pt", *options, language="de")
    assert code == 0 and not printed and message.endswith(" lines/s\n") and "50 lines in" in message
    found = [json.loads(line) for line in (tmp_path / "out/labels.jsonl").open()]
    assert [row["text"] for row in found] == texts
    assert [row["prediction"] for row in found] == labelled(topics, texts)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["labels.jsonl"]


def test_keys_are_kept_and_texts_come_in_pairs(predict, topics):
    """From standard input to standard output."""
    texts = sentences("de", 6)
    records = [
        {"id": 7, "text1": texts[0], "text2": texts[1], "label": "gold", "\u00e9": [1.5, None]},
        {"text": texts[2]},
        {"text2": texts[3], "text1": texts[4]},
        {"text": texts[5], "broken": "\ud800"},
    ]
    code, found, _ = predict(
        "topics.pt", "--json-lines", text=in_lines(*records[:3]) + json.dumps(records[3]).encode(),
        language="de",
    )  # fmt: skip
    assert code == 0
    asked = [(texts[0], texts[1]), texts[2], (texts[4], texts[3]), texts[5]]
    for row, record, prediction in zip(found, records, labelled(topics, asked), strict=True):
        assert row == {**record, "prediction": prediction}
    renamed = [{"a": texts[0], "b": texts[1]}, {"a": texts[1], "b": texts[0]}]
    options = ("--json-lines", "--text-columns", "b", "a", "--input", "-", "--output", "-")
    code, found, _ = predict("topics.pt", *options, text=in_lines(*renamed), language="de")
    pairs = [(texts[1], texts[0]), (texts[0], texts[1])]
    assert [row["prediction"] for row in found] == labelled(topics, pairs)


@pytest.mark.parametrize("name", ["texts.json", "texts_00", "texts.json.gz"])
def test_json_lines_are_known_under_any_name(predict, topics, tmp_path, name):
    texts = sentences("de", 4)
    content = in_lines(*({"id": index, "text": text} for index, text in enumerate(texts)))
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    code, found, _ = predict("topics.pt", "--input", name, language="de")
    assert code == 0
    assert [(row["id"], row["text"]) for row in found] == list(enumerate(texts))
    assert [row["prediction"] for row in found] == labelled(topics, texts)


def test_a_line_of_a_pipe_may_not_be_endless(predict, monkeypatch):
    monkeypatch.setattr(serving, "LONGEST_JSON_LINE", 1_000_000)
    code, _, message = predict("topics.pt", text=b"word1\n" + b"a" * 1_000_001)
    assert code == 2 and "standard input, line 2: the line is longer than 1 MB" in message


def test_masks_are_filled(predict, bodies):
    texts = ["word1 <mask> word2", "<mask> word3 <mask>"]
    model = fairseq_minimodel.load(bodies / "pretrained.pt", bodies / "packs/en")
    for options, top in (((), 5), (("--top", "2"), 2)):
        text = b"\xef\xbb\xbf" + "\n".join(texts).encode()
        code, found, _ = predict("pretrained.pt", *options, text=text)
        assert code == 0 and [row["text"] for row in found] == texts
        expected = [
            [
                [
                    {"token": one.token, "probability": pytest.approx(one.probability, abs=1e-5)}
                    for one in mask
                ]
                for mask in masks
            ]
            for masks in model.fill_mask(texts, top)
        ]
        assert [row["prediction"] for row in found] == expected


def test_questions_are_answered(predict, bodies, tmp_path):
    contexts = sentences("en", 20, shortest=6)
    records = [{"question": "word1", "context": context} for context in contexts]
    (tmp_path / "q.jsonl").write_bytes(in_lines(*records))
    model = fairseq_minimodel.load(bodies / "questions.pt", bodies / "packs/en")
    for options, asked in (
        ((), {}),
        (("--top", "3", "--max-answer", "2"), {"top": 3, "max_answer": 2}),
    ):
        code, found, _ = predict("questions.pt", "--input", "q.jsonl", *QUESTIONS, *options)
        assert code == 0
        expected = model.answer(["word1"] * 20, contexts, **WINDOWS, **asked)
        for row, context, answers in zip(found, contexts, expected, strict=True):
            assert row["context"] == context
            assert [one["text"] for one in row["prediction"]] == [one.text for one in answers]
            for one in row["prediction"]:
                assert context[one["begin"] : one["end"]] == one["text"]
            scores = [one["score"] for one in row["prediction"]]
            assert scores == pytest.approx([one.score for one in answers], abs=1e-5)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
def test_compressed_files_are_read(suffix, predict, topics, tmp_path):
    compress = {
        "": bytes,
        ".gz": gzip.compress,
        ".xz": lzma.compress,
        ".zst": zstandard.ZstdCompressor().compress,
    }[suffix]
    texts = sentences("de", 5)
    name = f"texts.jsonl{suffix}"
    (tmp_path / name).write_bytes(compress(in_lines(*({"text": text} for text in texts))))
    _, found, _ = predict("topics.pt", "--input", name, "--max-tokens", "9", language="de")
    assert [row["prediction"] for row in found] == labelled(topics, texts)


def test_bfloat16_and_a_module_reach_the_model(predict, bodies, source_data, monkeypatch):
    asked = []
    load = serving.load
    monkeypatch.setattr(
        serving, "load", lambda *arguments: asked.append(arguments) or load(*arguments)
    )
    labels = str(bodies / "label/dict.txt")
    predict("topics.pt", "--bf16", "--device", "cpu", "--labels", labels, text=b"word1\n")
    [(body, pack, module, given, device, bfloat16, max_tokens)] = asked
    assert (body, pack, module) == (bodies / "topics.pt", [bodies / "packs/en"], None)
    assert (given, device, bfloat16, max_tokens) == (Path(labels), "cpu", True, None)
    code, _, message = predict("pretrained.pt", "--module", "nowhere", text=b"word1\n")
    assert code == 2 and "nowhere is not a task module" in message


def numbered(count, read):
    """So many lines, which are noted when they are asked for."""
    for number in range(1, count + 1):
        read.append(number)
        yield Line(number, b'{"text": "x"}\n', 14 * number)


def test_no_more_is_read_than_is_predicted_at_a_time(monkeypatch):
    read = []
    rows = read_rows(numbered(10**9, read), "x", True, KINDS["classification"])
    monkeypatch.setattr(serving, "PORTION_LINES", 100)
    first = next(portions(rows))
    assert len(first) == 100 and len(read) == 100
    assert first[-1] == Row(100, 1400, {"text": "x"}, ("x",))
    monkeypatch.setattr(serving, "PORTION_CHARACTERS", 30)
    assert len(next(portions(rows))) == 30


def test_each_portion_is_written_before_the_next_is_read(monkeypatch):
    monkeypatch.setattr(serving, "PORTION_LINES", 10)
    read, seen, file = [], [], io.BytesIO()

    def ask(texts):
        seen.append((len(texts), len(read), file.getvalue().count(b"\n")))
        return [None] * len(texts)

    class Shown:
        done = 0

        def update(self, count):
            self.done += count

    rows, shown = read_rows(numbered(25, read), "x", True, KINDS["classification"]), Shown()
    assert write_predictions(file, rows, ask, "x", shown) == 25
    assert seen == [(10, 10, 0), (10, 20, 10), (5, 25, 20)]
    assert file.getvalue() == b'{"text": "x", "prediction": null}\n' * 25
    assert shown.done == 25 * 14


@pytest.mark.slow
def test_the_real_command_in_a_pipe(bodies, tmp_path):
    """Also if nobody reads to the end."""
    command = [Path(sys.executable).parent / "fairseq-minimodel", "predict"]
    command += ["--body", bodies / "topics.pt", "--pack", bodies / "packs/en"]
    (tmp_path / "texts.txt").write_text("word1 word2\n" * 3000)
    with (
        open(tmp_path / "texts.txt") as texts,
        subprocess.Popen(
            [*map(str, command)], stdin=texts, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        ) as process,
    ):  # fmt: skip
        first = json.loads(process.stdout.readline())
        process.stdout.close()
        message = process.stderr.read().decode()
    assert first["text"] == "word1 word2" and first["prediction"]["label"]
    assert process.returncode == 0 and "Traceback" not in message and "rror" not in message


GOOD = '{"text": "word1"}\n'


@pytest.mark.parametrize(
    ("body", "name", "content", "options", "sentence"),
    [
        ("topics.pt", "x.txt", b"word1\n\nword\xff\n", (), "x.txt, line 3: not UTF-8"),
        ("topics.pt", "x.jsonl", GOOD + "{\n", (), "x.jsonl, line 2: not JSON"),
        ("topics.pt", "x.jsonl", GOOD + "[" * 10**5, (), "line 2: the JSON is nested too deeply"),
        ("topics.pt", "x.jsonl", GOOD + '{"text": "a", "x": NaN}\n', (), "2: not JSON .it holds NaN"),
        ("topics.pt", "x.jsonl", GOOD + '{"text": "a", "x": -Infinity}\n', (), "JSON .it holds -Inf"),
        ("topics.pt", "x.jsonl", GOOD + '{"text": "a", "x": ' + "9" * 5000 + "}\n", (),
         "line 2: not JSON"),
        ("topics.pt", "x.jsonl", GOOD + '{"text": ["a"]}\n', (), "line 2: no text under the key"),
        ("topics.pt", "x.jsonl", GOOD + '{"text": null}\n', (), "line 2: no text under the key"),
        ("topics.pt", "x.jsonl", GOOD + '"text"\n', (), "x.jsonl, line 2: JSON, but not an object"),
        ("topics.pt", "x.jsonl", GOOD + "[1]\n", (), "x.jsonl, line 2: JSON, but not an object"),
        ("topics.pt", "x.jsonl", GOOD + '{"texts": "a"}\n', (),
         "x.jsonl, line 2: no text under the key 'text'"),
        ("topics.pt", "x.jsonl", '{"text1": "a", "text2": 1}\n', (), "line 1: no text .* 'text2'"),
        ("topics.pt", "x.jsonl", GOOD, ("--text-columns", "a", "b"), "line 1: no text .* 'a'"),
        ("topics.pt", "x.jsonl", GOOD + '{"text": "a", "prediction": 1}\n', (),
         "line 2: the key 'prediction' is there already"),
        ("topics.pt", "x.jsonl", GOOD + '{"text": "\\ud800"}\n', (),
         "line 2: the text has half of a character"),
        ("pretrained.pt", "x.txt", "<mask>\n\nword1\n", (), "line 3: the text has no <mask>"),
        ("pretrained.pt", "x.txt", "<mask>" + " word1" * 40, (), "line 1: the text has 43 tokens"),
        ("pretrained.pt", "x.txt", "<mask>", ("--top", "66"), "top is 66: give 1 to 65"),
        ("topics.pt", "x.txt", "word1", ("--top", "2"), "--top is for masks and answers"),
        ("topics.pt", "x.txt", "word1", ("--text-columns", "a"), "--text-columns are keys of JSON"),
        ("topics.pt", "x.jsonl", GOOD, ("--text-columns", "a", "b", "c"),
         "--text-columns names 3 keys, and .*topics.pt reads 1 or 2"),
        ("questions.pt", "x.txt", "word1", (), "answer questions, and plain lines hold one text"),
        ("questions.pt", "x.jsonl", GOOD, QUESTIONS, "line 1: no text under the key 'question'"),
        ("questions.pt", "x.jsonl", '{"question": "a", "context": "b"}', (),
         "--max-length 384 is more than the 32 positions"),
        ("topics.pt", "x.txt.gz", b"\x1f\x8bword1", (), "x.txt.gz, after line 0: the compressed file"),
        ("topics.pt", "x.txt", "word1", ("--input", "absent"), "Cannot read absent"),
        ("topics.pt", "x.txt", "word1", ("--output", "."), "'.' cannot be the output"),
        ("topics.pt", "x.txt", "word1", ("--device", "nonsense"), "--device nonsense cannot be"),
        ("absent.pt", "x.txt", "word1", (), "no checkpoint .*absent.pt"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_leaves_no_output(
    body, name, content, options, sentence, predict, tmp_path, monkeypatch
):
    monkeypatch.setattr(serving, "PORTION_LINES", 1)  # what comes before is written
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(content)
    (tmp_path / "out.jsonl").write_text('{"prediction": "former"}')
    options = ("--input", name, "--output", "out.jsonl", *options)
    code, printed, message = predict(body, *options)
    assert code == 2 and not printed
    [line] = [line for line in message.splitlines() if "UserWarning" not in line]
    assert re.search(f"^fairseq-minimodel: error: .*{sentence}", line)
    assert (tmp_path / "out.jsonl").read_text() == '{"prediction": "former"}'
    assert {path.name for path in tmp_path.iterdir()} == {name, "out.jsonl"}


def test_bad_lines_of_a_pipe_are_named(predict, monkeypatch):
    code, _, message = predict("topics.pt", text=b"word1\n\xe9\n")
    assert code == 2 and "standard input, line 2: not UTF-8" in message
    monkeypatch.setattr(serving, "LONGEST_JSON_LINE", 2_000_000)
    longest = b"word1 " * 333_333 + b"\n"
    code, found, _ = predict("topics.pt", text=longest)
    assert code == 0 and len(found) == 1
    code, _, message = predict("topics.pt", text=b"word1\n" + longest + b"word2" + longest)
    assert code == 2 and "standard input, line 3: the line is longer than 2 MB" in message


def test_what_could_just_be_read_and_cannot_be_written_is_named():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    row = Row(7, 1, {"text": "a", "x": nested}, ("a",))
    with pytest.raises(InputError, match="^x, line 7: the JSON is nested too deeply"):
        write_predictions(io.BytesIO(), [row], lambda texts: [None], "x", None)
    while nested:  # Python itself would free it one inside the other
        nested = nested.pop()


def test_a_line_that_is_cut_is_marked(predict):
    """By how many of its tokens were left out; the model has 32 positions, <s> and </s> among them."""
    long = " ".join(["word1"] * 40)
    _, found, _ = predict("topics.pt", text=f"{long}\nword1\n".encode())
    assert found[0]["prediction"]["cut"] == 10
    assert "cut" not in found[1]["prediction"]
    pair = {"text1": " ".join(["word1"] * 20), "text2": long}
    [line] = predict("topics.pt", "--json-lines", text=in_lines(pair))[1]
    assert line["prediction"]["cut"] == 60 - 28


def test_nothing_in_is_nothing_out(predict, tmp_path):
    code, found, message = predict("topics.pt", "--output", "out.jsonl", text=b"\n \n")
    assert code == 0 and "0 lines in" in message
    assert (tmp_path / "out.jsonl").read_bytes() == b""


def test_a_bad_text_is_named_by_its_line():
    """Not by its place among those that are predicted together."""

    def ask(texts):
        raise serving.TextError(1, "is odd")

    rows = [Row(number, 0, {}, ("x",)) for number in (3, 17)]
    with pytest.raises(InputError, match="^y, line 17: the text is odd$"):
        answered(rows, ask, "y")
