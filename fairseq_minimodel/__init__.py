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
    """Make the models, tasks, criterions and optimisers known to fairseq, once."""
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


print_input_errors_plainly()
if Path(sys.argv[0] if sys.argv else "").name != COMMAND:
    register()
