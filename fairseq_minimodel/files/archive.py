"""The files of a benchmark: in a folder, in a .zip or .tar archive, or one file by itself."""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..errors import InputError
from ..terminal.progress import SHORT, Progress
from .formats import COMPRESSED
from .text import LONGEST_JSON_LINE, TextFile, numbered_lines, shown

Lines = Iterator[tuple[int, bytes]]

_TAR_NAMES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
_LONGEST_LINE = 1_000_000_000  # bytes; the JSON of a whole training set is one line
_LARGEST_MEMBER = 1_000_000_000  # bytes; no file of a benchmark comes near it
# zipfile raises RuntimeError for an encrypted file, NotImplementedError (a RuntimeError) for an
# unknown compression; gzip.BadGzipFile is an OSError.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    LZMAError,
    EOFError,
    OSError,
    RuntimeError,
)


@dataclass(frozen=True)
class SourceFile:
    """One file of a benchmark, wherever it lies.

    Attributes:
        path: where it is, as a message shall name it.
        name: its path without the suffix of a compression, with `/` between the folders.
        lines: opens it; a context manager of (line number from 1, line with its end).
    """

    path: str
    name: str
    lines: Callable[[], AbstractContextManager[Lines]]


@contextmanager
def open_source(path: str | Path) -> Iterator[list[SourceFile]]:
    """Yield the files at `path`, which can be read while the context lasts. Nothing is unpacked.

    A folder is searched with all that is below it; its files, and a single file, may be compressed
    (.gz, .xz, .zst). Hidden files and what macOS adds to archives are left out.

    Raises:
        InputError: there is nothing at `path`, or it is a damaged archive.
    """
    path = Path(path)
    if path.is_dir():
        below = (file for file in path.rglob("*") if _is_data(file.relative_to(path).parts))
        yield [_plain(file) for file in sorted(below) if file.is_file()]
    elif not path.is_file():
        raise InputError(f"{path} does not exist; give a folder, an archive or a file.")
    elif path.name.lower().endswith((".zip", *_TAR_NAMES)):
        with _open_archive(path) as files:
            yield sorted(files, key=lambda file: file.name)
    else:
        yield [_plain(path)]


def _is_data(parts: tuple[str, ...]) -> bool:
    return "__MACOSX" not in parts and not any(part.startswith(".") for part in parts)


def _plain(path: Path) -> SourceFile:
    stored = path.absolute()
    name = stored.with_suffix("") if stored.suffix in COMPRESSED else stored
    return SourceFile(str(path), name.as_posix(), partial(_plain_lines, path))


@contextmanager
def _plain_lines(path: Path) -> Iterator[Lines]:
    with TextFile(path) as file:
        yield shown(file, file.lines(_LONGEST_LINE, cut=False))


@contextmanager
def _open_archive(path: Path) -> Iterator[list[SourceFile]]:
    with _damage_named(path):
        if path.suffix.lower() == ".zip":
            archive = zipfile.ZipFile(path)
            sizes = {one.filename: one.file_size for one in archive.infolist() if not one.is_dir()}
        else:
            archive = tarfile.open(path)  # noqa: SIM115
            sizes = {one.name: one.size for one in archive.getmembers() if one.isfile()}

    def open_member(name: str) -> BinaryIO:
        if isinstance(archive, zipfile.ZipFile):
            return archive.open(name)
        # Read at once: two members read in turns would decompress the archive again and again.
        return BytesIO(archive.extractfile(name).read())

    files = []
    for stored_name, size in sizes.items():
        name = PurePosixPath(stored_name)  # without the "./" that some archives begin with
        if _is_data(name.parts):
            lines = partial(_member_lines, open_member, stored_name, size, f"{path}/{name}")
            files.append(SourceFile(f"{path}/{name}", str(name), lines))
    with archive:
        yield files


@contextmanager
def _member_lines(
    open_member: Callable[[str], BinaryIO], name: str, size: int, path: str
) -> Iterator[Lines]:
    if size > _LARGEST_MEMBER:
        raise InputError(
            f"{path} unpacks to {size:,} bytes, more than the {_LARGEST_MEMBER:,} that a file of a "
            "benchmark may have; unpack the archive and give the folder if you trust it."
        )
    with _damage_named(path):
        stream = open_member(name)
    longest = _LONGEST_LINE if name.lower().endswith(".json") else LONGEST_JSON_LINE
    with stream, Progress(PurePosixPath(name).name, size, after=SHORT) as progress:
        yield _numbered(numbered_lines(stream, path, longest, cut=False), path, progress)


def _numbered(lines: Lines, path: str, progress: Progress) -> Lines:
    with _damage_named(path):
        for number, line in lines:
            progress.update(len(line))
            yield number, line


@contextmanager
def _damage_named(path: str | Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        reason = str(error).partition(":\n")[0]  # tarfile lists on further lines what it has tried
        raise InputError(
            f"{path} cannot be read ({reason}); the archive is damaged: fetch it again."
        ) from None
