"""Our writer of binary data against fairseq's own writer and reader."""

import re
import shutil

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary, data_utils, indexed_dataset

import fairseq_minimodel
from fairseq_minimodel.cli import main
from fairseq_minimodel.corpus.indexed import (
    HEADER,
    MAGIC,
    IndexedDatasetWriter,
    check_dataset,
    read_sizes,
    token_type,
)
from fairseq_minimodel.errors import InputError

fairseq_minimodel.register()  # fairseq's own loading is checked, too


@pytest.mark.parametrize("symbols", [10, 65499, 65500, 200_000])
def test_bytes_equal_those_of_fairseq(tmp_path, symbols, monkeypatch):
    monkeypatch.setattr("fairseq_minimodel.corpus.indexed._CHUNK", 7)  # pointers over chunks
    generator = np.random.default_rng(symbols)
    items = [generator.integers(symbols, size=n) for n in generator.integers(1, 9, size=50)]
    builder = indexed_dataset.make_builder(str(tmp_path / "theirs.bin"), "mmap", symbols)
    for item in items:
        builder.add_item(torch.from_numpy(item))
    builder.finalize(str(tmp_path / "theirs.idx"))

    with IndexedDatasetWriter(tmp_path / "ours", token_type(symbols)) as writer:
        for part in (items[:20], items[20:]):
            writer.write(np.concatenate(part), np.array([len(item) for item in part]))

    for suffix in ("bin", "idx"):
        ours, theirs = (tmp_path / f"{name}.{suffix}" for name in ("ours", "theirs"))
        assert ours.read_bytes() == theirs.read_bytes()
    read = indexed_dataset.MMapIndexedDataset(str(tmp_path / "ours"))
    assert [read[i].tolist() for i in range(len(read))] == [item.tolist() for item in items]
    assert sorted(path.name for path in tmp_path.glob("ours*")) == ["ours.bin", "ours.idx"]


def test_the_last_item_can_be_taken_back(tmp_path):
    with IndexedDatasetWriter(tmp_path / "data", np.dtype("<u2")) as writer:
        writer.write(np.array([5, 6, 2, 2]), np.array([3, 1]))
        writer.remove_last_token_item()
        with pytest.raises(ValueError, match="exactly one token"):
            writer.remove_last_token_item()
    read = indexed_dataset.MMapIndexedDataset(str(tmp_path / "data"))
    assert [item.tolist() for item in (read[0],)] == [[5, 6, 2]]
    assert len(read) == 1


