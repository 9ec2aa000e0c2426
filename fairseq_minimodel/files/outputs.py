"""What may stand where a verb writes: nothing, an empty folder or file, or what it wrote before.

The one rule of all verbs: a former output of the same kind is replaced, and a line says so; anything
else is refused with one sentence before the work begins. Nothing of the user's is moved or removed.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePath

from ..errors import InputError

_SHOWN = 3  # names in a message
_LARGEST_JSON = 1 << 28  # bytes; scores and plans have thousands
# What the system refuses because of a path, a right or a disk, and not because of a bug.
_FULL = {errno.ENOSPC, errno.EDQUOT}
_OF_WRITING = {*_FULL, errno.EFBIG, errno.EROFS}
_OF_PATHS = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}
_OF_PATHS |= {errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.ESTALE}
_OF_RIGHTS = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY, errno.EIO}
_OF_THE_USER = _OF_WRITING | _OF_PATHS | _OF_RIGHTS


@dataclass(frozen=True)
class FolderForm:
    """What a folder that a verb has written looks like.

    Attributes:
        name: what it is, "a language pack".
        marks: the files that every one has.
        files: patterns of the other files that it may have, "input?/dict.txt".
        is_own: says of a folder with these files whether this package wrote it, where folders of
            other programs have the same names in them.
    """

    name: str
    marks: Sequence[str]
    files: Sequence[str] = ()
    is_own: Callable[[Path], bool] = lambda folder: True


@dataclass(frozen=True)
class FileForm:
    """What a file that a verb has written looks like: its name in words, and how it is known."""

    name: str
    is_own: Callable[[Path], bool]


def check_folder(path: str | Path, form: FolderForm | None, *inputs: str | Path | None) -> bool:
    """Refuse a folder that must not be replaced. Returns whether a former output stands there.

    Args:
        form: of a former output; None: there may be nothing but an empty folder.
        inputs: files and folders that are read, which must not lie in the folder.

    Raises:
        InputError: something else stands there, or no folder can be made there.
    """
    path = Path(path)
    status = _status(path, "folder")
    if status is None:
        return False
    if stat.S_ISLNK(status.st_mode):
        raise InputError(f"{path} is a link: give the folder itself as --output")
    if not stat.S_ISDIR(status.st_mode):
        raise InputError(
            f"{path} is there and is not a folder, which is to be made: give another --output"
        )
    try:
        found = sorted(os.listdir(path))
        if not found:
            return False
        foreign = list(islice(_foreign(path, form), _SHOWN + 1)) if form else found
        whole = form and all((path / mark).is_file() for mark in form.marks)
        if foreign or not whole or not form.is_own(path):
            names = foreign or found
            shown = ", ".join(names[:_SHOWN]) + (" and more" if len(names) > _SHOWN else "")
            may = f"{form.name} that the same command wrote" if form else "an empty folder"
            raise InputError(
                f"the folder {path} holds {shown}: only {may} is replaced; give another --output"
            )
    except OSError as error:
        raise InputError(explain(error, path)) from None
    _refuse_inputs(path, inputs)
    return True


def check_file(path: str | Path, form: FileForm, *inputs: str | Path | None) -> bool:
    """Refuse a file that must not be replaced. Returns whether a former output stands there.

    Args:
        form: of a former output.
        inputs: files that are read.

    Raises:
        InputError: something else stands there, or no file can be made there.
    """
    path = Path(path)
    status = _status(path, "file")
    if status is None:
        return False
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path} is a folder: name a file in it, as {path / 'NAME'}")
    if not stat.S_ISREG(status.st_mode):
        kind = "a link" if stat.S_ISLNK(status.st_mode) else "not a regular file"
        raise InputError(f"{path} is {kind}: give the file itself, or another one")
    if not status.st_size:
        return False
    _refuse_inputs(path, inputs)
    try:
        own = form.is_own(path)
    except OSError as error:
        raise InputError(explain(error, path)) from None
    if not own:
        raise InputError(
            f"the file {path} is there already: only {form.name} that the same command wrote is "
            "replaced; give another name"
        )
    return True


def json_form(name: str, *keys: str) -> FileForm:
    """The form of a JSON file with an object, or a list of objects, that all have these keys."""

    def is_own(path: Path) -> bool:
        if path.stat().st_size > _LARGEST_JSON:
            return False
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            return False
        rows = content if isinstance(content, list) else [content]
        return all(isinstance(row, dict) and row.keys() >= set(keys) for row in rows)

    return FileForm(name, is_own)


def json_lines_form(name: str, *keys: str) -> FileForm:
    """The form of JSON Lines whose first line is an object with these keys."""

    def is_own(path: Path) -> bool:
        with open(path, "rb") as file:
            line = file.readline(_LARGEST_JSON)
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return False
        return isinstance(row, dict) and row.keys() >= set(keys)

    return FileForm(name, is_own)


def drawn_by_matplotlib(path: Path) -> bool:
    """Whether a file is a PNG that says that Matplotlib made it, as ours do."""
    with open(path, "rb") as file:
        start = file.read(200)
    return start.startswith(b"\x89PNG") and b"Matplotlib" in start


PICTURE = FileForm("a picture", drawn_by_matplotlib)


# ---- what the system says


def explain(error: OSError, path: str | Path | None = None) -> str | None:
    """One sentence for what the system refused. None: it is not of the kind that a user can help.

    Args:
        path: what was to be written; None: what the error names.
    """
    if error.errno not in _OF_THE_USER:
        return None
    reason = (error.strerror or os.strerror(error.errno)).lower()
    path = path or error.filename
    if path is None:
        return f"nothing more can be written: {reason}; check the disk and where the output goes"
    path = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
    if error.errno in _FULL:
        return (
            f"cannot write {path}: {reason} (the disk at {_disk_of(Path(path))}); free some of it, "
            "or write elsewhere"
        )
    verb = "write" if error.errno in _OF_WRITING else "use"
    return f"cannot {verb} {path}: {reason}; check the path and your rights there, or give another"


def cause_of(error: BaseException) -> OSError | None:
    """What the system refused, whichever library reports it in its own way."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno:
            return seen
        if number := re.search(r"\(os error (\d+)\)", str(seen)):  # safetensors
            return OSError(int(number[1]), os.strerror(int(number[1])))
        seen = seen.__cause__ or seen.__context__
    if "PytorchStreamWriter failed" in str(error):  # torch.save does not keep the number
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return None


