"""fairseq's commands and ours, in forks of one process that has imported what they import.

The same functions that the scripts of the environment call, without five seconds of imports for each of
some hundred runs. tests/recipes runs the scripts themselves, as a user does.
"""

import logging
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

COMMANDS = ("fairseq-train", "fairseq-hydra-train", "fairseq-validate", "fairseq-minimodel")

_context = multiprocessing.get_context("forkserver")
# fairseq_cli.train first: it sets up the log before anything else does. PyTorch imports torch._dynamo
# with the first optimiser, three quarters of what a short run takes.
_context.set_forkserver_preload(
    [
        "fairseq_cli.train",
        "fairseq_cli.hydra_train",
        "fairseq_cli.validate",
        "fairseq_minimodel",
        "torch._dynamo",
    ]
)


def run_forked(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run one of `COMMANDS`, or a Python script by its path, capturing what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdout", "stderr")]
        process = _context.Process(
            target=_command, args=(command, cwd or Path.cwd(), dict(os.environ), *streams)
        )
        process.start()
        process.join()
        printed = [stream.read_text(errors="replace") for stream in streams]
    return subprocess.CompletedProcess(command, process.exitcode, *printed)


def _command(
    command: list[str], cwd: Path, environment: dict[str, str], stdout: Path, stderr: Path
) -> None:
    for path, stream in ((stdout, 1), (stderr, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if command[0].endswith(".py"):
        sys.argv = command
        sys.path.insert(0, str(Path(command[0]).parent))
        runpy.run_path(command[0], run_name="__main__")
        sys.exit()
    sys.argv = [str(Path(sys.executable).parent / command[0]), *command[1:]]
    if command[0] == "fairseq-minimodel":  # which has a log of its own, from before fairseq
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)
    [script] = entry_points(group="console_scripts", name=command[0])
    try:
        code = script.load()()
    except Exception:
        try:
            sys.excepthook(*sys.exc_info())
        except SystemExit as ended:
            sys.exit(ended.code)
        sys.exit(1)
    sys.exit(code)
