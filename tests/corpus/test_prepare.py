"""`prepare` against a plain reference, under other orders, workers and formats, and on bad input."""

import errno
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import zstandard
from fairseq.data import Dictionary, indexed_dataset
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask
from fairseq_cli import preprocess
from support.generated_text import contents, make_documents
from support.huggingface_models import train_sentencepiece

from fairseq_minimodel.cli import main
from fairseq_minimodel.corpus import assemble, buckets, encode
from fairseq_minimodel.corpus import prepare as module
from fairseq_minimodel.corpus.encode import encode_lines
from fairseq_minimodel.corpus.prepare import prepare
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.files import text as reading
from fairseq_minimodel.vocabulary.tokenizers import (
    SENTENCEPIECE_FILE,
    Vocabulary,
    folds_case,
    load_tokenizer,
)

PACKAGE = Path(module.__file__).parents[2]


@pytest.fixture(scope="module")
def documents():
    return make_documents()


@pytest.fixture(scope="module")
def text(documents, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def prepared(text, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared") / "data"
    prepare([text], output, workers=1, valid_fraction=0.1)
    return output


def without_record(folder):
    """The output but for prepare.json, which names the input files."""
    return {name: data for name, data in contents(folder).items() if name != "prepare.json"}


def read_items(prefix):
    dataset = indexed_dataset.MMapIndexedDataset(str(prefix))
    return [dataset[i].tolist() for i in range(len(dataset))]


def read_documents(folder, split):
    """The documents of a split, decoded."""
    vocabulary = Vocabulary(folder / "sentencepiece.bpe.model", folder / "dict.txt")
    lines = [vocabulary.decode(item) for item in read_items(folder / split)]
    return "\n".join(lines).split("\n\n")


def reference_order(documents, seed, min_characters):
    """What the output's order is defined as, without buckets."""
    texts = {text.encode() for text in documents if len(text) >= min_characters}
    key = seed.to_bytes(8, "little")
    return sorted(texts, key=lambda text: hashlib.blake2b(text, digest_size=16, key=key).digest())


def test_equals_a_plain_shuffle_and_fairseq_preprocess(documents, prepared, tmp_path, monkeypatch):
    order = reference_order(documents, seed=1, min_characters=10)
    valid = len(order) // 10
    model = sentencepiece.SentencePieceProcessor(str(prepared / "sentencepiece.bpe.model"))
    for split, part in (("valid", order[:valid]), ("train", order[valid:])):
        with open(tmp_path / split, "w", encoding="utf-8") as file:
            for line in b"\n\n".join(part).decode().split("\n"):
                file.write(" ".join(model.encode(line, out_type=str)) + "\n")
    monkeypatch.setattr(
        sys,
        "argv",
        ["fairseq-preprocess", "--only-source", "--srcdict", str(prepared / "dict.txt")]
        + ["--trainpref", str(tmp_path / "train"), "--validpref", str(tmp_path / "valid")]
        + ["--destdir", str(tmp_path / "bin")],
    )
    preprocess.cli_main()
    for name in ("train.bin", "train.idx", "valid.bin", "valid.idx"):
        assert (tmp_path / "bin" / name).read_bytes() == (prepared / name).read_bytes()


def test_counts_and_dictionary(documents, prepared):
    record = json.loads((prepared / "prepare.json").read_text())
    counts = record["counts"]
    short = sum(len(text) < 10 for text in documents)
    unique = len(reference_order(documents, 1, 10))
    assert counts["documents"] == len(documents)
    assert counts["too_short"] == short > 0
    assert counts["duplicates"] == len(documents) - short - unique > 0
    assert counts["train"]["documents"] + counts["valid"]["documents"] == unique

    dictionary = Dictionary.load(str(prepared / "dict.txt"))  # raises on a repeated symbol
    train, valid = (read_items(prepared / split) for split in ("train", "valid"))
    tokens = np.bincount(sum(train, []), minlength=len(dictionary))
    assert dictionary.count[4:] == tokens[4:].tolist()
    assert counts["vocabulary"] == len(dictionary)
    for split, items in (("train", train), ("valid", valid)):
        lines = [item for item in items if item != [2]]
        pieces = [token for item in lines for token in item[:-1]]
        assert counts[split]["items"] == len(lines)
        assert counts[split]["tokens"] == sum(map(len, items))
        assert counts[split]["unknown_share"] == round(pieces.count(3) / len(pieces), 8)
        assert len(items) - len(lines) == counts[split]["documents"] - 1
    model = sentencepiece.SentencePieceProcessor(str(prepared / "sentencepiece.bpe.model"))
    assert dictionary.symbols[4:] == [model.id_to_piece(i) for i in range(3, len(model))]


def test_no_paths_and_no_times_in_the_output(text, prepared):
    for data in contents(prepared).values():
        assert str(text.parent).encode() not in data
        assert str(prepared.parent).encode() not in data


@pytest.mark.parametrize("workers", [2, 5])
def test_the_same_bytes_with_more_workers_and_buckets(
    text, prepared, tmp_path, workers, monkeypatch
):
    monkeypatch.setattr(buckets, "SMALL_BUCKET_BYTES", 3000)
    monkeypatch.setattr(buckets, "_BATCH_BYTES", 1000)
    monkeypatch.setattr(buckets, "_WRITE_BUFFER_BYTES", 5000)
    monkeypatch.setattr(encode, "_ENCODE_BYTES", 700)
    monkeypatch.setattr(assemble, "_COPY_ITEMS", 11)
    prepare([text], tmp_path / "data", workers=workers, valid_fraction=0.1)
    assert contents(tmp_path / "data") == contents(prepared)


def test_the_same_data_from_other_files_and_formats(documents, prepared, tmp_path):
    parts = [documents[index::6] for index in range(6)]
    plain = ["\r\n\r\n".join(part).encode() for part in parts[:4]]
    objects = [
        b"\n".join(json.dumps({"id": 1, "body": text}).encode() for text in part)
        for part in parts[4:]
    ]
    files = {
        "z.txt": plain[0],
        "y.txt.gz": gzip.compress(plain[1]),
        "x.txt.xz": lzma.compress(plain[2]),
        "w.txt.zst": zstandard.ZstdCompressor().compress(plain[3]),
        "wiki_00": objects[0],
        "u.json.gz": gzip.compress(objects[1]),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [tmp_path / name for name in files]
    prepare(paths, tmp_path / "a", workers=1, valid_fraction=0.1, field="body")
    prepare(paths[::-1], tmp_path / "b", workers=2, valid_fraction=0.1, field="body")
    assert without_record(tmp_path / "a") == without_record(prepared)
    assert contents(tmp_path / "b") == contents(tmp_path / "a")


def test_another_seed_gives_another_order_of_the_same_documents(text, prepared, tmp_path):
    prepare([text], tmp_path / "data", workers=1, valid_fraction=0.1, seed=2)
    both = [read_documents(folder, "train") for folder in (prepared, tmp_path / "data")]
    assert both[0] != both[1]
    every = [
        sorted(documents + read_documents(folder, "valid"))
        for documents, folder in zip(both, (prepared, tmp_path / "data"), strict=True)
    ]
    assert every[0] == every[1]


def test_shards_hold_the_training_data_in_order(text, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(buckets, "SMALL_BUCKET_BYTES", 3000)
    prepare([text], tmp_path / "data", workers=1, valid_fraction=0.1, shards=3)
    whole = without_record(prepared)
    folders = [tmp_path / "data" / f"shard{number:02d}" for number in range(3)]
    shards = [read_items(folder / "train") for folder in folders]
    assert sum(([*items, [2]] for items in shards), []) == [*read_items(prepared / "train"), [2]]
    assert min(map(len, shards)) > 0.2 * sum(map(len, shards))
    assert (folders[0] / "valid.bin").read_bytes() == whole["valid.bin"]
    assert not (folders[1] / "valid.bin").exists()
    for folder in (tmp_path / "data", *folders):
        for name in ("dict.txt", "sentencepiece.bpe.model"):
            assert (folder / name).read_bytes() == whole[name]


@pytest.mark.slow
def test_fairseq_trains_on_shards(text, tmp_path, capsys):
    prepare([text], tmp_path / "data", workers=1, vocabulary_size=200, shards=2)
    data = re.search("data for fairseq-train: (.*)", capsys.readouterr().out)[1]
    command = [sys.executable, "-m", "fairseq_cli.train", data, "--task", "masked_lm"]
    command += ["--arch", "roberta", "--encoder-layers", "1", "--encoder-embed-dim", "8"]
    command += ["--encoder-ffn-embed-dim", "8", "--encoder-attention-heads", "1"]
    command += ["--criterion", "masked_lm", "--sample-break-mode", "complete_doc"]
    command += ["--optimizer", "adam", "--lr", "0.001", "--batch-size", "64", "--max-epoch", "2"]
    command += ["--tokens-per-sample", "64", "--cpu", "--no-save", "--num-workers", "0"]
    # By default fairseq leaves out a last batch that is not a multiple of 8: all of so little data.
    command += ["--required-batch-size-multiple", "1"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    log = result.stdout + result.stderr
    assert result.returncode == 0, log
    assert "end of epoch 2" in log
    for shard in range(2):
        assert f"shard{shard:02d}/train" in log


def test_vocabulary_is_reused(text, prepared, tmp_path, capsys):
    model, dictionary = prepared / "sentencepiece.bpe.model", prepared / "dict.txt"
    options = {"workers": 1, "sentencepiece_model": model, "valid_fraction": 0.1}
    prepare([text], tmp_path / "same", dictionary=dictionary, **options)
    prepare([text], tmp_path / "counted", **options)
    assert without_record(tmp_path / "same") == without_record(prepared)
    assert without_record(tmp_path / "counted") == without_record(prepared)
    assert "training the vocabulary" not in capsys.readouterr().out

    other = tmp_path / "other.txt"
    other.write_text("\n\n".join(make_documents(50, seed=5)), encoding="utf-8")
    prepare([other], tmp_path / "other", dictionary=dictionary, **options)
    assert (tmp_path / "other" / "dict.txt").read_bytes() == dictionary.read_bytes()


def test_finished_output_is_left_alone_and_never_overwritten(text, prepared, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in prepared.iterdir()}
    prepare([text], prepared, workers=3, valid_fraction=0.1)
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(InputError, match="prepared with other options"):
        prepare([text], prepared, valid_fraction=0.2)
    for name, data in (("a.txt", b"other"), ("b.txt", text.read_bytes()[::-1])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="prepared from other text"):
            prepare([tmp_path / name], prepared, valid_fraction=0.1)
    assert {path: path.stat().st_mtime_ns for path in prepared.iterdir()} == before

    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="no finished output of prepare"):
        prepare([text], precious)
    assert contents(precious) == {"thesis.tex": b"years of work"}


def test_validation_split_is_bounded_by_bytes(text, tmp_path):
    prepare([text], tmp_path / "data", workers=1, valid_fraction=0.5, valid_megabytes=0.002)
    size = sum(len(document.encode()) for document in read_documents(tmp_path / "data", "valid"))
    assert 1000 < size <= 2000
    prepare([text], tmp_path / "one", workers=1, valid_fraction=1e-9, valid_megabytes=1e-6)
    assert len(read_documents(tmp_path / "one", "valid")) == 1


def one_sentence_a_line(path, lines=4000):
    """Plain text without blank lines: three documents of what is the largest one in the tests."""
    texts = [
        f"a line of text number {i}, {i * 7919 % 104729}" + " and so on" * 3 for i in range(lines)
    ]
    path.write_text("\n".join(texts) + "\n")
    return texts


def few_large_documents(path):
    documents = [make_documents(600, seed=seed) for seed in (1, 2, 3)]
    texts = ["\n".join(part).split("\n") for part in documents]
    path.write_text("".join(json.dumps({"text": "\n".join(lines)}) + "\n" for lines in texts))
    return sum(texts, [])


@pytest.mark.parametrize("fraction", [0.01, 0.2])
@pytest.mark.parametrize("make", [one_sentence_a_line, few_large_documents])
def test_validation_has_its_share_of_few_large_documents(
    prepared, tmp_path, capsys, monkeypatch, make, fraction
):
    monkeypatch.setattr(reading, "LARGEST_DOCUMENT", 110_000)
    lines = make(tmp_path / "text")
    model = {"sentencepiece_model": prepared / "sentencepiece.bpe.model"}
    prepare([tmp_path / "text"], tmp_path / "data", workers=1, valid_fraction=fraction, **model)
    splits = [read_items(tmp_path / "data" / split) for split in ("train", "valid")]
    train, valid = (sum(map(len, items)) for items in splits)
    assert 0.5 * fraction < valid / (train + valid) < 1.1 * fraction
    # each line is in one of them, once
    vocabulary = Vocabulary(model["sentencepiece_model"], tmp_path / "data" / "dict.txt")
    expected = [[*ids.tolist(), 2] for ids in vocabulary.encode_batch(lines)]
    found = [item for items in splits for item in items if item != [2]]
    assert sorted(found) == sorted(expected)

    (warning,) = re.findall("warning: (.*)", capsys.readouterr().out)
    assert "divided between training and validation" in warning
    assert ("--document-per-line" in warning) == (make is one_sentence_a_line)
    monkeypatch.setattr(buckets, "SMALL_BUCKET_BYTES", 30_000)
    prepare([tmp_path / "text"], tmp_path / "other", workers=3, valid_fraction=fraction, **model)
    assert contents(tmp_path / "data") == contents(tmp_path / "other")


def test_usual_documents_bring_no_warning(text, prepared, tmp_path, capsys):
    model = prepared / "sentencepiece.bpe.model"
    prepare([text], tmp_path / "data", workers=1, valid_fraction=0.1, sentencepiece_model=model)
    one_sentence_a_line(tmp_path / "lines")
    prepare(
        [tmp_path / "lines"], tmp_path / "b", workers=1, document_per_line=True,
        sentencepiece_model=model,
    )  # fmt: skip
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize("length", [16, 64])
def test_the_longest_line_fills_fairseqs_positions(text, prepared, tmp_path, capsys, length):
    model = prepared / "sentencepiece.bpe.model"
    long = tmp_path / "long.txt"
    long.write_text(" ".join(text.read_text().split()) + "\n\nanother document\n")
    sources = [text, long]
    options = {"workers": 1, "sentencepiece_model": model, "valid_fraction": 0.3}
    prepare(sources, tmp_path / "data", sequence_length=length, **options)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"options that fit it: --tokens-per-sample {length} --sample-break-mode complete"
    settings = MaskedLMConfig(
        data=str(tmp_path / "data"), tokens_per_sample=length, sample_break_mode="complete", seed=1
    )
    task = MaskedLMTask.setup_task(settings)
    longest = []
    for split in ("train", "valid"):
        task.load_dataset(split)
        blocks = task.datasets[split]
        longest.append(
            max(
                len(block["net_input.src_tokens"])
                for block in map(blocks.__getitem__, range(len(blocks)))
            )
        )
    assert max(longest) == length
    # the older name of the option
    prepare(sources, tmp_path / "older", max_line_tokens=length - 2, **options)
    assert contents(tmp_path / "older") == contents(tmp_path / "data")


PERSIAN = "می\u200cخواهم نان بخرم\nکتاب\u200cها و خانه\u200cها\n\nنمی\u200cدانم چرا\n\n"


@pytest.mark.parametrize("rule", ["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity"])
def test_the_vocabulary_has_the_normalisation_rule(tmp_path, capsys, rule):
    (tmp_path / "text.txt").write_text((PERSIAN + "Große ﬁne Wörter") * 3, encoding="utf-8")
    prepare([tmp_path / "text.txt"], tmp_path / "data", workers=1, normalisation_rule=rule)
    model = sentencepiece.SentencePieceProcessor(str(tmp_path / "data" / "sentencepiece.bpe.model"))
    normaliser = sentencepiece.SentencePieceNormalizer(rule_name=rule)
    for text in ("Große ﬁne Wörter", "می\u200cخواهم"):
        assert model.normalize(text) == normaliser.normalize(text)
    kept = not rule.startswith("nmt")
    assert ("\u200c" in "".join(model.id_to_piece(i) for i in range(len(model)))) == kept
    warnings = re.findall("warning: the text has (.*)", capsys.readouterr().out)
    assert len(warnings) == (not kept)
    assert kept or re.search("zero-width non-joiners .*--normalisation-rule nfkc", warnings[0])
    assert model.normalize("A") == ("\u2581a" if rule.endswith("cf") else "\u2581A")


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"case": "fold"}, "nmt_nfkc_cf"),
        ({"case": "keep"}, "nmt_nfkc"),
        ({"case": "fold", "normalisation_rule": "nfkc"}, "nfkc_cf"),
        ({"case": "fold", "normalisation_rule": "nfkc_cf"}, "nfkc_cf"),
        ({"body": "nmt_nfkc_cf"}, "nmt_nfkc_cf"),
        ({"body": "nmt_nfkc"}, "nmt_nfkc"),
        ({"body": "nmt_nfkc_cf", "case": "keep"}, "nmt_nfkc"),
    ],
)
def test_case_is_folded_where_it_is_asked_or_the_body_does(
    text, joint_checkpoint, tmp_path, options, rule
):
    if body := options.get("body"):  # a checkpoint with a tokenizer of that rule beside it
        shutil.copy(joint_checkpoint, tmp_path / "body.pt")
        train_sentencepiece(
            tmp_path / SENTENCEPIECE_FILE, ["a b"] * 9, 9, normalization_rule_name=body
        )
        options = {**options, "body": tmp_path / "body.pt"}
    prepare([text], tmp_path / "data", workers=1, **options)
    record = json.loads((tmp_path / "data/prepare.json").read_text())
    assert record["options"]["normalisation_rule"] == rule
    assert folds_case(load_tokenizer(tmp_path / "data" / SENTENCEPIECE_FILE)) == rule.endswith(
        "_cf"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"case": "fold", "normalisation_rule": "identity"},
            "identity has no form that folds case",
        ),
        (
            {"case": "keep", "normalisation_rule": "nfkc_cf"},
            "nfkc_cf folds case, and --case is keep",
        ),
        (
            {"case": "fold", "sentencepiece_model": "a.model"},
            "--case and --body are for a vocabulary",
        ),
        ({"body": "absent.pt"}, "no checkpoint absent.pt"),
    ],
)
def test_case_that_cannot_be_had_is_refused(text, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        prepare([text], tmp_path / "data", workers=1, **options)


def test_user_defined_symbols_are_single_pieces(text, prepared, tmp_path, capsys):
    symbols = ("[NAME]", "a,b", "#")
    prepare([text], tmp_path / "data", workers=1, user_defined_symbols=symbols)
    vocabulary = Vocabulary(
        tmp_path / "data" / "sentencepiece.bpe.model", tmp_path / "data" / "dict.txt"
    )
    for symbol in symbols:
        ids = vocabulary.encode(f"ab{symbol}cd").tolist()
        assert vocabulary.symbols.index(symbol) in ids
    assert "warning" not in capsys.readouterr().out
    prepare([text], tmp_path / "data", workers=1, user_defined_symbols=list(symbols))
    assert "nothing to do" in capsys.readouterr().out
    for option in ({"user_defined_symbols": symbols}, {"normalisation_rule": "identity"}):
        with pytest.raises(InputError, match="for a vocabulary that is trained here"):
            prepare(
                [text], tmp_path / "b", **option,
                sentencepiece_model=prepared / "sentencepiece.bpe.model",
            )  # fmt: skip


@pytest.mark.parametrize("options", [{"model_type": "word"}, {"model_type": "bpe"}, {}])
def test_what_cannot_be_exported_is_said_before_training(text, tmp_path, capsys, options):
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "m"), vocab_size=400, minloglevel=2, **options
    )
    prepare([text], tmp_path / "data", workers=1, sentencepiece_model=tmp_path / "m.model")
    warned = "warning: export-hf cannot write models" in capsys.readouterr().out
    assert warned == (options == {"model_type": "word"})


