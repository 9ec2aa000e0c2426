"""Reading text files of any size, compressed or not, in memory that does not depend on the size.

What a file is, is told by its first bytes; its name only helps where they leave it open.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import zstandard

from ..errors import InputError
from ..terminal.progress import SHORT, Progress
from . import formats
from .formats import COMPRESSED, UTF8_MARK

BLOCK = 1 << 20  # bytes read at a time
LONGEST_LINE = 1_000_000  # bytes; a longer line of plain text is cut
LONGEST_JSON_LINE = 32_000_000  # bytes; JSON cannot be cut, so a longer line is refused
LARGEST_DOCUMENT = 1_000_000  # bytes; a larger document is cut at a line boundary

_LONGEST_WINDOW = 1 << 31  # bytes; the largest that the library can read (`zstd --long=31`)
# Bytes of zstd that are decompressed at a time: 4 of them can stand for 128 kB of text, so that
# these give 16 MB at most.
_ZSTD_INPUT = 1 << 9
_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError)


class TextFile:
    """A text file open for reading, decompressed (gzip, xz, zstd, bzip2). A context manager.

    `position` counts the bytes read of the file as it is stored, for progress. `digest` is the
    BLAKE2b hash of the file as it is stored, complete once `lines` has come to its end. `cuts` is how
    often `lines` has cut a line. `head` is the decompressed beginning of the file, some kilobytes or
    all of it.

    Raises:
        InputError: the file is missing, is a folder, cannot be read, is damaged, or is of a format
            that is not text.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.cuts = Path(path), 0
        try:
            self._stored = _HashingReader(self.path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"Cannot read {path}: {reason}.") from None
        self._stored_stream = self._stream = io.BufferedReader(self._stored, BLOCK)
        try:
            self._stream = self._decompressed()
            self.head = self._stream.peek(BLOCK)
            formats.refuse_other_formats(self.head, path)
            # a name that says compressed, over bytes that are neither that nor text
            named = self.path.suffix in COMPRESSED and not self.is_compressed
            if named and not formats.may_be_utf8(self.head):
                raise EOFError(f"it does not begin as {self.path.suffix} does")
        except BaseException as error:
            self.__exit__()
            if isinstance(error, (*_DAMAGE, OSError)):
                raise self._unreadable(error, after=0) from None
            raise

    def _decompressed(self) -> io.BufferedReader:
        kind = formats.compression(self._stored_stream.peek(BLOCK))
        if kind is None:
            return self._stored_stream
        return io.BufferedReader(_READERS[kind](self._stored_stream), BLOCK)

    def _unreadable(self, error: Exception, after: int) -> InputError:
        # bz2 says that data are damaged by a plain OSError, without a number
        if isinstance(error, OSError) and error.errno is not None:
            return InputError(f"cannot read {self.path}: {error.strerror}")
        return InputError(
            f"{self.path}, after line {after}: the compressed file is damaged or cut off "
            f"({error}); make it again"
        )

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

    @property
    def is_compressed(self) -> bool:
        return self._stream is not self._stored_stream

    @property
    def is_json_lines(self) -> bool:
        """Whether each line is a JSON object: by the first line, or by the name."""
        return formats.holds_json_lines(self.head) or is_json_lines(self.path)

    def lines(self, longest: int = LONGEST_LINE, cut: bool = True) -> Iterator[tuple[int, bytes]]:
        """Yield (line number from 1, line with its end). A byte-order mark is left out.

        A line of more than `longest` bytes is yielded in parts, if `cut` is true.

        Raises:
            InputError: the compression is damaged, or a line is too long and may not be cut.
        """
        number = 0
        try:
            for last, line in numbered_lines(self._stream, self.path, longest, cut):
                self.cuts += last == number
                number = last
                yield number, line
            while self._stored_stream.read(BLOCK):  # what a decompressor left: only for the digest
                pass
        except (*_DAMAGE, OSError) as error:
            raise self._unreadable(error, number) from None


def numbered_lines(
    stream: BinaryIO, name: str | Path, longest: int, cut: bool
) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a stream as `TextFile.lines` does. Raises InputError that calls it `name`."""
    number, rest = 1, b""
    while True:
        part = stream.readline(longest - len(rest))
        if number == 1 and not rest:
            part = part.removeprefix(UTF8_MARK)
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
                f"{name}, line {number}: the line is longer than "
                f"{longest // 1_000_000} MB; split its text into several lines."
            )


def shown(file: TextFile, lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, while it is shown how much of it has been read."""
    position = 0
    with Progress(file.path.name, file.path.stat().st_size, after=SHORT) as progress:
        for line in lines:
            progress.update(file.position - position)
            position = file.position
            yield line


