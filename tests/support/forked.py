"""fairseq's commands, ours and Python, in forks of one process that has imported what they import.

The same functions that the scripts of the environment call, without five seconds of imports and two of
taking modules apart for each of some hundred runs. `folder()` holds small programs with the names of
the commands; put first on PATH, they serve shell scripts too. Each hands its arguments, working folder,
environment and standard streams to the process, which forks, and ends as the fork ends. A program that
is killed has its fork killed.
"""

import atexit
import contextlib
import fcntl
import gc
import json
import logging
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import NoReturn

COMMANDS = (
    "fairseq-train",
    "fairseq-hydra-train",
    "fairseq-validate",
    "fairseq-minimodel",
    "python",
)
# Where the socket and the programs are, for all workers of a run of pytest.
VARIABLE = "FAIRSEQ_MINIMODEL_FORKED"

PROGRAM = """#!{python} -IS
import json, os, signal, socket, sys

server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps([{name!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
for number in range(3):
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
status = server.recv(8)
if not status:
    sys.exit("the process of tests/support/forked.py has ended")
code = int(status)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


def make_home() -> None:
    """Decide where the process and its programs will be, if a test asks for them."""
    os.environ[VARIABLE] = tempfile.mkdtemp(prefix="forked")
    Path(os.environ[VARIABLE], "owner").write_text(str(os.getpid()))


def folder() -> Path:
    """The folder of the programs, with the process behind them running."""
    home = Path(os.environ[VARIABLE])
    with open(home / "lock", "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if not (home / "bin").exists():
            _start(home)
    return home / "bin"


def stop() -> None:
    """End the process and remove the programs."""
    home = os.environ[VARIABLE]
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(Path(home, "pid").read_text()), signal.SIGTERM)
    shutil.rmtree(home)


def _start(home: Path) -> None:
    log = open(home / "log", "w")  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, __file__, home / "socket"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    (home / "pid").write_text(str(process.pid))
    while not (home / "socket").exists():
        if process.poll() is not None:
            raise RuntimeError((home / "log").read_text())
        time.sleep(0.05)
    programs = home / "programs"
    programs.mkdir()
    for name in COMMANDS:
        text = PROGRAM.format(python=sys.executable, address=str(home / "socket"), name=name)
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    programs.rename(home / "bin")


def _serve(address: str) -> NoReturn:
    """Fork for each request while the tests run."""
    # fairseq_cli.train first: it sets up the log before anything else does. PyTorch imports
    # torch._dynamo with the first optimiser, three quarters of what a short run takes.
    import fairseq_cli.train  # noqa: I001
    import fairseq_cli.hydra_train
    import fairseq_cli.validate  # noqa: F401
    import torch._dynamo  # noqa: F401

    import fairseq_minimodel

    fairseq_minimodel.register()
    _parse_options()
    gc.collect()
    gc.freeze()  # or each fork would look through all of it

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen(64)
    listener.settimeout(5)
    os.rename(f"{address}.new", address)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    owner = int(Path(address).with_name("owner").read_text())
    while _is_alive(owner):
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            listener.close()
            _answer(connection)
        connection.close()
    os._exit(0)


def _parse_options() -> None:
    """Let hydra's parsers learn what options look like: half of what a short run takes."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    command = (
        "data --task masked_lm --criterion joint_masked_lm --arch minimodel_roberta --cpu --seed 3 "
        "--auxiliary-head-layers 2 --optimizer adam --adam-betas (0.9,0.98) --weight-decay 0.01 "
        "--lr-scheduler fixed --log-format json --num-workers 0 --save-dir a/b-c_1.d"
    )
    parser = options.get_training_parser()
    convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, command.split()))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _answer(connection: socket.socket) -> NoReturn:
    """Run one command in a fork of its own, and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    request = b""
    while len(request) < int.from_bytes(size, "big"):
        part = connection.recv(1 << 20)
        if not part:  # the program is gone
            os._exit(0)
        request += part
    child = os.fork()
    if child == 0:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        _end_with(_command(*json.loads(request)))
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    ready, _, _ = select.select([ended, connection], [], [])
    if ended not in ready:  # the program is gone
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _command(
    name: str, arguments: list[str], cwd: str, environment: dict[str, str]
) -> Callable[[], object]:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if name in ("fairseq-minimodel", "python"):  # which have no log of fairseq's commands
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)
    if name == "python":
        return lambda: _python(*arguments)
    sys.argv = [str(Path(sys.executable).parent / name), *arguments]
    [script] = entry_points(group="console_scripts", name=name)
    return script.load()


def _python(first: str, *arguments: str) -> None:
    """`python -c CODE ...` or `python SCRIPT ...`."""
    if first == "-c":
        code, *arguments = arguments
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        sys.argv, sys.path[0] = ["-c", *arguments], ""
        exec(compile(code, "<string>", "exec"), vars(main))
    else:
        sys.argv, sys.path[0] = [first, *arguments], str(Path(first).resolve().parent)
        runpy.run_path(first, run_name="__main__")


def _end_with(function: Callable[[], object]) -> NoReturn:
    """Call it and end as Python does, but without taking apart all that is imported."""
    try:
        code = function()
    except SystemExit as end:
        code = end.code
    except BaseException:
        code = 1
        try:
            sys.excepthook(*sys.exc_info())
        except SystemExit as end:
            code = end.code
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    _serve(sys.argv[1])
