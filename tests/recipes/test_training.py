"""fairseq's commands with the plugin: resuming, fine-tuning, two processes, masking."""

import argparse
import json
import re
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conftest import LENGTH, OPTIMISER, SMALL_MODEL, USER_DIR, run, state_of, train

from fairseq_minimodel.bodies.architectures import ARCHITECTURES

JOINT = [
    "--task", "masked_lm", "--criterion", "joint_masked_lm", "--auxiliary-head-layers", "2",
    *SMALL_MODEL, *LENGTH,
]  # fmt: skip


def adaptation(base):
    return [
        "--task", "language_adaptation", "--criterion", "masked_lm", "--arch", "minimodel_roberta",
        "--base-checkpoint", base, "--depth", "2", *LENGTH,
    ]  # fmt: skip


def same_weights(left, right):
    left, right = state_of(left), state_of(right)
    return all(torch.equal(left[name], right[name]) for name in left if "lineage" not in name)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretraining", "adaptation"])
def test_resuming_is_exact(stage, joint_checkpoint, source_data, target_data, tmp_path):
    data = source_data if stage == "pretraining" else target_data
    options = JOINT if stage == "pretraining" else adaptation(joint_checkpoint)
    train(data, tmp_path / "whole", *options, "--max-update", "8")
    train(data, tmp_path / "halves", *options, "--max-update", "4")
    assert not same_weights(
        tmp_path / "whole/checkpoint_last.pt", tmp_path / "halves/checkpoint_last.pt"
    )
    log = train(data, tmp_path / "halves", *options, "--max-update", "8")
    assert "Loaded checkpoint" in log
    assert same_weights(
        tmp_path / "whole/checkpoint_last.pt", tmp_path / "halves/checkpoint_last.pt"
    )


@pytest.mark.parametrize("head", ["new", "frozen"])
def test_step_1b_trains_the_new_layers_alone(head, joint_checkpoint, source_data, tmp_path):
    extended = tmp_path / "extended.pt"
    result = run(
        ["fairseq-minimodel", "extend", "--body", joint_checkpoint, "--depth", "1",
         "--new-layers", "1", "--head", head, "--output", extended]
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    freeze = result.stdout.splitlines()[-1].removeprefix("train it with --freeze ")
    assert freeze == ("bottom:1" if head == "new" else "bottom:1-head")
    train(
        source_data, tmp_path / "run", "--task", "masked_lm", "--criterion", "masked_lm",
        *SMALL_MODEL, "--encoder-layers", "2", *LENGTH, "--freeze", freeze,
        "--finetune-from-model", extended,
    )  # fmt: skip
    before, after = state_of(extended), state_of(tmp_path / "run/checkpoint_last.pt")
    assert set(before) == set(after)
    for name, tensor in before.items():
        new = (
            ".layers.1." in name
            or head == "new"
            and (
                name.startswith("encoder.lm_head.")
                and not name.endswith(("head.weight", "head.bias"))
            )
        )
        # A key bias shifts all scores of a query alike, so its gradient is 0 but for rounding.
        if not name.endswith("k_proj.bias"):
            assert torch.equal(tensor, after[name]) != new, name


@pytest.mark.slow
def test_a_plain_roberta_can_be_the_base(source_data, target_data, tmp_path):
    sizes = SMALL_MODEL[2:]
    train(
        source_data, tmp_path / "plain", "--task", "masked_lm", "--criterion", "masked_lm",
        "--arch", "roberta", *sizes, *LENGTH,
    )  # fmt: skip
    plain = tmp_path / "plain/checkpoint_last.pt"
    config = torch.load(plain, weights_only=True)["cfg"]["model"]
    assert isinstance(config, argparse.Namespace)  # configured the old way
    log = train(target_data, tmp_path / "adapted", *adaptation(plain)[:-6], *LENGTH)
    assert "layers 1-3" in log
    state, base = state_of(tmp_path / "adapted/checkpoint_last.pt"), state_of(plain)
    name = "encoder.sentence_encoder.layers.2.fc1.weight"
    assert torch.equal(state[name], base[name])
    # and its weights load into our model by fairseq's own option
    train(
        source_data, tmp_path / "tuned", "--task", "masked_lm", "--criterion", "masked_lm",
        *SMALL_MODEL, *LENGTH, "--finetune-from-model", plain, "--lr", "0", "--weight-decay", "0",
    )  # fmt: skip
    assert same_weights(plain, tmp_path / "tuned/checkpoint_last.pt")


def free_port():
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def run_two_processes(data, save_dir, *options):
    """Data-parallel training on CPU, as docs/training.md has it. Returns the log of rank 0."""
    port = free_port()
    commands = [
        ["fairseq-train", data, "--user-dir", USER_DIR,
         "--save-dir", save_dir, *OPTIMISER, "--batch-size", "4", "--max-update", "4",
         "--no-epoch-checkpoints", *options,
         "--distributed-world-size", "2", "--distributed-rank", rank,
         "--distributed-init-method", f"tcp://localhost:{port}", "--distributed-no-spawn",
         "--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
        for rank in range(2)
    ]  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, commands))
    logs = [result.stdout + result.stderr for result in results]
    assert all(result.returncode == 0 for result in results), logs[0][-3000:] + logs[1][-3000:]
    return logs[0]


