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
from .text import COMPRESSED, TextFile, shown

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
        is_zip = path.suffix.lower() == ".zip"
        with (_open_zip if is_zip else _open_tar)(path) as files:
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
def _open_zip(path: Path) -> Iterator[list[SourceFile]]:
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    with archive:
        sizes = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}
        yield _members(path, sizes, archive.open)


@contextmanager
def _open_tar(path: Path) -> Iterator[list[SourceFile]]:
    try:
        archive = tarfile.open(path)  # noqa: SIM115
        sizes = {member.name: member.size for member in archive.getmembers() if member.isfile()}
    except _DAMAGE as error:
        raise _damaged(path, error) from None

    def open_member(name: str) -> BinaryIO:
        # Read at once: two members read in turns would decompress the archive again and again.
        return BytesIO(archive.extractfile(name).read())

    with archive:
        yield _members(path, sizes, open_member)


def _members(
    archive: Path, sizes: dict[str, int], open_member: Callable[[str], BinaryIO]
) -> list[SourceFile]:
    files = []
    for stored_name, size in sizes.items():
        name = PurePosixPath(stored_name)  # without the "./" that some archives begin with
        if _is_data(name.parts):
            path = f"{archive}/{name}"
            lines = partial(_member_lines, open_member, stored_name, size, path)
            files.append(SourceFile(path, str(name), lines))
    return files


@contextmanager
def _member_lines(
    open_member: Callable[[str], BinaryIO], name: str, size: int, path: str
) -> Iterator[Lines]:
    if size > _LARGEST_MEMBER:
        raise InputError(
            f"{path} unpacks to {size:,} bytes, more than the {_LARGEST_MEMBER:,} that a file of a "
            "benchmark may have; unpack the archive and give the folder if you trust it."
        )
    try:
        stream = open_member(name)
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    with stream, Progress(PurePosixPath(name).name, size, after=SHORT) as progress:
        yield _numbered(stream, path, progress)


def _numbered(stream: BinaryIO, path: str, progress: Progress) -> Lines:
    try:
        for number, line in enumerate(stream, 1):
            progress.update(len(line))
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def _damaged(path: str | Path, error: Exception) -> InputError:
    reason = str(error).partition(":\n")[0]  # tarfile lists on further lines what it has tried
    return InputError(f"{path} cannot be read ({reason}); the archive is damaged: fetch it again.")
