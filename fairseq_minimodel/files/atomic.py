"""Writing files so that a reader sees the old content or the new, never a part of the new.

What is being written stands beside its place as `.NAME.XXXXXXXX.partial`, and its writer holds a lock
on it. What a killed writer has left has none, and the next one that writes to the same place removes
it.
"""

import ctypes
import errno
import fcntl
import json
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

from ..errors import InputError
from .outputs import (
    FileForm,
    FolderForm,
    cause_of,
    check_file,
    check_folder,
    concerns_writing,
    explain,
)

PARTIAL, FORMER = ".partial", ".former"
_LONGEST = 200  # bytes of a name that stands in those of its unfinished files
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux: fcntl.h, linux/fs.h

logger = logging.getLogger(__name__)


@contextmanager
def atomic_file(path: str | Path, form: FileForm | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; flush it to disk and rename it to `path` at the end.

    If the block raises, the temporary file is removed and `path` is left as it was.

    Args:
        form: of a former output, which alone is replaced; None: of any content.

    Raises:
        InputError: something else stands there, or it cannot be written, as on a full disk.
    """
    path = Path(path)
    if form is not None:
        check_file(path, form)
    elif path.is_dir():
        raise InputError(f"{path} is a folder: name a file in it, as {path / 'NAME'}")
    with _explained(path), _partial(path, tempfile.mkstemp) as temporary:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; outputs are not
        _flush_to_disk(temporary)
        replaced = form is not None and check_file(path, form)
        temporary.replace(path)
    if replaced:
        logger.info("%s: replaced %s", path, form.name)


def write_json(path: str | Path, value: object, form: FileForm | None = None) -> None:
    """Write a value as JSON, whole or not at all. Arguments and errors as in `atomic_file`."""
    with atomic_file(path, form) as partial:
        text = json.dumps(value, indent=2, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")


@contextmanager
def atomic_folder(path: str | Path, form: FolderForm | None = None) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; put it in the place of `path` at the end.

    If the block raises, the temporary folder is removed and `path` is left as it was.

    Args:
        form: of a former output, which alone is replaced; None: nothing is but an empty folder.

    Raises:
        InputError: something else stands there, or it cannot be written, as on a full disk.
    """
    path = Path(path)
    _restore_former(path)
    check_folder(path, form)
    with _explained(path), _partial(path, tempfile.mkdtemp) as temporary:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for file in temporary.rglob("*"):
            if file.is_file():
                file.chmod(0o666 & ~_umask())  # safetensors makes files private, as mkstemp does
                _flush_to_disk(file)
        replaced = check_folder(path, form)
        _put_in_place(temporary, path)
    if replaced:
        logger.info("%s: replaced %s", path, form.name)


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold the lock of a file that several processes read and write again; others wait for it.

    The lock is a file `.NAME.lock` beside it, which is gone when nobody holds it.
    """
    path = Path(path)
    lock = path.with_name(f".{_stem(path)}.lock")
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_still(handle, lock):
                break
            os.close(handle)  # who held it before has removed it
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say in one sentence what the system refuses about `path`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause = cause_of(error)
        if cause is None or not concerns_writing(cause, path, path.with_name(f".{_stem(path)}.")):
            raise
        if (sentence := explain(cause, path)) is None:
            raise
        raise InputError(sentence) from error


# ---- unfinished files and folders


def _stem(path: Path) -> str:
    """What the names of the unfinished files of `path` have in the middle: its own name."""
    name = os.fsencode(path.name)
    if len(name) <= _LONGEST:
        return path.name
    return blake2b(name, digest_size=16).hexdigest()


@contextmanager
def _partial(path: Path, make: Callable[..., str | tuple[int, str]]) -> Iterator[Path]:
    """A new, locked, hidden file or folder beside `path`, removed at the end if it is still there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    handle, temporary = _made(path, make)
    try:
        yield temporary
    finally:
        os.close(handle)
        _remove(temporary)


def _made(path: Path, make: Callable[..., str | tuple[int, str]]) -> tuple[int, Path]:
    """An open, locked file or folder, and its path."""
    while True:
        made = make(dir=path.parent, prefix=f".{_stem(path)}.", suffix=PARTIAL)
        if isinstance(made, tuple):
            handle, name = made
        else:
            handle, name = os.open(made, os.O_RDONLY | os.O_CLOEXEC), made
        with suppress(OSError):  # a file system without locks: what is left there stays
            fcntl.flock(handle, fcntl.LOCK_SH)
        if _is_still(handle, Path(name)):
            return handle, Path(name)
        os.close(handle)  # another process took it for stale before it was locked


def _remove_stale(path: Path) -> None:
    """Remove what killed writers to `path` have left."""
    for place in _hidden(path, PARTIAL):
        with _unlocked(place) as stale:
            if stale:
                _remove(place)


def _restore_former(path: Path) -> None:
    """Bring back a folder that was moved aside by a writer that was killed before its next step."""
    for place in _hidden(path, FORMER):
        with _unlocked(place) as stale:
            if stale and not os.path.lexists(path):
                place.rename(path)
            elif stale:
                _remove(place)


def _hidden(path: Path, suffix: str) -> list[Path]:
    """The unfinished or former things of `path`, by their names."""
    name = re.compile(rf"\.{re.escape(_stem(path))}\.[a-z0-9_]{{8}}{re.escape(suffix)}")
    try:
        return sorted(path.parent / one for one in os.listdir(path.parent) if name.fullmatch(one))
    except OSError:
        return []


@contextmanager
def _unlocked(place: Path) -> Iterator[bool]:
    """Whether nobody holds the lock of a file or folder; nobody can take it within the block."""
    try:  # a link is nothing of ours
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = _is_still(handle, place)
        except OSError:
            free = False
        yield free
    finally:
        os.close(handle)


def _is_still(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    with suppress(OSError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


# ---- the last step


def _put_in_place(temporary: Path, path: Path) -> None:
    """Rename a folder to `path`; what stands there goes, in one step where the system can do that."""
    if not os.path.lexists(path):
        temporary.rename(path)
    elif not _exchange(temporary, path):
        # In two steps. The lock says to others that the second one will come.
        former = temporary.with_suffix(FORMER)
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_SH)
            path.rename(former)
            try:
                temporary.rename(path)
            except OSError:
                former.rename(path)
                raise
            _remove(former)
        finally:
            os.close(handle)


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change places in one step. False: this system or disk cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    if (number := ctypes.get_errno()) in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(second))


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
