"""Only an uncaught InputError is a user's error, and only where the program is a command."""

import os
import sys

import pytest
from conftest import run

INPUT_ERROR = "from fairseq_minimodel.errors import InputError\n"
HOST = f"import fairseq_minimodel\n{INPUT_ERROR}"
COMMAND = f"import sys; sys.argv[0] = '/bin/fairseq-train'\n{HOST}fairseq_minimodel.register()\n"
# The last line that each ends with; none of them is about what the user gave.
BUGS = {
    "while an InputError is handled": (
        "try: raise InputError('no pack')\nexcept InputError: undefined_name",
        "NameError: name 'undefined_name' is not defined",
    ),
    "in the place of an InputError": (
        "try: raise InputError('no pack')\nexcept InputError: raise RuntimeError('other') from None",
        "RuntimeError: other",
    ),
    "with an InputError as its cause": (
        "raise RuntimeError('other') from InputError('no pack')",
        "RuntimeError: other",
    ),
    "one that has the trainer's type": (
        "try: raise InputError('no pack')\nexcept InputError: raise Exception('other')",
        "Exception: other",
    ),
    "one that has the trainer's words and no InputError": (
        "raise Exception('Cannot load model parameters from checkpoint x.pt; please')",
        "Exception: Cannot load model parameters from checkpoint x.pt; please",
    ),
}
REPLACED = """
try:
    raise InputError('no pack')
except Exception:
    raise Exception('Cannot load model parameters from checkpoint x.pt; please ensure that ...')
"""


@pytest.mark.parametrize("program", [HOST, COMMAND], ids=["host", "command"])
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_keeps_its_traceback(bug, program):
    code, last_line = BUGS[bug]
    result = run(["python", "-c", program + code], fresh=False)
    assert result.returncode == 1
    assert "Traceback" in result.stderr and result.stderr.splitlines()[-1] == last_line


@pytest.mark.slow
@pytest.mark.parametrize(
    "code", ["raise InputError('no pack')", REPLACED], ids=["raised", "replaced by the trainer"]
)
def test_an_input_error_ends_a_command_with_its_sentence(code):
    result = run(["python", "-c", COMMAND + code])
    assert result.returncode == 2
    assert result.stderr == "fairseq-minimodel: error: no pack\n"


def test_an_input_error_is_an_ordinary_exception_elsewhere():
    result = run(["python", "-c", HOST + "raise InputError('no pack')"])
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "fairseq_minimodel.errors.InputError: no pack"


def test_importing_leaves_the_host_as_it_is():
    code = (
        "import os, sys; before = dict(os.environ); import fairseq_minimodel\n"
        "assert sys.excepthook is sys.__excepthook__ and dict(os.environ) == before"
    )
    environment = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
    result = run([sys.executable, "-c", code], env=environment)
    assert result.returncode == 0, result.stderr