def test_plain_text_that_looks_like_a_table_can_be_read(prepared, tmp_path):
    (tmp_path / "text").write_text("one,two\nthree,four\n\nfive,six\n")
    model = prepared / "sentencepiece.bpe.model"
    options = {"workers": 1, "sentencepiece_model": model, "min_characters": 1}
    prepare([tmp_path / "text"], tmp_path / "data", text_format="plain", **options)
    record = json.loads((tmp_path / "data" / "prepare.json").read_text())
    assert record["counts"]["documents"] == 2


def test_a_pipe_is_refused_before_any_of_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe is a pipe or a device"):
        prepare([tmp_path / "pipe"], tmp_path / "data", workers=1)


@pytest.mark.parametrize("kind", ["link", "folder", "file", "linked lock", "open to others"])
def test_what_stands_at_the_place_of_the_work_files_is_left_alone(text, tmp_path, kind):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    work = tmp_path / ".data.work"
    if kind == "link":
        (precious / "lock").touch()
        work.symlink_to(precious)
    elif kind == "folder":
        precious.rename(work)
    elif kind == "file":
        work.write_text("years of work")
    else:
        work.mkdir()
        if kind == "linked lock":
            (work / "lock").symlink_to(precious / "thesis.tex")
        else:
            (work / "lock").touch()
            work.chmod(0o777)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"\.data\.work exists and is not what"):
        prepare([text], tmp_path / "data", workers=1)
    assert contents(tmp_path) == before


