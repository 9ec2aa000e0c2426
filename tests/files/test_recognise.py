"""A file that is taken for a checkpoint is called by its name, and nobody is told to load it anyway."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import numpy
import pytest
import sentencepiece
import torch
from conftest import USER_DIR, run
from safetensors.torch import save

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.errors import InputError


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(*names):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def array():
    buffer = io.BytesIO()
    numpy.save(buffer, numpy.ones(3))
    return buffer.getvalue()


def compressed_checkpoint():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    return buffer.getvalue()


def program():
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def sentencepiece_model():
    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d"] * 3),
        model_writer=buffer,
        model_type="word",
        vocab_size=7,
        minloglevel=2,
    )
    return buffer.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n"
FILES = {
    "empty": (b"", "empty: copy or fetch it again"),
    "pointer": (POINTER, "Git LFS pointer.*git lfs pull"),
    "page": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "a web page"),
    "page in lower case": (b"\n<html lang='de'>Anmelden</html>", "a web page"),
    "gzip": (gzip.compress(b"x"), "compressed .gzip.: unpack it"),
    "bzip2": (bz2.compress(b"x"), "compressed .bzip2.: unpack it"),
    "xz": (lzma.compress(b"x"), "compressed .xz.: unpack it"),
    "safetensors": (save({"a": torch.ones(2)}), "a safetensors file: .*import-hf"),
    "dict.txt": ("▁der 12\n▁die 11\n".encode(), r"a dictionary of fairseq \(dict.txt\)"),
    "one line of dict.txt": (b"e 5\n", r"a dictionary of fairseq \(dict.txt\)"),
    "text": (b"Ein Satz.\nNoch einer.\n", "a text file"),
    "JSON": (b'{"model": 1}', "a JSON file"),
    "old pickle": (b"cos\nsystem\n(S'touch created'\ntR.", "a text file"),
    "array": (array(), "an array of NumPy"),
    "zip": (zipped(**{"a.txt": "a"}), "a zip archive of a.txt: unpack it"),
    "compressed": (compressed_checkpoint(), "a compressed zip archive"),
    "TorchScript": (program(), "a TorchScript program, which is code"),
    "tar": (tarred("corpus/de.txt"), "a tar archive of corpus/de.txt: unpack it"),
    "PyTorch 0.1": (tarred("sys_info", "pickle", "tensors", "storages"), "before 2017"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 40, "HDF5"),
    "SentencePiece": (sentencepiece_model(), "no file of PyTorch"),
    "noise": (bytes(range(255, 100, -1)) * 9, "no file of PyTorch"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_checkpoint_is_called_by_its_name(name, tmp_path):
    content, words = FILES[name]
    path = tmp_path / "checkpoint_last.pt"
    path.write_bytes(content)
    sentence = f"checkpoint_last.pt is not a checkpoint: the file is in fact .*{words}"
    with pytest.raises(InputError, match=sentence) as refused:
        read_checkpoint(path)
    assert "trust" not in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("option", ["--finetune-from-model", "--restore-file"])
def test_fairseqs_training_says_the_same(option, source_data, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(POINTER)
    result = run(
        ["fairseq-train", source_data, "--user-dir", USER_DIR, "--save-dir", tmp_path / "run",
         "--task", "masked_lm", "--arch", "minimodel_roberta", "--cpu", "--batch-size", "8",
         "--tokens-per-sample", "32", "--optimizer", "adam", "--num-workers", "0", option, path]
    )  # fmt: skip
    assert result.returncode == 2
    assert "model.pt is not a checkpoint: the file is in fact a Git LFS pointer" in result.stderr
    assert "Traceback" not in result.stderr


def test_inspect_says_the_same(tmp_path):
    for name in ("model.safetensors", "weights.bin"):
        (tmp_path / name).write_bytes(POINTER)
        result = run(["fairseq-minimodel", "inspect", tmp_path / name])
        assert result.returncode == 2 and "Git LFS pointer" in result.stderr


def test_a_circle_of_links_is_one_sentence(tmp_path):
    (tmp_path / "a.pt").symlink_to(tmp_path / "b.pt")
    (tmp_path / "b.pt").symlink_to(tmp_path / "a.pt")
    with pytest.raises(InputError, match="a.pt"):
        read_checkpoint(tmp_path / "a.pt")


def test_a_weights_file_of_a_pack_that_is_a_pointer(tmp_path):
    from fairseq_minimodel.bodies.weights import read_safetensors

    (tmp_path / "language.safetensors").write_bytes(POINTER)
    with pytest.raises(InputError, match="language.safetensors is damaged .*git lfs pull"):
        read_safetensors(tmp_path / "language.safetensors", "make it again")


def test_json_is_not_a_dictionary(tmp_path):
    (tmp_path / "x.pt").write_text(json.dumps([1]))
    with pytest.raises(InputError, match="a JSON file"):
        read_checkpoint(tmp_path / "x.pt")
