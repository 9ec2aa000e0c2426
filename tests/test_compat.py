"""What does not work is said in a sentence, and what was mended stays mended."""

import os
import subprocess
import sys

import numpy
import pytest
import torch
from conftest import USER_DIR, run

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
    assert result.returncode == 2 and "needs PyTorch 2.6 or newer, and 2.5.1" in result.stderr


def test_the_commands_are_those_of_makefile_and_documents():
    from fairseq_minimodel.compat import INSTALL_COMMANDS

    root = USER_DIR.parent
    package = INSTALL_COMMANDS.split()[-1]
    assert f"FAIRSEQ = {package}" in (root / "Makefile").read_text()
    for page in ("README.md", "docs/install.md"):
        text = (root / page).read_text()
        assert f"pip install --no-build-isolation --no-deps {package}" in text
        assert "-r requirements.txt" in text


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; sys.argv = ['fairseq-minimodel', '--help']\n"
        "from fairseq_minimodel.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'fairseq', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "evaluate" in result.stdout


def test_an_unknown_verb_or_option_exits_with_2():
    assert run(["fairseq-minimodel", "adapt"]).returncode == 2
    assert run(["fairseq-minimodel", "pack", "--checkpoints", "x"]).returncode == 2


def test_what_fairseq_needs_of_numpy_is_there():
    import fairseq_minimodel  # noqa: F401

    assert numpy.zeros(1, dtype=numpy.compat.long).dtype == numpy.int64
    assert torch.serialization.get_safe_globals()
