"""Importing changes nothing; `register()` and --user-dir register; verbs do without fairseq."""

import json
import os

import pytest
from conftest import LENGTH, SMALL_MODEL, USER_DIR, run

IMPORT = """
import logging, os, sys, warnings

def state():
    return (sys.excepthook, dict(os.environ), list(warnings.filters), list(sys.path),
            list(logging.root.handlers), logging.root.level)

before, modules = state(), set(sys.modules)
import fairseq_minimodel
new = {name.split(".")[0] for name in set(sys.modules) - modules}
assert state() == before
assert not new & {"torch", "numpy", "fairseq", "tqdm", "omegaconf", "hydra"}, new
assert fairseq_minimodel.__version__
"""


def python(code, *arguments, **options):
    result = run(["python", "-c", code, *arguments], **options)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def test_importing_the_package_changes_nothing():
    environment = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
    python(IMPORT, env=environment)


REGISTRIES = """
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.optim import OPTIMIZER_REGISTRY
from fairseq.tasks import TASK_REGISTRY

OURS = ({"joint_masked_lm", "span_qa"}, {"minimodel_roberta"}, {"fused_adam"},
        {"language_adaptation", "meta_masked_lm", "meta_sentence_prediction", "span_qa"})

def registered():
    found = CRITERION_REGISTRY, ARCH_MODEL_REGISTRY, OPTIMIZER_REGISTRY, TASK_REGISTRY
    return [ours <= set(names) for ours, names in zip(OURS, found)]
"""
# A program that trains by calling fairseq, and has imported the package before.
HOST = f"""
import sys
import fairseq_minimodel
{REGISTRIES}
assert not any(registered())
fairseq_minimodel.register()
fairseq_minimodel.register()
assert all(registered())
from fairseq_cli.train import cli_main
sys.argv = ["train.py", *sys.argv[1:]]
cli_main()
"""


@pytest.mark.slow
def test_a_program_that_has_imported_the_package_registers_it_before_it_trains(
    source_data, tmp_path
):
    options = [
        source_data, "--user-dir", USER_DIR, "--task", "masked_lm", "--criterion", "joint_masked_lm",
        *SMALL_MODEL, *LENGTH, "--save-dir", tmp_path / "run", "--cpu", "--optimizer", "fused_adam",
        "--lr", "0.01", "--batch-size", "8", "--max-update", "1", "--disable-validation",
    ]  # fmt: skip
    python(HOST, *options)
    assert (tmp_path / "run/checkpoint_last.pt").is_file()


BY_PATH = f"""
import argparse, sys
import fairseq.utils
{REGISTRIES}
for path in sys.argv[1:]:
    fairseq.utils.import_user_module(argparse.Namespace(user_dir=path))
    assert all(registered()), path
model = sys.modules["fairseq_minimodel.models.minimodel_roberta"]
assert sum(name.endswith(".minimodel_roberta") for name in sys.modules) == 1
assert ARCH_MODEL_REGISTRY["minimodel_roberta"] is model.MiniModelRoberta
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", ["path", "relative path", "link"])
def test_every_path_to_the_package_registers_the_same_modules(first, tmp_path):
    link = tmp_path / "elsewhere" / "fairseq_minimodel"
    link.parent.mkdir()
    link.symlink_to(USER_DIR)
    paths = {"path": USER_DIR, "relative path": os.path.relpath(USER_DIR, tmp_path), "link": link}
    ordered = [paths.pop(first), *paths.values()]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    python(BY_PATH, *ordered, cwd=tmp_path, env=environment)


# fairseq starts a process for each GPU, and this machine has none: only the first process is told so.
SPAWN = """
import torch
from fairseq_cli.train import cli_main

if __name__ == "__main__":
    torch.cuda.device_count = lambda: 2
    cli_main()
"""


@pytest.mark.slow
def test_processes_that_fairseq_spawns_know_the_package(joint_checkpoint, target_data, tmp_path):
    """They unpickle our settings, and import our classes, before they come to --user-dir."""
    from recipes.test_training import free_port

    script = tmp_path / "spawn.py"
    script.write_text(SPAWN)
    result = run(
        ["python", script, target_data, "--user-dir", USER_DIR, "--task", "language_adaptation",
         "--criterion", "joint_masked_lm", "--arch", "minimodel_roberta", *LENGTH, "--depth", "2",
         "--base-checkpoint", joint_checkpoint, "--save-dir", tmp_path / "run", "--cpu",
         "--optimizer", "fused_adam", "--lr", "0.01", "--batch-size", "4", "--max-update", "2",
         "--disable-validation", "--distributed-world-size", "2", "--distributed-backend", "gloo",
         "--distributed-init-method", f"tcp://localhost:{free_port()}",
         "--ddp-backend", "legacy_ddp", "--log-format", "json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    assert (tmp_path / "run/checkpoint_last.pt").is_file()
    assert "initialise mean: " in result.stdout + result.stderr


# Every import of fairseq fails; prints which verbs failed, and what they said.
WITHOUT_FAIRSEQ = """
import contextlib, io, json, sys, traceback

class Nothing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("fairseq", "fairseq_cli"):
            raise ModuleNotFoundError(f"a verb imports {name}")

sys.meta_path.insert(0, Nothing)
from fairseq_minimodel.cli import main

failed = {}
for words in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = main(words)
        except BaseException:
            code = traceback.format_exc()
    if code:
        failed[words[0]] = f"{code}: {out.getvalue()[-2000:]}"
print(json.dumps(failed))
"""


def test_verbs_do_without_fairseq(joint_checkpoint, source_data, tmp_path):
    text = tmp_path / "toy/source/mono.txt"
    verbs = [
        ["flops"],
        ["toy", "--output", tmp_path / "toy", "--sentences", "200"],
        ["prepare", "--text", text, "--output", tmp_path / "data", "--vocabulary-size", "100",
         "--character-coverage", "1.0", "--workers", "1"],
        ["truncate", "--body", joint_checkpoint, "--depth", "2", "--output", tmp_path / "two.pt"],
        ["pack", "--checkpoint", joint_checkpoint, "--language", "en", "--output", tmp_path / "en"],
        ["plug", "--body", joint_checkpoint, "--pack", tmp_path / "en",
         "--output", tmp_path / "plugged"],
        ["inspect", tmp_path / "two.pt", tmp_path / "en", source_data],
        ["report", tmp_path, "--output", tmp_path / "report.html"],
    ]  # fmt: skip
    words = json.dumps([[str(word) for word in verb] for verb in verbs])
    printed = python(WITHOUT_FAIRSEQ, words)
    assert json.loads(printed.splitlines()[-1]) == {}
