"""What a user did wrong, in one sentence.

`InputError` is for input that the user can put right: a missing file, a wrong vocabulary, a damaged
checkpoint. It ends a command (ours, `fairseq-train`, a script) with its sentence on stderr and exit
code 2, without a traceback. A bug in this package raises anything else, and keeps its traceback.
"""

import os
import sys
from types import TracebackType

from .terminal.text import plain


class InputError(ValueError):
    """Bad input. The message names the file, the value that is wrong, and the way out.

    What it takes from files and names cannot do anything to the terminal that shows it.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(plain(str(message)))


class SetupError(InputError, ImportError):
    """The installation cannot work. The message has the commands that put it right."""


# What fairseq's trainer raises in the place of every error of loading a checkpoint.
_REPLACED_BY_TRAINER = "Cannot load model parameters from checkpoint "


def print_input_errors_plainly() -> None:
    """Make an uncaught `InputError` print one line and exit with 2; other exceptions as before.

    For programs that are a command by themselves. fairseq's commands have no place of their own for
    this, so it is done where Python reports uncaught exceptions. A SystemExit raised by the hook is
    honoured as the exit code.
    """
    if getattr(sys.excepthook, "prints_input_errors", False):
        return
    previous_hook = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        cause = error
        if type(error) is Exception and str(error).startswith(_REPLACED_BY_TRAINER):
            cause = error.__context__
        if not isinstance(cause, InputError):
            return previous_hook(kind, error, traceback)
        print(f"fairseq-minimodel: error: {cause}", file=sys.stderr, flush=True)
        raise SystemExit(2)

    hook.prints_input_errors = True
    sys.excepthook = hook
    # Otherwise hydra reports errors itself (fairseq-hydra-train): with a traceback, and exit code 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
