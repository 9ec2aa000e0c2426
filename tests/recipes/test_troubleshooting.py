"""The messages that docs/troubleshooting.md quotes are messages that the code prints."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from fairseq_minimodel.plugin.compat.patches import INSTALL_COMMANDS

PAGE = Path(__file__).resolve().parents[2] / "docs/troubleshooting.md"
QUOTED = re.findall(r"^> (`+) ?(.+?) ?\1$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
MESSAGES = [re.sub(r"^(fairseq-\w+: error|\w*(Error|Exception)): ", "", text) for _, text in QUOTED]
FEWEST_LETTERS = 25  # that the fixed parts of a message have, or it would match anything


def fixed_and_variable(node):
    """The parts of a text in the code, None for those that are put in; [None] for what is no text."""
    if isinstance(node, ast.JoinedStr):
        return [part for value in node.values for part in fixed_and_variable(value)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return fixed_and_variable(node.left) + fixed_and_variable(node.right)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        parts = re.split(r"\{\w*\}|%\(\w+\)[rs]|%[rsd]", node.value)
        return [parts[0], *(each for part in parts[1:] for each in (None, part))]
    return [None]


def patterns(package, files):
    """A pattern for each text in the source of a package."""
    root = Path(importlib.util.find_spec(package).origin).parent
    for path in root.glob(files):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.JoinedStr | ast.BinOp | ast.Constant):
                continue
            parts = fixed_and_variable(node)
            if sum(map(len, filter(None, parts))) >= FEWEST_LETTERS:
                yield "".join(".*" if part is None else re.escape(part) for part in parts)


@pytest.fixture(scope="module")
def known():
    # argparse says "invalid choice" itself
    found = ["argument .*: invalid choice: .*"]
    found += patterns("fairseq_minimodel", "**/*.py")
    for files in ("trainer.py", "data/iterators.py", "optim/dynamic_loss_scaler.py"):
        found += patterns("fairseq", files)
    return re.compile("|".join(f"(?:{pattern})" for pattern in set(found)), re.DOTALL)


def test_the_page_quotes_many_messages():
    assert len(MESSAGES) >= 25


@pytest.mark.parametrize("message", MESSAGES)
def test_a_quoted_message_is_in_the_code(message, known):
    assert known.fullmatch(message)


def test_the_commands_of_the_message_are_those_of_today():
    assert any(message.endswith(INSTALL_COMMANDS) for message in MESSAGES)
