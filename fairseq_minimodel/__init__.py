"""Mini-model adaptation of masked language models, as a fairseq plugin.

Importing this package registers its models, tasks, criterions and optimisers with fairseq; that is what
`--user-dir` asks for. Only our own command postpones it: `fairseq-minimodel --help` and the workers
that prepare text shall not wait for torch, and each verb imports what it needs.
"""

import sys
from pathlib import Path

from .errors import print_input_errors_plainly

__version__ = "0.1.0"

COMMAND = "fairseq-minimodel"


def register() -> None:
    """Make the models, tasks, criterions and optimisers known to fairseq, once."""
    from . import criterions, models, optim, tasks  # noqa: F401


print_input_errors_plainly()
if Path(sys.argv[0] if sys.argv else "").name != COMMAND:
    register()
