"""Our writer of binary data against fairseq's own writer and reader."""

import re

import numpy as np
import pytest
import torch
from fairseq.data import indexed_dataset

from fairseq_minimodel.cli import main
from fairseq_minimodel.corpus.indexed import IndexedDatasetWriter, token_type


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
