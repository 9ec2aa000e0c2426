"""Scripts of examples/ at their SMOKE=1 size."""

import os
import subprocess
import sys
from pathlib import Path

from . import forked

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_script(*command, **variables):
    """A script of examples/ with SMOKE=1 and other variables; its commands run in forks."""
    program = Path(sys.executable).parent
    folders = [variables.pop("STUBS", None), forked.folder(), program, os.environ["PATH"]]
    environment = {
        **os.environ,
        "SMOKE": "1",
        **{name: str(value) for name, value in variables.items()},
        "PATH": ":".join(str(folder) for folder in folders if folder),
    }
    return subprocess.run(
        [str(part) for part in command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
