"""A benchmark's split as JSON Lines, and what prepare-classification makes of it."""

import csv
import json

import pytest
from support.published import publish, tsv

from fairseq_minimodel.cli import main
from fairseq_minimodel.corpus.benchmarks.read import read_benchmark
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.kinds.examples import read_examples
from fairseq_minimodel.kinds.tagged import read_tagged_file

NLI = tsv(
    ("gold_label", "sentence1", "sentence2"),
    ("neutral", ' He said "no". ', "Ärger\u2028über 中国"),
    ("-", "no", "agreement"),
    ("entailment", "{a: 1}", "\\n is no line break"),
)
SIB = tsv(
    ("index_id", "category", "text"),
    ("1", "travel", '"""Go"", he said, to the sea."'),
    ("2", "sports", "Run"),
)


def export(output, *options):
    return main(["export-benchmark", *map(str, options), "--output", str(output)])


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_pairs_are_written_with_what_is_left_out(tmp_path, capsys):
    data = publish(tmp_path, {"multinli_1.0/multinli_1.0_train.txt": NLI}, "zip")
    output = tmp_path / "train.jsonl"
    assert export(output, "--benchmark", "multinli", "--data", data) == 0
    assert capsys.readouterr().out == f"{output}: 2 rows; left out: 1 unlabelled\n"
    assert records(output) == [
        {"text1": 'He said "no".', "text2": "Ärger\u2028über 中国", "label": "neutral"},
        {"text1": "{a: 1}", "text2": "\\n is no line break", "label": "entailment"},
    ]
    # as the readers of both sides see it
    rows = read_benchmark("multinli", data, "train")["en"].rows
    assert tuple(read_examples(output, ["text1", "text2"], "label")) == rows


def test_single_sentences_lose_the_quotation_marks_of_csv(tmp_path, capsys):
    data = publish(tmp_path, {"eng_Latn/train.tsv": SIB, "deu_Latn/train.tsv": SIB})
    output = tmp_path / "new" / "en.jsonl"
    options = ["--benchmark", "sib200", "--data", data, "--split", "train", "--language", "en"]
    assert export(output, *options) == 0
    assert capsys.readouterr().out == f"{output}: 2 rows; left out: none\n"
    assert records(output) == [
        {"text": '"Go", he said, to the sea.', "label": "travel"},
        {"text": "Run", "label": "sports"},
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--benchmark", "nowhere"], "no benchmark 'nowhere'; there are xnli, "),
        (
            ["--benchmark", "squad"],
            "squad has no labelled sentences (prepare-questions reads its files as they are); "
            "these have: xnli, multinli, snli, snli-counterfactual, pawsx, sib200, udpos, uner, ",
        ),
        (["--benchmark", "tatoeba"], "tatoeba has no labelled sentences; these have: xnli"),
        (["--benchmark", "sib200", "--language", "sw"], "no language 'sw'; there is eng_Latn"),
        (["--benchmark", "sib200", "--split", "valid"], "no split 'valid'"),
        (["--benchmark", "sib200", "--split", "dev"], "line 2: the label is 'weather'"),
    ],
)
def test_refusals_leave_nothing(options, sentence, tmp_path, capsys):
    wrong = SIB.replace("travel", "weather")
    data = publish(tmp_path, {"eng_Latn/train.tsv": SIB, "eng_Latn/dev.tsv": wrong})
    assert export(tmp_path / "out" / "x.jsonl", *options, "--data", data) == 2
    message = capsys.readouterr().err
    assert sentence in message and len(message.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_tagged_sentences_keep_their_blanks(tmp_path, capsys):
    lines = ["# text = Go, Jo", "1\tGo\tO\t-\tx", "2\t,\tO\t-\tx", "3\tJo\tB-PER\t-\tx", ""]
    data = publish(tmp_path, {"en_ewt-ud-train.iob2": "\n".join(lines)})
    output = tmp_path / "train.jsonl"
    assert export(output, "--benchmark", "uner", "--data", data) == 0
    assert capsys.readouterr().out == f"{output}: 1 rows; left out: none\n"
    assert records(output) == [
        {"words": ["Go", ",", "Jo"], "tags": ["O", "O", "B-PER"], "text": "Go, Jo"}
    ]
    [split] = read_benchmark("uner", data, "train").values()
    assert tuple(read_tagged_file(output)) == split.rows


@pytest.mark.parametrize(
    ("benchmark", "name", "text", "language"),
    [
        ("wikiann", "de/dev", "de:A\tB-LOC\nde::\tO\n", "de"),
        ("wikiann", "dev", "zh-yue:A\tB-LOC\nzh-yue::\tO\n", "zh-yue"),
        ("wikiann", "dev-sw.tsv", "A\tB-LOC\n:\tO\n", "sw"),
        ("masakhaner", "swa/dev.txt", "A B-LOC\n: O\n", "sw"),
        ("masakhapos", "yor/dev.txt", "A NOUN\n: PUNCT\n", "yor"),
        ("udpos", "dev-vi.tsv", "A\tNOUN\n:\tPUNCT\n", "vi"),
    ],
)
def test_tagged_benchmarks_as_they_are_published(tmp_path, benchmark, name, text, language):
    data = publish(tmp_path, {name: text}, "tar.gz")
    [row] = read_benchmark(benchmark, data, "dev", [language])[language].rows
    assert row.words == ("A", ":")
    wrong = publish(tmp_path / "wrong", {name: text.replace("B-", "B:").replace("NOUN", "NN")})
    with pytest.raises(InputError, match="has the tag '(B:LOC|NN)', which the benchmark does not"):
        read_benchmark(benchmark, wrong, "dev", [language])


def test_the_name_must_say_what_the_file_is(tmp_path, capsys):
    data = publish(tmp_path, {"eng_Latn/train.tsv": SIB})
    output = tmp_path / "train.tsv"
    assert export(output, "--benchmark", "sib200", "--data", data) == 2
    assert f"{output}: give a name that ends in .jsonl" in capsys.readouterr().err
    assert not output.exists()


def test_real_sentences_with_quotation_marks(shared_data, tmp_path):
    """41 of SIB-200's 701 English training sentences; read literally, all would begin with one."""
    output = tmp_path / "en.jsonl"
    assert export(output, "--benchmark", "sib200", "--data", shared_data / "topic") == 0
    with open(
        shared_data / "topic/sib200/eng_Latn/train.tsv", encoding="utf-8", newline=""
    ) as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert records(output) == [
        {"text": row["text"].strip(), "label": row["category"]} for row in rows
    ]
    assert sum('"' in record["text"] for record in records(output)) == 41
