"""Mini-model adaptation of masked language models, as a fairseq plugin.

Importing this package registers its model, task and criterion with fairseq; that is what
`--user-dir` asks for. Only our own command postpones it: `fairseq-minimodel --help` and the workers
that prepare text shall not wait for torch, and each verb imports what it needs.
"""

import sys
from pathlib import Path

from .errors import print_input_errors_plainly

__version__ = "0.1.0"

COMMAND = "fairseq-minimodel"


def register() -> None:
    """Make the package's model, task and criterion known to fairseq. Doing it again does nothing."""
    from . import criterions, models, tasks  # noqa: F401


print_input_errors_plainly()
if Path(sys.argv[0] if sys.argv else "").name != COMMAND:
    register()
