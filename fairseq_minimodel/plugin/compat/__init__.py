"""What fairseq, PyTorch and NumPy need before fairseq is used: `patches.py`, imported first."""

import sys
from pathlib import Path

from ...errors import print_input_errors_plainly


def end_commands_of_fairseq_plainly() -> None:
    """In `fairseq-train` and the like, or `python -m fairseq_cli.train`: bad input is one sentence."""
    program = Path(sys.argv[0] if sys.argv else "")
    if program.name.startswith("fairseq-") or program.parent.name == "fairseq_cli":
        print_input_errors_plainly()


end_commands_of_fairseq_plainly()  # what is imported next may find bad input
