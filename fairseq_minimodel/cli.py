"""The command `fairseq-minimodel VERB`: argument parsing only.

Each verb names the function that does the work as "module:function"; the module is imported when
the verb runs, so that `--help` does not wait for torch. The function gets the options as keywords.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from .errors import InputError


def user_dir() -> None:
    """Print the folder to give to fairseq as --user-dir."""
    from pathlib import Path

    print(Path(__file__).resolve().parent)


def _add_user_dir(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser("user-dir", help="print the folder to give to fairseq's --user-dir")
    parser.set_defaults(run="fairseq_minimodel.cli:user_dir")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command, one sub-parser a verb."""
    parser = argparse.ArgumentParser(
        prog="fairseq-minimodel",
        description="Extend a RoBERTa-style masked language model to new languages.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add_verb in (_add_user_dir,):
        add_verb(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0, or 2 for input that the user can mend."""
    options = vars(build_parser().parse_args(arguments))
    options.pop("verb")
    module, function = options.pop("run").split(":")
    try:
        getattr(importlib.import_module(module), function)(**options)
    except InputError as error:
        print(f"fairseq-minimodel: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