def is_json_lines(path: str | Path) -> bool:
    """Whether the name says JSON Lines: `.jsonl` or `.ndjson`, perhaps compressed."""
    return formats.suffix_inside(path) in (".jsonl", ".ndjson")


def read_raw_documents(
    file: TextFile, document_per_line: bool, json_lines: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Yield (number of its first line, bytes) of each document; blank documents are left out.

    One line of JSON Lines is a document; of plain text it is one if `document_per_line`, and
    otherwise a blank line ends a document. A document of plain text larger than `LARGEST_DOCUMENT`
    is yielded in parts cut at line boundaries.
    """
    if json_lines or document_per_line:
        lines = file.lines(LONGEST_JSON_LINE, cut=False) if json_lines else file.lines()
        yield from ((number, line) for number, line in lines if not line.isspace())
        return
    first, size, document = 1, 0, []
    for number, line in file.lines():
        blank = line.isspace()
        if document and (blank or size + len(line) > LARGEST_DOCUMENT):
            yield first, b"".join(document)
            size, document = 0, []
        if not blank:
            first = first if document else number
            document.append(line)
            size += len(line)
    if document:
        yield first, b"".join(document)


def decode(data: bytes, path: str | Path, first_line: int) -> str:
    """UTF-8 bytes as text.

    Raises:
        InputError: a byte that is not UTF-8, or is NUL; names the file and the line.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + data.count(b"\n", 0, error.start)
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); convert the file to "
            "UTF-8 first, for example with iconv"
        ) from None
    if "\0" in text:
        line = first_line + data.count(b"\n", 0, data.index(0))
        raise InputError(
            f"{path}, line {line}: a NUL character, which text does not have; remove it, for example "
            "with: tr -d '\\000'"
        )
    return text


def check_characters(text: str, place: str) -> None:
    """Refuse a text with half of a character, which JSON can spell ("\\ud800") and UTF-8 cannot.

    Args:
        place: where the text stands, for the message.

    Raises:
        InputError: there is one.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{place}: half of a character (the lone surrogate {text[error.start]!r}); fix this text"
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
        self._stored, self._frame, self._ready, self._left = stored, None, memoryview(b""), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        while not self._ready:
            data = self._left or self._stored.read(_ZSTD_INPUT)
            self._left = b""
            if not data:
                if self._frame is not None:
                    raise EOFError("it ends inside a frame")
                return 0
            if self._frame is None:
                decompressor = zstandard.ZstdDecompressor(max_window_size=_LONGEST_WINDOW)
                self._frame = decompressor.decompressobj()
            self._ready = memoryview(self._frame.decompress(data))
            if self._frame.eof:
                self._left, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


class _StreamsReader(io.RawIOBase):
    """Decompresses streams one after the other, as xz and bzip2 have them.

    The libraries' own readers pass over whatever else stands behind the last one.
    """

    def __init__(self, stored: BinaryIO, decompressor: type) -> None:
        self._stored, self._decompressor, self._left = stored, decompressor, b""
        self._stream = decompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        while True:
            if self._stream is None:
                while not (left := self._left.lstrip(b"\0")):  # padding
                    self._left = self._stored.read(BLOCK)
                    if not self._left:
                        return 0
                self._left, self._stream = left, self._decompressor()
            if self._stream.needs_input and not self._left:
                self._left = self._stored.read(BLOCK)
                if not self._left:
                    raise EOFError("it ends inside a stream")
            data, self._left = self._left, b""
            ready = self._stream.decompress(data, len(buffer))
            if self._stream.eof:
                self._left, self._stream = self._stream.unused_data, None
            if ready:
                buffer[: len(ready)] = ready
                return len(ready)


_READERS = {
    "gzip": lambda stored: gzip.GzipFile(fileobj=stored),
    "bzip2": partial(_StreamsReader, decompressor=bz2.BZ2Decompressor),
    "xz": partial(_StreamsReader, decompressor=lzma.LZMADecompressor),
    "zstd": _ZstdReader,
}
