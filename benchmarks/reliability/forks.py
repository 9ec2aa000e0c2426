"""Commands in forks of this process, which has imported what they import: limited, measured, killed.

The same functions that the scripts of the environment call, without five seconds of imports for each of
some thousand runs. Linux alone.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import logging
import os
import resource
import selectors
import signal
import sys
import time
import traceback
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

GRACE = 20.0  # seconds that worker processes have to notice that their command is gone
# Bytes of address space beyond what this process has: the machine is kept usable.
MOST_MEMORY = 4 << 30
MOST_OUTPUT = 4 << 20  # bytes of each stream that are kept
PRELOADED = ("fairseq_cli.train", "fairseq_minimodel", "torch._dynamo", "fairseq_minimodel.cli")


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit code; negative: the signal that ended it.
        seconds: from the fork to the end.
        peak: the largest resident memory of one of its processes, in bytes.
        timed_out: whether it was ended because its time was over.
        outlived: whether processes of it were left, and had to be ended.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float
    peak: int
    timed_out: bool = False
    outlived: bool = False


def adopt_orphans() -> None:
    """Make the workers of a command that was killed children of this process, to be waited for."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def preload() -> None:
    """Import what the commands import. To be called once, before anything makes threads."""
    adopt_orphans()
    # fairseq_cli.train first: it sets up the log before anything else does.
    for name in PRELOADED:
        importlib.import_module(name)
    import fairseq_minimodel
    from fairseq_minimodel.cli.verbs import VERBS

    fairseq_minimodel.register()
    for verb in VERBS:
        importlib.import_module(f"fairseq_minimodel.{verb.run.split(':')[0]}")
    for name in ("safetensors.torch", "sentencepiece", "tokenizers", "zstandard", "jinja2"):
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed: commands that use it will be refused", flush=True)
    gc.collect()
    gc.freeze()  # or the first collection in each fork copies all pages


def run(
    command: Sequence[str],
    cwd: Path,
    *,
    seconds: float = 60.0,
    kill_after: float | None = None,
    kill_group: bool = True,
    file_size: int | None = None,
    before: Callable[[], None] | None = None,
) -> Ended:
    """Run a command of the environment in a fork, in a session of its own.

    Args:
        seconds: after which it is ended.
        kill_after: so many seconds after the start it is killed (SIGKILL).
        kill_group: whether its workers are killed with it; otherwise they must end by themselves.
        file_size: the size in bytes that no file may pass, as where a disk is full.
        before: called in the fork first.
    """
    sys.stdout.flush()
    outputs, errors = os.pipe(), os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(command, cwd, outputs[1], errors[1], file_size, before)
    os.close(outputs[1])
    os.close(errors[1])
    kept: dict[int, bytearray] = {outputs[0]: bytearray(), errors[0]: bytearray()}
    timed_out = outlived = False
    deadline = start + (seconds if kill_after is None else min(seconds, kill_after))
    killed = False
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                if killed:  # and its workers are still there
                    outlived = True
                    _kill_group(child)
                    deadline += GRACE
                    continue
                killed, timed_out = True, kill_after is None or seconds < kill_after
                if timed_out or kill_group:
                    _kill_group(child)
                else:
                    os.kill(
                        child, signal.SIGKILL
                    )  # not waited for yet, so it is still this process
                deadline = time.monotonic() + GRACE
                continue
            for key, _ in selector.select(left):
                block = os.read(key.fd, 1 << 16)
                if not block:
                    selector.unregister(key.fd)
                elif len(kept[key.fd]) < MOST_OUTPUT:
                    kept[key.fd] += block
    for stream in kept:
        os.close(stream)
    _, status, usage = os.wait4(child, 0)
    elapsed = time.monotonic() - start
    outlived |= _reap_group(child)
    printed = [bytes(kept[stream]).decode(errors="replace") for stream in (outputs[0], errors[0])]
    code = os.waitstatus_to_exitcode(status)
    return Ended(code, *printed, elapsed, usage.ru_maxrss * 1024, timed_out, outlived)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _reap_group(group: int) -> bool:
    """Wait for what is left of a command's processes; returns whether they had to be ended."""
    patience, outlived = time.monotonic() + GRACE, False
    while True:
        try:
            if os.waitpid(-group, os.WNOHANG)[0] == 0:
                if time.monotonic() > patience:
                    outlived = True
                    _kill_group(group)
                time.sleep(0.01)
        except ChildProcessError:
            return outlived


def _become(
    command: Sequence[str],
    cwd: Path,
    stdout: int,
    stderr: int,
    file_size: int | None,
    before: Callable[[], None] | None,
) -> typing.NoReturn:
    """Be that command; never returns."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.closerange(3, max(stdout, stderr, 64) + 1)
        os.chdir(cwd)
        address_space = (
            int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        )
        resource.setrlimit(resource.RLIMIT_AS, (address_space + MOST_MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if file_size is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        sys.argv = [str(Path(sys.executable).parent / command[0]), *command[1:]]
        if command[0] == "fairseq-minimodel":  # which has a log of its own, from before fairseq
            logging.root.handlers.clear()
            logging.root.setLevel(logging.WARNING)
        if before is not None:
            before()
        [script] = entry_points(group="console_scripts", name=command[0])
        try:
            sys.exit(script.load()())
        except SystemExit as ended:
            code = _exit_code(ended)
        except BaseException:
            try:
                sys.excepthook(*sys.exc_info())
            except SystemExit as ended:
                code = _exit_code(ended)
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _exit_code(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    print(ended.code, file=sys.stderr)
    return 1
