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
from functools import partial
from hashlib import blake2b
from pathlib import Path

from ..errors import InputError
from .outputs import FileForm, FolderForm, check_file, check_folder
from .refusals import cause_of, concerns_writing, explain

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
    if form is None and path.is_dir():
        raise InputError(f"{path} is a folder: name a file in it, as {path / 'NAME'}")

    def check() -> bool:
        return form is not None and check_file(path, form)

    with _replacement(path, form, check, tempfile.mkstemp, Path.replace) as temporary:
        yield temporary


def write_json(path: str | Path, value: object, form: FileForm | None = None) -> None:
    """Write a value as JSON, completely or not at all. Arguments and errors as in `atomic_file`."""
    with atomic_file(path, form) as unfinished:
        text = json.dumps(value, indent=2, ensure_ascii=False)
        unfinished.write_text(text + "\n", encoding="utf-8")


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
    for place in _left_behind(path, FORMER):  # by a writer that was killed before its next step
        if os.path.lexists(path):
            _remove(place)
        else:
            place.rename(path)
    check = partial(check_folder, path, form)
    with _replacement(path, form, check, tempfile.mkdtemp, _put_in_place) as temporary:
        yield temporary


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
            if _holds(handle, lock, fcntl.LOCK_EX):
                break
            os.close(handle)  # who held it before has removed it
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def _replacement(
    path: Path,
    form: FileForm | FolderForm | None,
    check: Callable[[], bool],
    make: Callable[..., str | tuple[int, str]],
    put_in_place: Callable[[Path, Path], object],
) -> Iterator[Path]:
    """A new, locked, hidden file or folder beside `path`, which takes its place at the end.

    Args:
        check: refuses what must not be replaced; whether a former output is.
        make: of `tempfile`; what it makes is private.
    """
    check()
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for place in _left_behind(path, PARTIAL):
            _remove(place)
        while True:
            made = make(dir=path.parent, prefix=f".{_stem(path)}.", suffix=PARTIAL)
            if isinstance(made, str):
                made = os.open(made, os.O_RDONLY | os.O_CLOEXEC), made
            handle, temporary = made[0], Path(made[1])
            if _holds(handle, temporary, fcntl.LOCK_SH):
                break
            os.close(handle)  # another process took it for stale before it was locked
        try:
            yield temporary
            _publish(temporary)
            replaced = check()
            put_in_place(temporary, path)
        finally:
            os.close(handle)
            _remove(temporary)
    if replaced:
        logger.info("%s: replaced %s", path, form.name)


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


def _publish(temporary: Path) -> None:
    """Give a file, or all files of a folder, the rights of any other, and flush them to the disk."""
    mask = os.umask(0)
    os.umask(mask)
    for file in (temporary, *temporary.rglob("*")):
        if file.is_file():
            file.chmod(0o666 & ~mask)  # safetensors makes files private, as tempfile does
            with open(file, "rb") as flushed:
                os.fsync(flushed.fileno())
    if temporary.is_dir():
        temporary.chmod(0o777 & ~mask)


def _put_in_place(temporary: Path, path: Path) -> None:
    """Rename a folder to `path`; what stands there goes, in one step where the system can do that."""
    if not os.path.lexists(path):
        temporary.rename(path)
    elif not _exchange(temporary, path):
        # In two steps. The lock says to others that the second one will come.
        former = temporary.with_suffix(FORMER)
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _holds(handle, path, fcntl.LOCK_SH)
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


# ---- unfinished files and folders, and their locks


def _stem(path: Path) -> str:
    """What the names of the unfinished files of `path` have in the middle: its own name."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= _LONGEST else blake2b(name, digest_size=16).hexdigest()


def _left_behind(path: Path, suffix: str) -> Iterator[Path]:
    """What killed writers to `path` have left: nobody holds its lock, nor can while it is used."""
    name = re.compile(rf"\.{re.escape(_stem(path))}\.[a-z0-9_]{{8}}{re.escape(suffix)}")
    names: list[str] = []
    with suppress(OSError):
        names = sorted(os.listdir(path.parent))
    for place in (path.parent / one for one in names if name.fullmatch(one)):
        with suppress(OSError):  # a link is nothing of ours
            handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still(handle, place):
                    yield place
            finally:
                os.close(handle)


def _holds(handle: int, path: Path, kind: int) -> bool:
    """Lock an open file, and say whether it is still what stands at `path`."""
    with suppress(OSError):  # a file system without locks: what is left there stays
        fcntl.flock(handle, kind)
    return _is_still(handle, path)


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
