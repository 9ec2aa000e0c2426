"""fairseq's commands by their real programs do what they do in the forks that other tests use."""

import re

import pytest
import torch
from conftest import LENGTH, OPTIMISER, SMALL_MODEL, USER_DIR, run, state_of
from recipes.test_hydra import CONFIGS, CPU, SMALL

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["fairseq-train", "fairseq-hydra-train"])
def test_training_gives_the_same_weights(name, source_data, tmp_path):
    commands = {
        "fairseq-train": [
            source_data, "--user-dir", USER_DIR, "--task", "masked_lm", "--criterion",
            "joint_masked_lm", *SMALL_MODEL, *LENGTH, *OPTIMISER, "--max-update", "2",
        ],
        "fairseq-hydra-train": [
            "--config-dir", CONFIGS, "--config-name", "pretrain", *CPU,
            *(f"+{size}" for size in SMALL),
            f"task.data={source_data}",
            "task.tokens_per_sample=32", "model.auxiliary_head_layers='2'",
        ],
    }  # fmt: skip
    states = []
    for fresh in (True, False):
        folder = tmp_path / f"fresh-{fresh}"
        folder.mkdir()
        result = run([name, *commands[name]], fresh=fresh, cwd=folder)
        assert result.returncode == 0, result.stderr[-3000:]
        (checkpoint,) = folder.rglob("checkpoint_last.pt")
        states.append(state_of(checkpoint))
    real, forked = states
    assert set(real) == set(forked)
    for tensor, value in real.items():
        assert "lineage" in tensor or torch.equal(value, forked[tensor]), tensor


def test_validation_gives_the_same_loss(joint_checkpoint, source_data):
    command = [
        "fairseq-validate", source_data, "--user-dir", USER_DIR, "--path", joint_checkpoint, "--cpu",
        "--task", "masked_lm", "--valid-subset", "valid", "--batch-size", "8", "--num-workers", "0",
    ]  # fmt: skip
    results = [run(command, fresh=fresh) for fresh in (True, False)]
    real, forked = (re.findall(r"\| loss ([\d.]+) ", each.stdout + each.stderr) for each in results)
    assert real == forked and len(real) == 1, results[0].stderr[-3000:]