@pytest.mark.parametrize(
    "command",
    [
        "prepare --text text.txt",
        "prepare-classification --train a.tsv --valid a.tsv --text-columns 1 --label-column 2",
        "prepare-questions --train a.json --valid a.json",
    ],
)
@pytest.mark.parametrize("output", ["run_12:30", "a:b/data"])
def test_a_folder_that_fairseq_would_take_for_two_is_refused(
    tmp_path, monkeypatch, capsys, command, output
):
    monkeypatch.chdir(tmp_path)
    vocabulary = ["--dict", "dict.txt", "--sentencepiece-model", "model"]
    assert main([*command.split(), *vocabulary, "--output", output]) == 2
    assert re.search(f"--output .*{output} has a colon", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


OTHERS = {
    "empty": b"",
    "one byte": b"M",
    "zip": b"PK\x03\x04" + bytes(90),
    "gzip": b"\x1f\x8b\x08" + bytes(90),
    "HTML page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "pickle": b"\x80\x04\x95cposix\nsystem\n(.",
    "random start": b"\x93" * 16,
}


def change(position, byte):
    return lambda data: data[:position] + bytes([byte]) + data[position + 1 :]


START = len(MAGIC) + HEADER.size
DAMAGES = [  # which file, what is done to it, what is said of it
    *((".idx", name, lambda _, new=new: new, "idx is not an index") for name, new in OTHERS.items()),
    *((".bin", name, lambda _, new=new: new, "its index says 18") for name, new in OTHERS.items()),
    (".idx", "truncated", lambda data: data[:-1], "train.idx is damaged or cut off"),
    (".idx", "longer", lambda data: data + b"0", "train.idx is damaged or cut off"),
    (".idx", "other version", change(len(MAGIC), 2), "train.idx is damaged or cut off"),
    (".idx", "other type", change(len(MAGIC) + 8, 77), "train.idx is damaged or cut off"),
    (".idx", "a size", change(START, 7), "its sizes and offsets disagree"),
    (".idx", "a negative size", change(START + 3, 255), "its sizes and offsets disagree"),
    (".idx", "an offset", change(START + 3 * 4 + 8, 7), "its sizes and offsets disagree"),
    (".bin", "truncated", lambda data: data[:-2], "train.bin has 16 bytes, and its index says 18"),
    (".bin", "longer", lambda data: data + b"00", "train.bin has 20 bytes, and its index says 18"),
    (".bin", "other tokens", lambda data: b"\xff" * 18, "holds the token 65,535, and the dictionary"),
]  # fmt: skip


def ten_symbols():
    dictionary = Dictionary()
    for symbol in "abcdef":
        dictionary.add_symbol(symbol)
    return dictionary


@pytest.fixture
def three_items(tmp_path):
    prefix = tmp_path / "train"
    with IndexedDatasetWriter(prefix, token_type(10)) as writer:
        writer.write(np.arange(1, 10), np.array([4, 3, 2]))
    return prefix


@pytest.mark.parametrize(
    ("end", "damage", "sentence"), [pytest.param(e, d, s, id=e + " " + n) for e, n, d, s in DAMAGES]
)
@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_damaged_data_are_refused_before_training(
    chunk, end, damage, sentence, three_items, monkeypatch
):
    monkeypatch.setattr("fairseq_minimodel.corpus.indexed._CHUNK", chunk)
    assert read_sizes(three_items)[1].tolist() == [4, 3, 2]
    path = three_items.with_suffix(end)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=sentence):
        check_dataset(three_items, 10)
    with pytest.raises(InputError, match=sentence):  # as fairseq's tasks load it
        data_utils.load_indexed_dataset(str(three_items), ten_symbols())


@pytest.mark.parametrize("end", [".idx", ".bin"])
@pytest.mark.parametrize("how", ["missing", "folder", "link to itself"])
def test_a_split_has_two_files(how, end, three_items):
    path = three_items.with_suffix(end)
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "link to itself":
        path.symlink_to(path)
    with pytest.raises(InputError, match=f"there is no .*train{end}: a split has both"):
        data_utils.load_indexed_dataset(str(three_items))


def test_every_part_of_a_split_is_checked(three_items):
    for end in (".idx", ".bin"):
        shutil.copy(three_items.with_suffix(end), three_items.with_name(f"train1{end}"))
    load = data_utils.load_indexed_dataset
    assert len(load(str(three_items), combine=True)) == 6
    three_items.with_name("train1.bin").write_bytes(b"")
    assert len(load(str(three_items))) == 3
    with pytest.raises(InputError, match="train1.bin has 0 bytes"):
        load(str(three_items), combine=True)


def test_a_split_without_items_is_refused(tmp_path):
    with IndexedDatasetWriter(tmp_path / "valid", token_type(10)) as writer:
        writer.write(np.array([]), np.array([]))
    with pytest.raises(InputError, match="valid.bin is empty: a split needs items"):
        data_utils.load_indexed_dataset(str(tmp_path / "valid"))


@pytest.mark.parametrize("impl", ["mmap", "lazy"])
def test_sound_data_of_fairseq_are_loaded_as_ever(impl, tmp_path):
    builder = indexed_dataset.make_builder(str(tmp_path / "train.bin"), impl, 10)
    for size in (3, 1, 2):
        builder.add_item(torch.arange(1, 1 + size))
    builder.finalize(str(tmp_path / "train.idx"))
    read = data_utils.load_indexed_dataset(str(tmp_path / "train"), combine=True)
    assert read.sizes.tolist() == [3, 1, 2]
    assert data_utils.load_indexed_dataset(str(tmp_path / "test")) is None