def concerns_writing(error: OSError, path: Path, unfinished: Path) -> bool:
    """Whether it is about writing `path`, and not about something that is read meanwhile.

    Args:
        unfinished: what the paths begin with that stand for `path` until it is finished.
    """
    names = [
        os.fsdecode(name)
        for name in (error.filename, error.filename2)
        if isinstance(name, (str, bytes, os.PathLike))
    ]
    ours = str(unfinished)
    about_us = any(name == str(path) or name.startswith(ours) for name in names)
    return error.errno in _OF_WRITING or about_us or not names


def _disk_of(path: Path) -> Path:
    """Where the disk is mounted that holds, or would hold, a path."""
    folder = Path(os.path.abspath(path))
    while not os.path.ismount(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


# ---- what stands there


def _status(path: Path, kind: str) -> os.stat_result | None:
    """What stands at a path, links not followed; None: nothing, and something can be made there."""
    if "\0" in str(path):
        raise InputError(f"{str(path)!r} cannot be the name of a {kind}: it has a NUL byte")
    if path.name in ("", ".."):
        raise InputError(f"{str(path)!r} cannot be the output: name the {kind} to write")
    try:
        _check_parent(path)
        return os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(explain(error, path) or f"cannot use {path}: {error}") from None


def _check_parent(path: Path) -> None:
    """Refuse a path below a file, or in a folder where nothing can be written."""
    for folder in path.absolute().parents:
        try:
            status = os.stat(folder)
        except FileNotFoundError:
            if os.path.lexists(folder):
                raise InputError(f"{folder} is a link that leads nowhere: give another") from None
            continue
        except NotADirectoryError:
            continue
        if not stat.S_ISDIR(status.st_mode):
            raise InputError(
                f"cannot write {path}: {folder} is not a folder; give another --output"
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(
                f"cannot write {path}: you have no right to write to the folder {folder}, or its "
                "disk is read-only; give another"
            )
        return


def _foreign(folder: Path, form: FolderForm) -> Iterator[str]:
    """Names in a folder that its form does not have, links among them."""
    patterns = [PurePath(pattern).parts for pattern in (*form.marks, *form.files)]
    for place, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            path = Path(place, name)
            parts = path.relative_to(folder).parts
            is_folder = name in folders
            fits = any(
                len(parts) < len(pattern) if is_folder else len(parts) == len(pattern)
                for pattern in patterns
                if all(map(fnmatchcase, parts, pattern))
            )
            if not fits or path.is_symlink():
                yield str(path.relative_to(folder))


def _refuse_inputs(path: Path, inputs: Sequence[str | Path | None]) -> None:
    place = path.resolve()
    for one in inputs:
        if one is not None and Path(one).resolve().is_relative_to(place):
            raise InputError(f"{one} is read, and {path} would replace it: give another --output")