def losses(log):
    lines = re.findall(r"\| INFO \| train_inner \| (\{.*\})", log)
    return [
        {name: float(value) for name, value in json.loads(line).items() if "loss" in name}
        for line in lines
    ]


@pytest.mark.parametrize("stage", ["pretraining", "step 1b", "adaptation"])
@pytest.mark.slow
def test_two_processes_learn_as_one_with_twice_the_batch(
    stage, joint_checkpoint, source_data, target_data, tmp_path
):
    data = target_data if stage == "adaptation" else source_data
    options = {
        "pretraining": JOINT,
        "step 1b": [
            "--task", "masked_lm", "--criterion", "joint_masked_lm", *SMALL_MODEL, *LENGTH,
            "--freeze", "bottom:1+bias", "--finetune-from-model", joint_checkpoint,
        ],
        "adaptation": adaptation(joint_checkpoint),
    }[stage]  # fmt: skip
    options = [*options, "--dropout", "0", "--attention-dropout", "0"]
    # batches of one process are split over the two: the same tokens per update, dropout off
    one = losses(train(data, tmp_path / "one", *options, "--batch-size", "4", "--update-freq", "2"))
    two = losses(run_two_processes(data, tmp_path / "two", *options))
    assert len(one) == len(two) == 4
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        for name, value in first.items():
            assert second[name] == pytest.approx(value, abs=2e-3)
    # and a run of two processes resumes
    log = run_two_processes(data, tmp_path / "two", *options, "--max-update", "6")
    assert len(losses(log)) == 2


def test_workers_that_are_started_anew_know_the_plugin_by_a_link(source_data, tmp_path):
    link = tmp_path / "elsewhere" / "fairseq_minimodel"
    link.parent.mkdir()
    link.symlink_to(USER_DIR)
    log = train(source_data, tmp_path / "run", *JOINT, "--user-dir", link, "--num-workers", "2",
                "--max-update", "2")  # fmt: skip
    assert '"train_num_updates": "2"' in log


@pytest.mark.slow
def test_a_second_copy_of_the_plugin_is_refused(tmp_path):
    copy = tmp_path / "fairseq_minimodel"
    shutil.copytree(USER_DIR, copy, ignore=shutil.ignore_patterns("__pycache__"))
    code = f"""
import argparse, sys
sys.argv[0] = "fairseq-train"
import fairseq_minimodel
fairseq_minimodel.register()
from fairseq.utils import import_user_module
import_user_module(argparse.Namespace(user_dir={str(copy)!r}))
"""
    result = run(["python", "-c", code])
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "two copies of fairseq_minimodel" in result.stderr and str(copy) in result.stderr


@pytest.mark.slow
def test_spawned_workers_know_the_plugin(tmp_path):
    script = tmp_path / "spawn.py"
    script.write_text(
        f"""
import argparse, multiprocessing
from fairseq.utils import import_user_module

def architectures():
    import_user_module(argparse.Namespace(user_dir={str(USER_DIR)!r}))
    from fairseq.models import ARCH_MODEL_REGISTRY
    return [name for name in ARCH_MODEL_REGISTRY if name.startswith("minimodel")]

if __name__ == "__main__":
    import_user_module(argparse.Namespace(user_dir={str(USER_DIR)!r}))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(len(pool.apply(architectures)))
"""
    )
    result = run(["python", script])
    assert result.stdout.strip() == str(len(ARCHITECTURES)), result.stderr


@pytest.mark.parametrize("break_mode", ["none", "complete", "complete_doc", "eos"])
def test_every_break_mode_works(break_mode, source_data, tmp_path):
    log = train(source_data, tmp_path, *JOINT, "--sample-break-mode", break_mode,
                "--max-update", "1")  # fmt: skip
    assert '"train_num_updates": "1"' in log


@pytest.mark.slow
def test_registering_leaves_the_programs_logging_alone():
    code = (
        "import logging; import fairseq_minimodel; fairseq_minimodel.register(); "
        "print(logging.root.level, logging.root.handlers)"
    )
    result = run(["python", "-c", code])
    assert (result.stdout.strip(), result.stderr) == ("30 []", "")
