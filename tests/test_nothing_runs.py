"""No file that is read runs code: pickles that would leave a mark, at every place of loading."""

import io
import json
import pickle
import tarfile

import numpy
import pytest
import torch
from conftest import USER_DIR, run

from fairseq_minimodel.cli import main


class Mark:
    """Unpickled without restrictions, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "mark"


def pickled(mark, protocol=2):
    return pickle.dumps({"model": Mark(mark)}, protocol)


def saved(mark, **options):
    buffer = io.BytesIO()
    torch.save({"model": {"encoder.x": Mark(mark)}, "cfg": {}}, buffer, **options)
    return buffer.getvalue()


def tarred(mark):
    """As PyTorch wrote before 0.1.10."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            content, entry = pickled(mark), tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def array(mark):
    buffer = io.BytesIO()
    numpy.save(buffer, numpy.array([Mark(mark)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


YAML = "!!python/object/apply:builtins.open ['{}', 'w']\n"
FORMS = {
    "torch.save": saved,
    "older torch.save": lambda mark: saved(mark, _use_new_zipfile_serialization=False),
    "protocol 0": lambda mark: pickled(mark, 0),
    "protocol 2": pickled,
    "protocol 5": lambda mark: pickled(mark, 5),
    "tar": tarred,
    "array": array,
    "YAML": lambda mark: YAML.format(mark).encode(),
}


@pytest.mark.parametrize("form", ["torch.save", "older torch.save", "protocol 2", "protocol 5"])
def test_the_marks_would_be_made(form, mark):
    buffer = io.BytesIO(FORMS[form](mark))
    try:
        torch.load(buffer, weights_only=False)
    except Exception:  # it is not a file of PyTorch after that
        pickle.loads(buffer.getvalue())
    assert mark.exists()


def helper(folder):
    """A folder in Hugging Face's form, without weights."""
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}))
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_files_of_weights(form, mark, tmp_path, capsys):
    content = FORMS[form](mark)
    path, model = tmp_path / "model.pt", helper(tmp_path / "hf")
    path.write_bytes(content)
    (model / "pytorch_model.bin").write_bytes(content)
    config = {
        "model_type": "roberta", "num_hidden_layers": 1, "hidden_size": 4, "intermediate_size": 4,
        "num_attention_heads": 1, "vocab_size": 1, "max_position_embeddings": 8,
    }  # fmt: skip
    (model / "config.json").write_text(json.dumps(config))
    for command in (
        ["inspect", str(path)],
        ["truncate", "--body", str(path), "--depth", "1", "--output", str(tmp_path / "out")],
        ["pack", "--checkpoint", str(path), "--language", "x", "--output", str(tmp_path / "out")],
        ["import-hf", "--model", str(model), "--language", "x", "--output", str(tmp_path / "out")],
    ):
        assert main(command) == 2, command
        assert capsys.readouterr().err.count("\n") == 1, command
    from fairseq_minimodel.errors import InputError
    from fairseq_minimodel.packs.start.helper import read_folder

    with pytest.raises(InputError, match="pytorch_model.bin"):
        read_folder(model)
    assert not mark.exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "name",
    ["dict.txt", "sentencepiece.bpe.model", "tokenizer.json", "language.json",
     "language.safetensors"],
)  # fmt: skip
def test_files_of_a_pack(form, name, mark, tmp_path, capsys):
    from fairseq_minimodel.bodies.language_side import LanguageSide
    from fairseq_minimodel.packs.pack import Description, save_pack
    from fairseq_minimodel.vocabulary.symbols import fingerprint, read_symbols

    dictionary = tmp_path / "dict.txt"
    dictionary.write_text("a 1\n")
    symbols = read_symbols(dictionary)
    side = LanguageSide(torch.ones(len(symbols), 4), torch.ones(len(symbols)))
    description = Description("x", "0" * 16, fingerprint(symbols), len(symbols), 4, 1)
    save_pack(tmp_path / "pack", side, description, dictionary, dictionary)
    (tmp_path / "pack" / name).write_bytes(FORMS[form](mark))
    file = tmp_path / "pack" / name
    tokenizer = name in ("sentencepiece.bpe.model", "tokenizer.json")
    assert main(["inspect", str(file if tokenizer else file.parent)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not mark.exists()


@pytest.mark.parametrize("option", ["--finetune-from-model", "--restore-file"])
def test_fairseqs_training(option, mark, source_data, tmp_path):
    (tmp_path / "model.pt").write_bytes(saved(mark))
    result = run(
        ["fairseq-train", source_data, "--user-dir", USER_DIR, "--save-dir", tmp_path / "run",
         "--task", "masked_lm", "--arch", "minimodel_roberta", "--cpu", "--batch-size", "8",
         "--tokens-per-sample", "32", "--optimizer", "adam", "--num-workers", "0", option,
         tmp_path / "model.pt"]
    )  # fmt: skip
    assert result.returncode == 2 and "model.pt is refused" in result.stderr
    assert not mark.exists()


def test_a_hydra_configuration(mark, tmp_path):
    (tmp_path / "train.yaml").write_text(f"task: {YAML.format(mark)}")
    result = run(["fairseq-hydra-train", "--config-dir", tmp_path, "--config-name", "train"])
    assert result.returncode != 0
    assert not mark.exists()
