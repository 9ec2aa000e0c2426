"""The command `fairseq-minimodel VERB`: argument parsing only.

Each verb names the function that does the work as "module:function"; the module is imported when
the verb runs, so that `--help` does not wait for torch. The function gets the options as keywords.
"""

import argparse
import importlib
import logging
import os
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from .. import __version__
from ..errors import InputError
from ..files.refusals import explain
from ..terminal.text import PlainStream
from . import (
    checkpoints,
    corpus,
    costs,
    exchange,
    reports,
    scores,
    serving,
)
from .verb import PROGRAM, Verbs, add_verb


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


def _add_own_verbs(verbs: Verbs) -> None:
    add_verb(
        verbs,
        "user-dir",
        run="fairseq_minimodel.cli:user_dir",
        help="print the folder to give to fairseq's --user-dir",
        example="",
    )
    add_verb(
        verbs,
        "examples-dir",
        run="fairseq_minimodel.cli:examples_dir",
        help="print the folder of the recipes and hydra configs that the documentation uses",
        example="",
    )
    parser = add_verb(
        verbs,
        "completion",
        run="fairseq_minimodel.cli:completion",
        help="print what makes a shell complete verbs and options",
        example="bash > ~/.local/share/bash-completion/completions/fairseq-minimodel",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command, one sub-parser a verb."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Extend a RoBERTa-style masked language model to new languages.",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for group in (corpus, checkpoints, scores, serving, costs, reports, exchange):
        group.add_verbs(verbs)
    _add_own_verbs(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0; 2 for input that the user can mend; 130 for Ctrl-C."""
    streams = PlainStream(sys.stdout), PlainStream(sys.stderr)
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        return _run(sys.argv[1:] if arguments is None else arguments)


def _run(arguments: Sequence[str]) -> int:
    _refuse_unusable(arguments)
    options = vars(build_parser().parse_args(arguments))
    options.pop("verb")
    # Before fairseq is imported: it would turn on the log of every package, at every level.
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("fairseq_minimodel").setLevel(logging.INFO)
    module, function = options.pop("run").split(":")
    try:
        getattr(importlib.import_module(module), function)(**options)
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
            build_parser().error(f"{option} is empty: is a variable of your shell not set?")
        if "\0" in argument:
            build_parser().error(f"{argument!r} has a NUL byte, which no path can have")
        if re.search("[\ud800-\udfff]", argument):
            build_parser().error(f"{argument!a} is not UTF-8: rename the file or folder")


def _discard_output() -> None:
    """Python writes what is left of standard output at its end: where nobody sees it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
