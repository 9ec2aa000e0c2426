"""Data for fairseq's sentence_prediction, against fairseq's own preprocessing and task."""

import json
import random
import re
import subprocess
import sys

import pytest
from fairseq.data import Dictionary, indexed_dataset
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from fairseq_cli import preprocess
from support.generated_text import contents, make_documents

from fairseq_minimodel.cli import main
from fairseq_minimodel.corpus.classification import prepare_classification
from fairseq_minimodel.corpus.prepare import prepare
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.kinds.truncation import kept_lengths
from fairseq_minimodel.vocabulary.tokenizers import Vocabulary, load_sentencepiece

LABELS = ["world news", "sport", "art"]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "text.txt").write_text("\n\n".join(make_documents()), encoding="utf-8")
    prepare([folder / "text.txt"], folder / "data", workers=1)
    return {
        "sentencepiece_model": folder / "data" / "sentencepiece.bpe.model",
        "dictionary": folder / "data" / "dict.txt",
    }


def make_rows(count, seed):
    generator = random.Random(seed)
    lines = [line for text in make_documents(seed=seed) for line in text.split("\n")]
    rows = [generator.sample(lines, 2) for _ in range(count)]
    return [[*row, LABELS[index % 3]] for index, row in enumerate(rows)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """TSV with a header and JSON Lines of the same rows."""
    folder = tmp_path_factory.mktemp("examples")
    for split, rows in (("train", make_rows(50, 1)), ("valid", make_rows(20, 2))):
        with open(folder / f"{split}.tsv", "w", encoding="utf-8") as file:
            file.writelines("\t".join(row) + "\n" for row in [["a", "b", "label"], *rows])
        with open(folder / f"{split}.jsonl", "w", encoding="utf-8") as file:
            names = ("a", "b", "label")
            file.writelines(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    return folder


@pytest.fixture(scope="module")
def prepared(files, vocabulary, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared") / "data"
    prepare_classification(
        files / "train.tsv",
        files / "valid.tsv",
        output=output,
        test=files / "valid.tsv",
        text_columns=("a", "b"),
        label_column="label",
        **vocabulary,
    )
    return output


def test_inputs_equal_those_of_fairseq_preprocess(prepared, vocabulary, tmp_path, monkeypatch):
    model = load_sentencepiece(vocabulary["sentencepiece_model"])
    for column in (0, 1):
        for split, rows in (("train", make_rows(50, 1)), ("valid", make_rows(20, 2))):
            pieces = [" ".join(model.encode(row[column], out_type=str)) + "\n" for row in rows]
            (tmp_path / split).write_text("".join(pieces), encoding="utf-8")
        theirs = tmp_path / f"input{column}"
        monkeypatch.setattr(
            sys,
            "argv",
            ["fairseq-preprocess", "--only-source", "--srcdict", str(vocabulary["dictionary"])]
            + ["--trainpref", str(tmp_path / "train"), "--validpref", str(tmp_path / "valid")]
            + ["--testpref", str(tmp_path / "valid"), "--destdir", str(theirs)],
        )
        preprocess.cli_main()
        (theirs / "preprocess.log").unlink()
        assert contents(prepared / f"input{column}") == contents(theirs)


def test_the_task_sees_the_texts_and_the_labels(prepared, vocabulary):
    config = SentencePredictionConfig(
        data=str(prepared),
        num_classes=3,
        init_token=0,
        separator_token=2,
        no_shuffle=True,
        regression_target=False,
        seed=1,
    )
    task = SentencePredictionTask.setup_task(config)
    model = load_sentencepiece(vocabulary["sentencepiece_model"])
    dictionary = Dictionary.load(str(vocabulary["dictionary"]))

    def ids(text):
        return [dictionary.index(piece) for piece in model.encode(text, out_type=str)]

    for split, rows in (("train", make_rows(50, 1)), ("valid", make_rows(20, 2))):
        task.load_dataset(split)
        dataset = task.datasets[split]
        assert len(dataset) == len(rows)
        for index, (first, second, label) in enumerate(rows):
            example = dataset[index]
            tokens = example["net_input.src_tokens"].tolist()
            assert tokens == [0, *ids(first), 2, 2, *ids(second), 2]
            assert sorted(LABELS)[example["target"].item()] == label


def test_json_lines_and_numbered_columns_give_the_same_data(files, vocabulary, prepared, tmp_path):
    splits = {"train": "train", "valid": "valid", "test": "valid"}
    prepare_classification(
        **{split: files / f"{name}.jsonl" for split, name in splits.items()},
        output=tmp_path / "json",
        text_columns=("a", "b"),
        label_column="label",
        **vocabulary,
    )
    assert contents(tmp_path / "json") == contents(prepared)
    for name in ("train", "valid"):
        lines = (files / f"{name}.tsv").read_text(encoding="utf-8").split("\n", 1)[1]
        (tmp_path / f"{name}.tsv").write_text(lines, encoding="utf-8")
    arguments = ["--train", tmp_path / "train.tsv", "--valid", tmp_path / "valid.tsv"]
    arguments += ["--test", tmp_path / "valid.tsv", "--text-columns", "1", "2"]
    arguments += ["--label-column", "3", "--output", tmp_path / "numbers"]
    arguments += ["--sentencepiece-model", vocabulary["sentencepiece_model"]]
    arguments += ["--dict", vocabulary["dictionary"]]
    assert main(["prepare-classification", *map(str, arguments)]) == 0
    assert contents(tmp_path / "numbers") == contents(prepared)


def test_single_sentences_and_given_labels(files, vocabulary, tmp_path, capsys):
    output = tmp_path / "data"
    for labels in (["sport", "art", "unused", "world news"], LABELS):  # replaces its own output
        prepare_classification(
            files / "train.tsv",
            files / "valid.tsv",
            output=output,
            text_columns=("a",),
            label_column="label",
            labels=labels,
            **vocabulary,
        )
        assert f"--num-classes {len(labels)}" in capsys.readouterr().out
        dictionary = Dictionary.load(str(output / "label" / "dict.txt"))
        assert dictionary.symbols[4:] == labels
        items = indexed_dataset.MMapIndexedDataset(str(output / "label" / "train"))
        expected = [[dictionary.index(row[2]), 2] for row in make_rows(50, 1)]
        assert [items[i].tolist() for i in range(len(items))] == expected
    assert dictionary.count[4:] == [17, 17, 16]
    assert sorted(path.name for path in output.iterdir()) == ["input0", "label"]


@pytest.mark.slow
def test_fairseq_trains_on_it(prepared, tmp_path):
    command = [sys.executable, "-m", "fairseq_cli.train", prepared]
    command += ["--task", "sentence_prediction", "--num-classes", "3", "--init-token", "0"]
    command += ["--separator-token", "2", "--criterion", "sentence_prediction"]
    command += ["--arch", "roberta", "--encoder-layers", "1", "--encoder-embed-dim", "8"]
    command += ["--encoder-ffn-embed-dim", "8", "--encoder-attention-heads", "1"]
    command += ["--optimizer", "adam", "--lr", "0.001", "--batch-size", "8", "--max-update", "2"]
    command += ["--cpu", "--no-save", "--num-workers", "0"]
    command += ["--required-batch-size-multiple", "1"]
    command = list(map(str, command))
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    log = result.stdout + result.stderr
    assert result.returncode == 0, log
    assert re.search(r"valid on 'valid' subset .* accuracy .* num_updates 2", log)


@pytest.mark.parametrize(
    ("train", "valid", "options", "message"),
    [
        ("a\tx\nb\ty\n", "c\tz\n", {}, "valid.tsv, line 1: the label 'z' is not among x, y"),
        ("a\tx\nb\t\n", "c\tx\n", {}, "'' cannot be a label"),
        ("a\tx\nb\t<unk>\n", "c\tx\n", {}, "'<unk>' cannot be a label"),
        ("a\tx\nb\tx\n", "c\tx\n", {}, "at least two different"),
        ("a\tx\nb\ty\n", "c\tx\n", {"text_columns": (1, 1, 1)}, "3 text columns"),
        ("a\tx\nb\ty\n", "c\tx\n", {"labels": ["x", "y", "x"]}, "at least two different"),
        ("a\tx\nb\ty\n", "c\n", {}, "valid.tsv, line 1: 1 columns"),
    ],
)
def test_bad_examples_leave_nothing_behind(vocabulary, tmp_path, train, valid, options, message):
    (tmp_path / "train.tsv").write_text(train)
    (tmp_path / "valid.tsv").write_text(valid)
    with pytest.raises(InputError, match=message):
        prepare_classification(
            tmp_path / "train.tsv",
            tmp_path / "valid.tsv",
            output=tmp_path / "data",
            **vocabulary,
            **options,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.tsv", "valid.tsv"]


def test_a_label_of_the_training_data_alone_is_named(files, vocabulary, tmp_path, caplog):
    """It is a class of its own, and perhaps misspelt."""
    rows = (files / "train.tsv").read_text(encoding="utf-8")
    (tmp_path / "train.tsv").write_text(f"{rows}x\ty\tsportt\n", encoding="utf-8")
    arguments = {"text_columns": ("a",), "label_column": "label", **vocabulary}
    valid = files / "valid.tsv"
    prepare_classification(files / "train.tsv", valid, output=tmp_path / "good", **arguments)
    assert not caplog.records
    prepare_classification(tmp_path / "train.tsv", valid, output=tmp_path / "bad", **arguments)
    [record] = caplog.records
    assert "the label sportt has 1 training examples and none in" in record.getMessage()


def test_other_folders_are_never_replaced(files, vocabulary, tmp_path):
    (tmp_path / "precious").write_text("years of work")
    with pytest.raises(InputError, match="holds precious: only data of prepare-classification"):
        prepare_classification(
            files / "train.tsv", files / "valid.tsv", output=tmp_path, **vocabulary
        )
    assert contents(tmp_path) == {"precious": b"years of work"}


@pytest.mark.parametrize("columns", [("a",), ("a", "b")])
def test_texts_are_cut_at_the_length_that_is_asked_for(
    files, vocabulary, tmp_path, columns, capsys
):
    """As `evaluate` cuts them, so that training and scoring read the same tokens."""
    words = Vocabulary(vocabulary["sentencepiece_model"], vocabulary["dictionary"])
    rows = [row[: len(columns)] for row in make_rows(50, 1)]
    longest, special = 14, 2 * len(columns)
    texts = [[words.encode(text) for text in row] for row in rows]
    kept = [kept_lengths([len(ids) for ids in row], longest - special) for row in texts]
    cut = sum(sum(map(len, row)) > longest - special for row in texts)
    assert 0 < cut < 50
    prepare_classification(
        files / "train.tsv", files / "valid.tsv", output=tmp_path / "data", max_length=longest,
        text_columns=columns, label_column="label", **vocabulary,
    )  # fmt: skip
    assert f"train: 50 examples, the longest has 14 tokens; {cut} were cut there" in (
        capsys.readouterr().out
    )
    for number in range(len(columns)):
        path = str(tmp_path / f"data/input{number}/train")
        dataset = indexed_dataset.MMapIndexedDataset(path)
        for index, row in enumerate(texts):
            expected = [*row[number][: kept[index][number]], 2]
            assert dataset[index].tolist() == expected
    with pytest.raises(InputError, match=f"--max-length {special} leaves no room"):
        prepare_classification(
            files / "train.tsv", files / "valid.tsv", output=tmp_path / "x", max_length=special,
            text_columns=columns, label_column="label", **vocabulary,
        )  # fmt: skip
