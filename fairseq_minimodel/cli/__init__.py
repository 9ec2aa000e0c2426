"""The command `fairseq-minimodel VERB`: argument parsing only.

The module of a verb (`verbs.py`) is imported when it runs, that of its options when it is parsed, so
that `--help` does not wait for torch. The function gets the options as keywords.
"""

import argparse
import importlib
import logging
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from ..files.refusals import explain
from ..terminal.text import PlainStream
from .adapter import add_options
from .verbs import VERBS, Verb

PACKAGE, PROGRAM = "fairseq_minimodel", "fairseq-minimodel"


def user_dir() -> None:
    """Print the folder to give to fairseq as --user-dir."""
    print(Path(__file__).resolve().parents[1])


def examples_dir() -> None:
    """Print the folder of the recipes and hydra configs that the documentation uses."""
    package = Path(__file__).resolve().parents[1]
    # setup.py puts them into the package; in a clone they are beside it.
    places = (package / "examples", package.parent / "examples")
    print(next((place for place in places if place.is_dir()), places[0]))


def completion(shell: str) -> None:
    """Print what makes a shell complete verbs and options."""
    import shtab  # imported late: no other verb needs it

    print(shtab.complete(build_parser(), shell))


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """The parser of the whole command, one sub-parser per verb.

    Args:
        verb: the only one whose options are added; None: all are.
    """
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Extend a RoBERTa-style masked language model to new languages.",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for one in VERBS:
        own = verbs.add_parser(
            one.name,
            help=one.help,
            description=one.description or f"{one.help[0].upper()}{one.help[1:]}.",
            epilog=f"example:\n{_command(one)}",
            formatter_class=_Help,
        )
        if one.options and verb in (None, one.name):
            add_options(own, _load(one.options))
    return parser


class _Help(argparse.HelpFormatter):
    """Keeps the lines of a text that has several: the example."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def _command(verb: Verb) -> str:
    """The example of a verb, over several lines where it is long."""
    return textwrap.fill(
        f"{PROGRAM} {verb.name} {verb.example}",
        width=78,
        initial_indent="  ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\n", " \\\n")


def _load(name: str) -> Any:
    """What a "module:name" of this package is."""
    module, name = name.split(":")
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0; 2: bad input; 130: Ctrl-C."""
    streams = PlainStream(sys.stdout), PlainStream(sys.stderr)
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        return _run(sys.argv[1:] if arguments is None else arguments)


def _run(arguments: Sequence[str]) -> int:
    _refuse_unusable(arguments)
    name = next((one for one in arguments if not one.startswith("-")), "")
    given = vars(build_parser(name).parse_args(arguments))
    verb = {one.name: one for one in VERBS}[given.pop("verb")]
    # Before fairseq is imported: it would turn on the log of every package, at every level.
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger(PACKAGE).setLevel(logging.INFO)
    try:
        options = vars(_load(verb.options)(**given)) if verb.options else {}
        _load(verb.run)(**options)
        sys.stdout.flush()
    except InputError as error:
        return _refuse(str(error))
    except BrokenPipeError:  # who reads standard output has had enough, as `head`
        _discard_output()
    except OSError as error:
        if not (sentence := explain(error)):
            raise
        if error.filename is None:
            _discard_output()  # it may be what is full
        return _refuse(sentence)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return 130
    return 0


def _refuse(sentence: str) -> int:
    print(f"{PROGRAM}: error: {sentence}", file=sys.stderr)
    return 2


def _refuse_unusable(arguments: Sequence[str]) -> None:
    """Refuse what no path can be. Nothing at all would be this folder, whatever the option."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option = before if before.startswith("--") else "an argument"
        if not argument or (argument.startswith("--") and argument.endswith("=")):
            option = argument.rstrip("=") or option
            build_parser("").error(f"{option} is empty: is a variable of your shell not set?")
        if "\0" in argument:
            build_parser("").error(f"{argument!r} has a NUL byte, which no path can have")
        if re.search("[\ud800-\udfff]", argument):
            build_parser("").error(f"{argument!a} is not UTF-8: rename the file or folder")


def _discard_output() -> None:
    """Python writes what is left of standard output at its end: where nobody sees it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
