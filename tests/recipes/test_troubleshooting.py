"""The messages that docs/troubleshooting.md quotes are messages that the code prints.

Some are provoked here, and many more by the tests of the rooms that they come from.
"""

import ast
import importlib.util
import re
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from fairseq_minimodel.cli import main
from fairseq_minimodel.plugin.compat.patches import INSTALL_COMMANDS

PAGE = Path(__file__).resolve().parents[2] / "docs/troubleshooting.md"
QUOTED = re.findall(r"^> (`+) ?(.+?) ?\1$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
MESSAGES = [re.sub(r"^(fairseq-\w+: error|\w*(Error|Exception)): ", "", text) for _, text in QUOTED]
FEWEST_LETTERS = 25  # that the fixed parts of a message have, or it would match anything


def fixed_and_variable(node):
    """The parts of a text in the code, None for those that are put in; [None] for other nodes."""
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
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.JoinedStr | ast.BinOp | ast.Constant)
            if not is_text or id(node) in docstrings:
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


OLD = Path(__file__).resolve().parents[1] / "data" / "0.1.0"
PROVOKED = {
    "not UTF-8": "prepare --text german.txt --output data",
    "The text holds 1 documents": "prepare --text short.txt --output data",
    "Git LFS pointer": "pack --checkpoint lfs.pt --language de --output pack",
    "is refused: it holds objects": "truncate --body old.pt --depth 1 --output x",
    "no MLM head after layer 3, only": "truncate --body {joint} --depth 1 --output x",
    "wide and the body": "plug --body {joint} --pack {old}/packs/de --output x",
    "not fine-tuned for": "evaluate --body {old}/body.pt --test {old}/packs/de {old}/de.tsv",
}


def words(message):
    """Those that are not names, numbers or values."""
    return re.findall(r"[A-Za-z-]+", re.sub(r"""\S*[/."'\d]\S*""", " ", message))


@pytest.mark.parametrize("part", PROVOKED)
def test_a_message_is_printed_as_it_is_quoted(
    part, joint_checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("german.txt").write_bytes("eins\nzwei\ndrei Öl\n".encode("latin-1"))
    Path("short.txt").write_text("One document of one line.\n")
    Path("lfs.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    torch.save({"model": {}, "cfg": Fraction(1, 2)}, "old.pt")
    assert main(PROVOKED[part].format(joint=joint_checkpoint, old=OLD).split()) == 2
    (quoted,) = [message for message in MESSAGES if part in message]
    printed = capsys.readouterr().err.splitlines()[-1]
    assert words(printed.removeprefix("fairseq-minimodel: error: ")) == words(quoted)


def test_the_commands_of_the_message_are_those_of_today():
    assert any(message.endswith(INSTALL_COMMANDS) for message in MESSAGES)
