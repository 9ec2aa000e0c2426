"""Reading text files of any size, compressed or not, in memory that does not depend on the size."""

import gzip
import hashlib
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from ..errors import InputError
from .progress import SHORT, Progress

BLOCK = 1 << 20  # bytes read at a time
LONGEST_LINE = 1_000_000  # bytes; a longer line of plain text is cut
LONGEST_JSON_LINE = 32_000_000  # bytes; JSON cannot be cut, so a longer line is refused
LARGEST_DOCUMENT = 1_000_000  # bytes; a larger document is cut at a line boundary
COMPRESSED = (".gz", ".xz", ".zst")

_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError)


class TextFile:
    """A text file open for reading, decompressed by its suffix (.gz, .xz, .zst). A context manager.

    `position` counts the bytes read of the file as it is stored, for progress. `digest` is the
    BLAKE2b hash of the file as it is stored, complete once `lines` has come to its end.

    Raises:
        InputError: the file is missing, is a folder or cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._stored = _HashingReader(self.path)
        except OSError as error:
            raise InputError(f"Cannot read {path}: {error.strerror}.") from None
        stored = io.BufferedReader(self._stored, BLOCK)
        if self.path.suffix == ".gz":
            stream = io.BufferedReader(gzip.GzipFile(fileobj=stored), BLOCK)
        elif self.path.suffix == ".xz":
            stream = io.BufferedReader(lzma.LZMAFile(stored), BLOCK)  # noqa: SIM115
        elif self.path.suffix == ".zst":
            stream = io.BufferedReader(_ZstdReader(stored), BLOCK)
        else:
            stream = stored
        self._stream, self._stored_stream = stream, stored

    def __enter__(self) -> "TextFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()
        self._stored_stream.close()
        self._stored.close()

    @property
    def position(self) -> int:
        return self._stored.position

    @property
    def digest(self) -> str:
        return self._stored.hash.hexdigest()

    def lines(self, longest: int = LONGEST_LINE, cut: bool = True) -> Iterator[tuple[int, bytes]]:
        """Yield (line number from 1, line with its end). A byte-order mark is left out.

        A line of more than `longest` bytes is yielded in parts, if `cut` is true.

        Raises:
            InputError: the compression is damaged, or a line is too long and may not be cut.
        """
        number, rest = 1, b""
        try:
            while True:
                part = self._stream.readline(longest - len(rest))
                if number == 1 and not rest:
                    part = part.removeprefix(b"\xef\xbb\xbf")
                line = rest + part
                if not line:
                    break
                if line.endswith(b"\n") or len(line) < longest:
                    yield number, line
                    number, rest = number + 1, b""
                elif cut:
                    end = cut_position(line, longest - 1)
                    yield number, line[:end] + b"\n"
                    rest = line[end:]
                else:
                    raise InputError(
                        f"{self.path}, line {number}: the line is longer than "
                        f"{longest // 1_000_000} MB; split its text into several lines."
                    )
            while self._stored_stream.read(BLOCK):  # what a decompressor left: only for the digest
                pass
        except _DAMAGE as error:
            raise InputError(
                f"{self.path}, after line {number - 1}: the compressed file is damaged or cut off "
                f"({error}); make it anew."
            ) from None
        except OSError as error:
            raise InputError(f"Cannot read {self.path}: {error}.") from None


def shown(file: TextFile, lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, while it is shown how much of it has been read."""
    position = 0
    with Progress(file.path.name, file.path.stat().st_size, after=SHORT) as progress:
        for line in lines:
            progress.update(file.position - position)
            position = file.position
            yield line


def is_json_lines(path: str | Path) -> bool:
    """Whether the name says JSON Lines: `.jsonl`, perhaps compressed."""
    path = Path(path)
    return (Path(path.stem) if path.suffix in COMPRESSED else path).suffix == ".jsonl"


def read_raw_documents(file: TextFile, document_per_line: bool) -> Iterator[tuple[int, bytes]]:
    """Yield (number of its first line, bytes) of each document; blank documents are left out.

    One line of JSON Lines is a document; of plain text it is one if `document_per_line`, and
    otherwise a blank line ends a document. A document of plain text larger than `LARGEST_DOCUMENT`
    is yielded in parts cut at line boundaries.
    """
    if is_json_lines(file.path):
        for number, line in file.lines(LONGEST_JSON_LINE, cut=False):
            if not line.isspace():
                yield number, line
    elif document_per_line:
        for number, line in file.lines():
            if not line.isspace():
                yield number, line
    else:
        first, size, document = 1, 0, []
        for number, line in file.lines():
            blank = line.isspace()
            if document and (blank or size + len(line) > LARGEST_DOCUMENT):
                yield first, b"".join(document)
                size, document = 0, []
            if not blank:
                if not document:
                    first = number
                document.append(line)
                size += len(line)
        if document:
            yield first, b"".join(document)


def decode(data: bytes, path: str | Path, first_line: int) -> str:
    """UTF-8 bytes as text. Raises InputError that names the file and the line of a broken byte."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + data.count(b"\n", 0, error.start)
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); "
            "convert the file to UTF-8 first, for example with iconv."
        ) from None


def cut_position(data: bytes, limit: int) -> int:
    """Where to cut UTF-8 `data`, longer than `limit` bytes, to keep at most `limit` of them: at a
    line's end, else behind a space, else between two characters."""
    for mark in (b"\n", b" "):
        position = data.rfind(mark, limit // 2, limit)
        if position >= 0:
            return position + 1
    for position in range(limit, limit - 4, -1):
        if data[position] & 0xC0 != 0x80:  # not a byte inside a character
            return position
    return limit  # not UTF-8; decoding will say so


class _HashingReader(io.RawIOBase):
    """Reads a file and keeps the count and the hash of the bytes that went through."""

    def __init__(self, path: Path) -> None:
        self._file, self.position = open(path, "rb", buffering=0), 0  # noqa: SIM115
        self.hash = hashlib.blake2b(digest_size=16)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        count = self._file.readinto(buffer)
        self.hash.update(buffer[:count])
        self.position += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _ZstdReader(io.RawIOBase):
    """Decompresses frames of zstd. zstandard's own reader takes a cut-off file for a short one."""

    def __init__(self, stored: BinaryIO) -> None:
        self._stored, self._frame, self._ready, self._left = stored, None, b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        while not self._ready:
            data = self._left or self._stored.read(1 << 16)
            self._left = b""
            if not data:
                if self._frame is not None:
                    raise EOFError("it ends inside a frame")
                return 0
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._ready = self._frame.decompress(data)
            if self._frame.eof:
                self._left, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count
