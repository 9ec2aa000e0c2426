"""Nothing that a checkpoint brings is run, and what cannot be read is said in a sentence."""

import argparse
import pickle
import subprocess
from dataclasses import replace

import pytest
import torch
from conftest import run

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.training_files import symbols_of
from fairseq_minimodel.errors import InputError


class Exploit:
    """Unpickled without restrictions, it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return subprocess.call, (["touch", str(self.path)],)


@pytest.fixture
def malicious(joint_checkpoint, tmp_path):
    content = torch.load(joint_checkpoint, weights_only=True)
    content["extra_state"]["note"] = Exploit(tmp_path / "created")
    torch.save(content, tmp_path / "malicious.pt")
    with open(tmp_path / "malicious.pkl", "wb") as file:
        pickle.dump(Exploit(tmp_path / "created"), file)
    return tmp_path / "malicious.pt"


@pytest.mark.parametrize("name", ["malicious.pt", "malicious.pkl"])
def test_a_checkpoint_that_would_run_code_is_refused(malicious, name):
    with pytest.raises(InputError, match="refused|damaged"):
        read_checkpoint(malicious.with_name(name))
    assert not (malicious.parent / "created").exists()


@pytest.mark.parametrize(
    "load",
    [
        "fairseq.checkpoint_utils.load_model_ensemble_and_task([path])",
        "fairseq.checkpoint_utils.load_checkpoint_to_cpu(path)",
        "RobertaModel.from_pretrained(folder, checkpoint_file='malicious.pt', bpe=None)",
    ],
)
def test_fairseqs_own_loading_does_not_run_it_either(malicious, load):
    code = (
        "import fairseq_minimodel; fairseq_minimodel.register()\n"
        "import fairseq.checkpoint_utils, sys\n"
        "from fairseq.models.roberta import RobertaModel\n"
        "fairseq_minimodel.register()\n"
        f"path, folder = {str(malicious)!r}, {str(malicious.parent)!r}\n{load}"
    )
    result = run(["python", "-c", code], fresh=False)
    # in a program of somebody's an exception like others
    assert result.returncode == 1 and "InputError: " in result.stderr
    assert "is refused: it holds objects of" in result.stderr
    assert not (malicious.parent / "created").exists()


def test_the_exploit_would_work_without_the_restriction(malicious):
    torch.load(malicious, weights_only=False)
    assert (malicious.parent / "created").exists()


def test_a_missing_a_truncated_and_a_foreign_file_are_named(joint_checkpoint, tmp_path):
    with pytest.raises(InputError, match="no checkpoint .*absent.pt"):
        read_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(InputError, match="is a folder"):
        read_checkpoint(tmp_path)
    truncated = tmp_path / "truncated.pt"
    truncated.write_bytes(joint_checkpoint.read_bytes()[:5000])
    with pytest.raises(InputError, match="truncated.pt is damaged"):
        read_checkpoint(truncated)
    (tmp_path / "text.pt").write_text("no checkpoint\n")
    with pytest.raises(InputError, match="text.pt is"):
        read_checkpoint(tmp_path / "text.pt")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "foreign.pt")
    with pytest.raises(InputError, match="foreign.pt is not a fairseq checkpoint"):
        read_checkpoint(tmp_path / "foreign.pt")


def test_old_checkpoints_with_a_namespace_are_read(joint_checkpoint, tmp_path):
    content = torch.load(joint_checkpoint, weights_only=True)
    options = {**content["cfg"]["model"], **content["cfg"]["task"]}
    options.update(arch="roberta", task="masked_lm")
    content.update(args=argparse.Namespace(**options), cfg=None)
    torch.save(content, tmp_path / "old.pt")
    old = read_checkpoint(tmp_path / "old.pt")
    assert old.model_config["_name"] == "roberta"
    assert old.body_settings() == read_checkpoint(joint_checkpoint).body_settings()


def test_sizes_are_read_off_the_tensors(joint_checkpoint):
    assert read_checkpoint(joint_checkpoint).body_settings() == {
        "encoder_layers": 3,
        "encoder_embed_dim": 16,
        "encoder_ffn_embed_dim": 32,
        "encoder_attention_heads": 2,
        "max_positions": 32,
        "activation_fn": "gelu",
        "layer_norm_eps": 1e-5,
    }


def test_forms_of_roberta_that_are_not_supported_are_refused(joint_checkpoint):
    checkpoint = read_checkpoint(joint_checkpoint)
    prenorm = checkpoint.replaced(checkpoint.state, encoder_normalize_before=True)
    with pytest.raises(InputError, match="encoder_normalize_before=True"):
        prenorm.body_settings()


def test_the_dictionary_is_found_and_checked(joint_checkpoint, source_data, target_data, tmp_path):
    checkpoint = read_checkpoint(joint_checkpoint)
    symbols = symbols_of(checkpoint)
    assert len(symbols) == 65 and symbols[-1] == "<mask>" and symbols[4] == "\u2581word0"
    with pytest.raises(InputError, match="80 symbols.*65 rows"):
        symbols_of(checkpoint, target_data / "dict.txt")
    lines = (source_data / "dict.txt").read_text().splitlines()
    (tmp_path / "dict.txt").write_text("\n".join(reversed(lines)) + "\n")
    with pytest.raises(InputError, match="not the dictionary that it was trained with"):
        symbols_of(checkpoint, tmp_path / "dict.txt")


def test_a_missing_dictionary_is_asked_for(joint_checkpoint, tmp_path):
    checkpoint = read_checkpoint(joint_checkpoint)
    config = {**checkpoint.config, "task": {"data": str(tmp_path / "gone")}}
    moved = replace(checkpoint, path=tmp_path / "moved.pt", config=config)
    with pytest.raises(InputError, match=r"no dict.txt for .*moved.pt.*--source-dict"):
        symbols_of(moved)


def test_a_written_checkpoint_needs_no_class_at_all(joint_checkpoint, tmp_path):
    checkpoint = read_checkpoint(joint_checkpoint)
    write_checkpoint(tmp_path / "written.pt", checkpoint)
    assert not torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "written.pt")
    written = read_checkpoint(tmp_path / "written.pt")
    assert written.updates == checkpoint.updates == 4
    for name, tensor in checkpoint.state.items():
        assert torch.equal(tensor, written.state[name])