def test_folders_with_names_like_unfinished_output_are_left_alone(text, prepared, tmp_path):
    partial = tmp_path / ".data.mine.partial"
    partial.mkdir()
    (partial / "thesis.tex").write_text("years of work")
    (tmp_path / ".data.link.partial").symlink_to(partial)
    model = prepared / "sentencepiece.bpe.model"
    prepare([text], tmp_path / "data", workers=1, sentencepiece_model=model)
    assert (partial / "thesis.tex").read_text() == "years of work"
    names = [".data.link.partial", ".data.mine.partial", "data"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_two_documents_are_enough_and_one_a_line_is_a_way(tmp_path):
    (tmp_path / "text.txt").write_text("the first document\nthe second document\n")
    prepare([tmp_path / "text.txt"], tmp_path / "data", workers=1, document_per_line=True)
    both = [read_documents(tmp_path / "data", split)[0] for split in ("train", "valid")]
    assert all("document" in document or "\u2047" in document for document in both)
    with pytest.raises(InputError, match="at least 2 are needed .*--document-per-line"):
        prepare([tmp_path / "text.txt"], tmp_path / "data2", workers=1)


def test_normalisation_decides_what_is_a_duplicate(tmp_path):
    texts = ["na\u00efve caf\u00e9 text", "nai\u0308ve cafe\u0301 text", "other\u2019s text here"]
    (tmp_path / "text.txt").write_text("\n\n".join(texts), encoding="utf-8")

    def duplicates(name, **options):
        prepare([tmp_path / "text.txt"], tmp_path / name, workers=1, **options)
        return json.loads((tmp_path / name / "prepare.json").read_text())["counts"]["duplicates"]

    assert duplicates("none") == 0
    assert duplicates("nfc", unicode_normalisation="NFC") == 1
    assert duplicates("moses", moses_punctuation="en", unicode_normalisation="NFC") == 1
    decoded = read_documents(tmp_path / "moses", "train") + read_documents(
        tmp_path / "moses", "valid"
    )
    assert all("\u2019" not in document for document in decoded)


class TestEncodeLines:
    @pytest.fixture
    def vocabulary(self, prepared):
        return Vocabulary(prepared / "sentencepiece.bpe.model", prepared / "dict.txt")

    def test_a_long_line_becomes_several_items(self, vocabulary):
        line = "ab cd ef gh " * 20
        ids = vocabulary.encode(line).tolist()
        assert len(ids) % 7 != 0
        tokens, sizes = encode_lines(vocabulary, ["x", line, "", "x"], longest=7)
        items = [part.tolist() for part in np.split(tokens, np.cumsum(sizes)[:-1])]
        x = vocabulary.encode("x").tolist() + [2]
        chunks = [ids[i : i + 7] + [2] for i in range(0, len(ids), 7)]
        assert items == [x, *chunks, [2], x]

    def test_a_line_of_exactly_the_longest_size_stays_whole(self, vocabulary):
        ids = vocabulary.encode("ab cd ef").tolist()
        tokens, sizes = encode_lines(vocabulary, ["ab cd ef"], longest=len(ids))
        assert (tokens.tolist(), sizes.tolist()) == ([*ids, 2], [len(ids) + 1])

    def test_a_line_that_normalises_to_nothing_is_no_document_end(self, vocabulary):
        tokens, _ = encode_lines(vocabulary, ["x", "\u200b\u200b", "x"], longest=7)
        assert [2, 2] not in [tokens[i : i + 2].tolist() for i in range(len(tokens))]


@pytest.mark.parametrize(
    ("name", "data", "options", "message"),
    [
        ("a.txt", None, [], r"Cannot read .*a\.txt: No such file"),
        ("a.txt", b"", [], "holds 0 documents.*at least 2 are needed"),
        ("a.txt", b"good text\n\nbad \xe4 text\n", [], r"a\.txt, line 3: not UTF-8 \(byte 0xe4\)"),
        ("a.txt.gz", gzip.compress(b"text\n\n" * 9999)[:-20], [], r"a\.txt\.gz.*damaged or cut"),
        ("a.txt.xz", b"no xz \xff at all", [], r"a\.txt\.xz.*damaged or cut off"),
        ("a.jsonl", b'{"text": "a"}\n{"body": "b"}', [], r"a\.jsonl, line 2: no text .* 'text'"),
        ("a.jsonl", b'{"text": "a"}\n{"text', [], r"a\.jsonl, line 2: not JSON"),
        (
            "a.json",
            b'{"id": 1, "body": "a"}\n',
            [],
            r"a\.json, line 1: .* 'id', 'body': .* --field",
        ),
        ("a", b"id,text\n1,first text\n2,second text\n", [], "a is a table .*--text-format plain"),
        ("a.txt", b"good text\n\nbad \0 text\n", [], r"a\.txt, line 3: a NUL character"),
        ("a.txt", "good text\n\nthe second".encode("utf-16"), [], "iconv -f UTF-16LE -t UTF-8"),
        ("a.txt", b"one\n\ntwo", ["--output", "run_12:30"], "--output .*run_12:30 has a colon"),
        (
            "a.txt",
            b"one\n\ntwo",
            ["--sequence-length", "2"],
            "--sequence-length is 2, .* at least 3",
        ),
        ("a.txt", b"one\n\ntwo", ["--user-defined-symbols", "a b"], "symbols without spaces"),
        ("a.txt", b"one\n\ntwo", ["--user-defined-symbols", "<mask>"], "which fairseq has itself"),
        (
            "a.txt",
            b"one\n\ntwo",
            ["--sequence-length", "128", "--max-line-tokens", "100"],
            "--max-line-tokens 100 means --sequence-length 102, but --sequence-length is 128",
        ),
        ("a.jsonl", b'{"text": "\\ud800"}', [], r"a\.jsonl, line 1: .*surrogate"),
        ("a.txt", b"long enough one\n\nlong enough two", ["--shards", "9"], "give fewer shards"),
        ("a.txt", b"one\n\ntwo", ["--workers", "0"], "--workers is 0"),
        ("a.txt", b"one\n\ntwo", ["--valid-fraction", "1"], "--valid-fraction is 1"),
        ("a.txt", b"one\n\ntwo", ["--dict", "x"], "without --sentencepiece-model"),
        ("a.txt", b"one\n\ntwo", ["--sentencepiece-model", "none"], "SentencePiece model none"),
        ("a.txt", b"one\n\ntwo", ["--sentencepiece-model", "a.txt"], "not a SentencePiece model"),
        ("a.txt", b"abcdefgh ijk\n\nlmnop qrstuv", ["--vocabulary-size", "9"], "give at least"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, name, data, options, message
):
    monkeypatch.chdir(tmp_path)
    if data is not None:
        (tmp_path / name).write_bytes(data)
    assert main(["prepare", "--text", name, "--output", "data", *options]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {name}


def test_a_full_disk_and_a_killed_worker_keep_the_work(text, tmp_path, monkeypatch):
    output = tmp_path / "data"

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    def killed(*arguments):
        os.kill(os.getpid(), 9)

    for owner, name, broken, message in (
        (assemble, "_join", full, "disk .* is full"),
        (module, "encode_bucket", killed, "worker process was killed"),
    ):
        if name == "encode_bucket":
            killed.__module__, killed.__qualname__ = module.__name__, name
        with monkeypatch.context() as context:
            context.setattr(owner, name, broken)
            with pytest.raises(InputError, match=message):
                prepare([text], output, workers=1, valid_fraction=0.1)
        assert not output.exists()
        assert (tmp_path / ".data.work" / "distributed.json").exists()
    prepare([text], output, workers=1, valid_fraction=0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_command_does_not_load_torch(tmp_path):
    script = (
        "import sys; sys.argv = ['fairseq-minimodel']\n"
        "import fairseq_minimodel.corpus.prepare, fairseq_minimodel.corpus.classification\n"
        "assert not {'torch', 'fairseq'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=tmp_path)


def test_a_link_to_itself_is_one_sentence(text, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for source, output in ((tmp_path / "loop", tmp_path / "data"), (text, tmp_path / "loop")):
        with pytest.raises(InputError, match="loop is a link that leads back to itself"):
            prepare([source], output, workers=1)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("/", "'/' cannot be the output"),
        (".", "exists and holds no finished output"),
        ("file", "file exists and holds no finished output"),
        ("file/data", "Cannot write to .*file: File exists"),
        ("n" * 300, "Cannot write to .*: File name too long"),
    ],
)
def test_an_output_that_cannot_be_is_one_sentence(text, tmp_path, monkeypatch, output, sentence):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(InputError, match=sentence):
        prepare([text], output, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_without_the_right_to_write_is_one_sentence(text, tmp_path, monkeypatch):
    """Root may write everywhere, so it is said that nobody may."""

    def refuse(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(InputError, match="Cannot write to .*: Permission denied"):
        prepare([text], tmp_path / "data", workers=1)


def test_a_kill_while_the_work_files_are_removed_is_gone_on_from(text, tmp_path, monkeypatch):
    """The lock file, by which the next run knows them, goes last."""
    remove = shutil.rmtree

    def killed(path, *arguments, **options):
        if Path(path).name == "encoded":
            raise KeyboardInterrupt
        remove(path, *arguments, **options)

    with monkeypatch.context() as context:
        context.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare([text], tmp_path / "data", workers=1)
    assert (tmp_path / ".data.work" / "encoded").exists()
    assert (tmp_path / ".data.work" / "lock").exists()
    prepare([text], tmp_path / "data", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
