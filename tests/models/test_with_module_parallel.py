"""Task modules trained in two processes, by gloo on a CPU."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conftest import OPTIMISER, SMALL_MODEL, run, state_of, train
from recipes.test_training import free_port

from fairseq_minimodel.modules.method import is_module_part
from fairseq_minimodel.packs.module import is_head, is_layer_norm

pytestmark = pytest.mark.slow

# For --user-dir: the plugin, and what every process has at the end, of which fairseq saves the first's.
WATCHER = """
from pathlib import Path
import torch
from fairseq.trainer import Trainer
import fairseq_minimodel

fairseq_minimodel.register()
consolidate = Trainer.consolidate_optimizer  # called in every process, wherever one saves

def save_rank(trainer):
    consolidate(trainer)
    folder = Path(trainer.cfg.checkpoint.save_dir)
    torch.save(trainer.get_model().state_dict(), folder / f"rank{trainer.data_parallel_rank}.pt")

Trainer.consolidate_optimizer = save_rank
"""
OPTIONS = {
    "compacter": ["--task-module", "compacter", "--module-reduction", "2"],
    "tams": ["--task-module", "tams", "--structure-width", "8"],
}


@pytest.fixture(params=OPTIONS)
def kind(request):
    return request.param


@pytest.fixture
def options(kind, joint_checkpoint):
    return [
        "--task", "sentence_prediction", "--criterion", "sentence_prediction", "--num-classes", "3",
        "--init-token", "0", "--separator-token", "2", *SMALL_MODEL, "--max-positions", "32",
        "--required-batch-size-multiple", "1", "--finetune-from-model", joint_checkpoint,
        "--dropout", "0", "--attention-dropout", "0", "--batch-size", "4", "--disable-validation",
        *OPTIONS[kind],
    ]  # fmt: skip


def train_in_two_processes(data, folder, options):
    """Returns the model that each has at the end."""
    watcher, port = folder / "watcher", free_port()
    watcher.mkdir(parents=True)
    (watcher / "__init__.py").write_text(WATCHER)
    commands = [
        ["fairseq-train", data, "--user-dir", watcher, "--save-dir", folder, *OPTIMISER,
         "--max-update", "4", "--no-epoch-checkpoints", *options,
         "--distributed-world-size", "2", "--distributed-rank", str(rank), "--distributed-no-spawn",
         "--distributed-init-method", f"tcp://localhost:{port}", "--distributed-backend", "gloo",
         "--ddp-backend", "legacy_ddp"]
        for rank in range(2)
    ]  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, commands))
    logs = [(result.stdout + result.stderr)[-3000:] for result in results]
    assert all(result.returncode == 0 for result in results), "\n".join(logs)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def test_every_process_has_the_same_module(kind, options, pair_data, joint_checkpoint, tmp_path):
    first, second = train_in_two_processes(pair_data, tmp_path / "two", options)
    saved, body = state_of(tmp_path / "two/checkpoint_last.pt"), state_of(joint_checkpoint)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]) and torch.equal(tensor, saved[name]), name
        if is_module_part(name) or is_head(name) or is_layer_norm(name):
            assert name not in body or not torch.equal(tensor, body[name]), name
        elif name in body:
            assert torch.equal(tensor, body[name]), name

    # one process with every second batch: the same sums
    train(pair_data, tmp_path / "one", *options, "--update-freq", "2")
    alone = state_of(tmp_path / "one/checkpoint_last.pt")
    for name, tensor in first.items():
        torch.testing.assert_close(alone[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
