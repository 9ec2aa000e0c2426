"""What may stand where a verb writes: nothing, an empty folder or file, or what it wrote before.

The one rule of all verbs: a former output of the same kind is replaced, and a line says so; anything
else is refused with one sentence before the work begins. Nothing of the user's is moved or removed.
"""

import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePath

from ..errors import InputError
from .refusals import explain

_SHOWN = 3  # names in a message
_LARGEST_JSON = 1 << 28  # bytes; scores and plans have thousands


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
    with _explained(path):
        mode = _mode(path, "folder")
        if mode is None:
            return False
        if stat.S_ISLNK(mode):
            raise InputError(f"{path} is a link: give the folder itself as --output")
        if not stat.S_ISDIR(mode):
            raise InputError(
                f"{path} is there and is not a folder, which is to be made: give another --output"
            )
        found = sorted(os.listdir(path))
        if not found:
            return False
        _refuse_inputs(path, inputs)
        foreign = list(islice(_foreign(path, form), _SHOWN + 1)) if form else found
        whole = form and all((path / mark).is_file() for mark in form.marks)
        if foreign or not whole or not form.is_own(path):
            names = foreign or found
            shown = ", ".join(names[:_SHOWN]) + (" and more" if len(names) > _SHOWN else "")
            may = f"{form.name} that the same command wrote" if form else "an empty folder"
            raise InputError(
                f"the folder {path} holds {shown}: only {may} is replaced; give another --output"
            )
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
    with _explained(path):
        mode = _mode(path, "file")
        if mode is None:
            return False
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder: name a file in it, as {path / 'NAME'}")
        if not stat.S_ISREG(mode):
            kind = "a link" if stat.S_ISLNK(mode) else "not a regular file"
            raise InputError(f"{path} is {kind}: give the file itself, or another one")
        if not path.stat().st_size:
            return False
        _refuse_inputs(path, inputs)
        if not form.is_own(path):
            raise InputError(
                f"the file {path} is there already: only {form.name} that the same command wrote is "
                "replaced; give another name"
            )
    return True


def json_form(name: str, *keys: str) -> FileForm:
    """The form of a JSON file with an object, or a list of objects, that all have these keys."""
    return FileForm(name, lambda path: _have_keys(path, keys))


def json_lines_form(name: str, *keys: str) -> FileForm:
    """The form of JSON Lines whose first line is an object with these keys."""
    return FileForm(name, lambda path: _have_keys(path, keys, lines=True))


def _have_keys(path: Path, keys: Sequence[str], lines: bool = False) -> bool:
    with open(path, "rb") as file:
        content = file.readline(_LARGEST_JSON) if lines else file.read(_LARGEST_JSON)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return False
    rows = value if isinstance(value, list) and not lines else [value]
    return all(isinstance(row, dict) and row.keys() >= set(keys) for row in rows)


def _drawn_by_matplotlib(path: Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(200)
    return start.startswith(b"\x89PNG") and b"Matplotlib" in start


PICTURE = FileForm("a picture", _drawn_by_matplotlib)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(explain(error, path) or f"cannot use {path}: {error}") from None


def _mode(path: Path, kind: str) -> int | None:
    """What stands at a path, links not followed; None: nothing, and something can be made there."""
    if "\0" in str(path):
        raise InputError(f"{str(path)!r} cannot be the name of a {kind}: it has a NUL byte")
    if path.name in ("", ".."):
        raise InputError(f"{str(path)!r} cannot be the output: name the {kind} to write")
    folder = next(filter(os.path.lexists, path.absolute().parents))
    if not folder.exists():
        raise InputError(f"{folder} is a link that leads nowhere: give another")
    if not folder.is_dir():
        raise InputError(f"cannot write {path}: {folder} is not a folder; give another --output")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            f"cannot write {path}: you have no right to write to the folder {folder}, or its disk is "
            "read-only; give another"
        )
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return None


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
