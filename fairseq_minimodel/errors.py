"""What a user did wrong, in one sentence.

`InputError` is for input that the user can mend: a missing file, a wrong vocabulary, a damaged
checkpoint. It ends a command (ours, `fairseq-train`, a script) with its sentence on stderr and exit
code 2, without a traceback. A bug in this package raises anything else, and keeps its traceback.
"""

import os
import sys
from types import TracebackType

from .terminal import plain


class InputError(ValueError):
    """Bad input. The message names the file, the value that is wrong, and the way out.

    What it takes from files and names cannot do anything to the terminal that shows it.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(plain(str(message)))


class SetupError(InputError, ImportError):
    """The installation cannot work. The message has the commands that mend it."""


def print_input_errors_plainly() -> None:
    """Make an uncaught `InputError` print one line and exit with 2; other exceptions as before.

    fairseq's commands have no place of their own for this, so it is done where Python reports
    uncaught exceptions. A SystemExit raised by the hook is honoured as the exit code.
    """
    previous_hook = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        cause = error
        while cause is not None and not isinstance(cause, InputError):
            # fairseq's trainer replaces every error of loading a checkpoint by one of its own.
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            return previous_hook(kind, error, traceback)
        print(f"fairseq-minimodel: error: {cause}", file=sys.stderr, flush=True)
        raise SystemExit(2)

    sys.excepthook = hook
    # Otherwise hydra reports errors itself (fairseq-hydra-train): with a traceback, and exit code 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
