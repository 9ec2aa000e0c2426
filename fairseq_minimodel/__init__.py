"""Mini-model adaptation of masked language models, as a fairseq plugin.

Importing this package registers its models, tasks, criterions and optimisers with fairseq; that is what
`--user-dir` asks for. Only our own command postpones it: `fairseq-minimodel --help` and the workers
that prepare text shall not wait for torch, and each verb imports what it needs.

`fairseq_minimodel.load` is the Python interface (`serving/model.py`).
"""

import sys
from pathlib import Path

from .errors import print_input_errors_plainly

__version__ = "0.1.0"

COMMAND = "fairseq-minimodel"


def register() -> None:
    """Make the models, tasks, criterions and optimisers known to fairseq, once.

    Within a command of fairseq, bad input then ends it with one sentence, too. Any other program
    handles its exceptions itself.
    """
    if _is_command_of_fairseq(_program()):  # first: what is imported next may find bad input
        print_input_errors_plainly()
    from . import compat  # noqa: F401  isort: skip  (before anything of fairseq)
    from . import (  # noqa: F401
        command_line,
        criterions,
        models,
        optim,
        tasks,
        training,
        training_log,
    )


def __getattr__(name: str) -> object:
    if name == "load":  # imported late, for the same reason
        from .serving.model import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _program() -> Path:
    return Path(sys.argv[0] if sys.argv else "")


def _is_own_command(program: Path) -> bool:
    """Whether this is `fairseq-minimodel`, or `python -m fairseq_minimodel`.

    Python imports this file before it replaces "-m" by the path of `__main__.py`.
    """
    as_module = program == Path("-m") and __name__ in sys.orig_argv
    return program.name == COMMAND or as_module or program == Path(__file__).parent / "__main__.py"


def _is_command_of_fairseq(program: Path) -> bool:
    """Whether this is `fairseq-train` or the like, or `python -m fairseq_cli.train`."""
    return program.name.startswith("fairseq-") or program.parent.name == "fairseq_cli"


if not _is_own_command(_program()):
    register()
