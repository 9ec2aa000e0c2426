"""The folder of work files beside the output: one run at a time, and an interrupted one goes on."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from ..errors import InputError
from ..files.atomic import PARTIAL, atomic_file
from .run import Run

LOCK = "lock"  # in the folder of work files


@contextmanager
def locked_work(run: Run) -> Iterator[None]:
    """Make the folder of work files, or take the one that an earlier run left; hold its lock.

    Anybody knows what it is called, and all in it is removed at the end: so it must be a folder,
    not a link, that nobody else can write to and that has the lock file of an earlier run.

    Raises:
        InputError: something else stands there, or another process holds the lock.
    """
    lock, no_link = run.work / LOCK, os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        run.work.parent.mkdir(parents=True, exist_ok=True)
        try:
            run.work.mkdir(mode=0o700)
        except FileExistsError:
            if not _is_left_over(run.work, lock):
                raise InputError(
                    f"{run.work} exists and is not what an interrupted run of prepare left there; "
                    "remove it or give another --output."
                ) from None
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | no_link, 0o600)
    except OSError as error:
        raise InputError(f"Cannot write to {run.output.parent}: {error.strerror}.") from None
    with os.fdopen(descriptor, "r+") as file:
        try:  # a POSIX lock: the kernel frees it with the process, and workers do not inherit it
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"Another process is preparing {run.output}; wait for it or give another --output."
            ) from None
        yield


def _is_left_over(work: Path, lock: Path) -> bool:
    """Whether a folder is of a run of this user: nobody else's, and empty or with the lock file."""
    status = work.lstat()
    if not S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        return False
    return S_ISREG(lock.lstat().st_mode) if os.path.lexists(lock) else not any(work.iterdir())


def remove_work(work: Path) -> None:
    """Remove the folder, the lock file last: by it a run knows what one killed meanwhile has left."""
    _empty(work)
    (work / LOCK).unlink()
    work.rmdir()


def _empty(work: Path, pattern: str = "*") -> None:
    for path in work.glob(pattern):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def forget_other_work(run: Run) -> None:
    """Keep the work of an earlier, interrupted run only if its text and settings were the same."""
    stats = [(str(path), path.stat()) for path in run.sources]
    text = [[name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in stats]
    fingerprint = json.dumps([text, run.settings()])
    path = run.work / "fingerprint.json"
    if path.exists() and path.read_text() == fingerprint:
        print("going on with an interrupted run")
        _empty(run.work, f".*{PARTIAL}")
        return
    _empty(run.work)
    with atomic_file(path) as unfinished:
        unfinished.write_text(fingerprint)


def once(path: Path, stage: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of a stage: read from `path` if the stage was finished, else worked out."""
    if not path.exists():
        result = stage()
        with atomic_file(path) as unfinished:
            unfinished.write_text(json.dumps(result))
    return json.loads(path.read_text())
