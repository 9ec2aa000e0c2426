"""What does not work is said in a sentence, and what was mended stays mended."""

import os
import re
import subprocess
import sys

import numpy
import pytest
import torch
from conftest import LENGTH, SMALL_MODEL, USER_DIR, run, train

BROKEN = {
    "missing": "raise ModuleNotFoundError(\"No module named 'fairseq'\")",
    "of Python 3.10": 'raise ValueError("mutable default CommonConfig for field common")',
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("way", ["import", "command"])
def test_a_fairseq_that_cannot_work_is_one_sentence_with_the_commands(kind, way, tmp_path):
    (tmp_path / "fairseq").mkdir()
    (tmp_path / "fairseq" / "__init__.py").write_text(BROKEN[kind])
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{USER_DIR.parent}"}
    if way == "import":
        result = run(["python", "-c", "import fairseq_minimodel"], env=environment)
        assert result.returncode == 1
        sentence = result.stderr.splitlines()[-1]
        assert sentence.startswith("fairseq_minimodel.errors.SetupError: ")
    else:
        arguments = ["--checkpoint", "x.pt", "--language", "de", "--output", "packs"]
        result = run(["fairseq-minimodel", "pack", *arguments], env=environment)
        assert result.returncode == 2
        (sentence,) = result.stderr.strip().splitlines()
    assert "needs a working fairseq" in sentence
    assert "pip install --no-build-isolation --no-deps fairseq-fixed==0.12.3.1" in sentence


def test_an_old_pytorch_is_refused():
    code = "import torch; torch.__version__ = '2.5.1+cpu'; import fairseq_minimodel"
    result = run(["python", "-c", code])
    assert result.returncode == 1
    assert "SetupError: fairseq-minimodel needs PyTorch 2.6 or newer, and 2.5.1" in result.stderr


def test_the_commands_are_those_of_makefile_and_documents():
    from fairseq_minimodel.compat import INSTALL_COMMANDS

    root = USER_DIR.parent
    package = INSTALL_COMMANDS.split()[-1]
    assert f"FAIRSEQ = {package}" in (root / "Makefile").read_text()
    for page in ("README.md", "docs/install.md"):
        text = (root / page).read_text()
        assert f"pip install --no-build-isolation --no-deps {package}" in text
        assert "-r requirements.txt" in text


def test_what_fairseq_needs_of_numpy_is_there():
    import fairseq_minimodel  # noqa: F401

    assert numpy.zeros(1, dtype=numpy.compat.long).dtype == numpy.int64
    assert torch.serialization.get_safe_globals()


READ_AHEAD_AND_END = """
import sys
import torch
import fairseq_minimodel
from fairseq.data import iterators

class Batches:
    def __len__(self):
        return 10**6
    def __iter__(self):
        for number in range(10**6):
            values = torch.rand(64, 64)
            for _ in range(20):
                values = values.sort().values.cumsum(0).index_select(0, torch.randperm(64))
            yield number

batches = iterators.BufferedIterator(10, Batches())
assert [next(batches) for _ in range(3)] == [0, 1, 2]
"""


def test_a_run_that_ends_while_batches_are_read_ahead_ends_well():
    """Without the workaround the process is aborted nearly every time (exit status -6)."""
    for _ in range(2):
        result = subprocess.run(
            [sys.executable, "-c", READ_AHEAD_AND_END], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr


def test_bfloat16_on_the_command_line(source_data, tmp_path):
    log = train(
        source_data, tmp_path, "--task", "masked_lm", "--criterion", "joint_masked_lm",
        *SMALL_MODEL, *LENGTH, "--bf16",
    )  # fmt: skip
    losses = [float(loss) for loss in re.findall(r'"train_loss": "([\d.]+)"', log)]
    assert losses and 3 < losses[-1] < 8  # 64 symbols are 6 bits
    checkpoint = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)
    assert checkpoint["cfg"]["common"]["bf16"]
    assert checkpoint["model"]["encoder.sentence_encoder.layers.0.fc1.weight"].dtype in (
        torch.bfloat16,
        torch.float32,
    )
