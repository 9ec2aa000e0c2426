"""fairseq's binary data format (its MMapIndexedDataset), written and checked with numpy alone.

`PREFIX.bin` holds the tokens of all items one after another. `PREFIX.idx` holds the magic string,
version 1 (uint64), the code of the token type (uint8), the number of items (uint64), their sizes in
tokens (int32 each) and their offsets in the .bin file in bytes (int64 each), all little-endian.
"""

import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError

MAGIC = b"MMIDIDX\x00\x00"
TYPE_CODES = {np.dtype("<u2"): 8, np.dtype("<u4"): 9}
INDEX, TOKENS = ".idx", ".bin"
HEADER = struct.Struct("<QBQ")  # behind the magic string: version, code of the type, items
# fairseq's codes of the integer types that tokens may have (its MMapIndexedDataset).
TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2", 9: "<u4", 10: "<u8"}
_AGAIN = "copy it or prepare the data again"
_CHUNK = 1 << 20  # items
_LOOKED_AT = 1 << 26  # tokens of a dataset: a tenth of a second


def token_type(vocabulary_size: int) -> np.dtype:
    """The type fairseq stores tokens in (its `best_fitting_int_dtype`)."""
    return np.dtype("<u2") if vocabulary_size < 65500 else np.dtype("<u4")


def check_folder_name(output: Path) -> None:
    """Raise InputError if a data folder has no name, or fairseq would take its path for several."""
    if not output.absolute().name:
        raise InputError(f"{str(output)!r} cannot be the output: name the folder to write")
    if ":" in str(output.absolute()):
        raise InputError(
            f"--output {output.absolute()} has a colon, by which fairseq separates data folders: give "
            "a path without one."
        )


def read_sizes(prefix: Path) -> tuple[np.dtype, np.ndarray]:
    """The type of the tokens of a dataset, and the tokens of each item (items,), not in memory.

    The whole index is looked at; of the tokens, how many bytes they have.

    Raises:
        InputError: a file is missing, damaged or cut off, or is in another of fairseq's formats.
    """
    index, tokens = (prefix.with_name(f"{prefix.name}{end}") for end in (INDEX, TOKENS))
    for file in (index, tokens):
        if not file.is_file():
            raise InputError(f"there is no {file}: a split has both .idx and .bin")
    try:
        with open(index, "rb") as file:
            head = file.read(len(MAGIC) + HEADER.size)
        length, stored = index.stat().st_size, tokens.stat().st_size
    except OSError as error:
        raise InputError(f"cannot read {index}: {error.strerror}") from None
    if len(head) < len(MAGIC) + HEADER.size or not head.startswith(MAGIC):
        raise InputError(f"{index} is not an index of fairseq's mmap format; {_AGAIN}")
    version, code, items = HEADER.unpack_from(head, len(MAGIC))
    if version != 1 or code not in TYPES or length != len(head) + 12 * items:
        raise InputError(f"{index} is damaged or cut off; {_AGAIN}")
    kind = np.dtype(TYPES[code])
    sizes = mapped(index, np.dtype("<i4"), items, len(head))
    offsets = mapped(index, np.dtype("<i8"), items, len(head) + 4 * items)
    end = 0
    for start in range(0, items, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        ends = end + np.cumsum(sizes[chunk], dtype="<i8") * kind.itemsize
        if sizes[chunk].min() < 0 or (offsets[chunk] != np.append(end, ends[:-1])).any():
            raise InputError(f"{index} is damaged: its sizes and offsets disagree; {_AGAIN}")
        end = int(ends[-1])
    if stored != end:
        raise InputError(
            f"{tokens} has {stored:,} bytes, and its index says {end:,}: it is damaged or cut off; "
            f"{_AGAIN}"
        )
    return kind, sizes


class Split(NamedTuple):
    """One dataset, as a rule a split of binarised data."""

    path: Path  # PREFIX.bin
    sizes: np.ndarray  # tokens of each item (items,)
    tokens: np.ndarray  # of all items, one after another (tokens,); not in memory


def read_split(prefix: Path) -> Split:
    """A dataset, looked at as far as `read_sizes` does; raises as it does."""
    kind, sizes = read_sizes(prefix)
    path = prefix.with_name(f"{prefix.name}{TOKENS}")
    return Split(path, sizes, mapped(path, kind, int(sizes.sum(dtype=np.int64))))


def splits_in(folder: Path) -> dict[str, Split]:
    """The datasets in a folder by their names, the training data first. Raises as `read_sizes`."""
    names = {path.stem for end in (INDEX, TOKENS) for path in folder.glob(f"*{end}")}
    in_order = sorted(names, key=lambda name: (not name.startswith("train"), name))
    return {name: read_split(folder / name) for name in in_order}


def shards_in(folder: Path) -> list[Path]:
    """The folders that hold binarised data, in order: the folder itself, or those in it."""
    if any(folder.glob(f"*{INDEX}")):
        return [folder]
    return sorted({path.parent for path in folder.glob(f"[!.]*/*{INDEX}")})  # a dot: unfinished


def read_items(prefix: Path) -> Iterator[np.ndarray]:
    """The tokens of each item of a dataset (tokens,), as they are read. Raises as `read_sizes`."""
    _, sizes, tokens = read_split(prefix)
    ends = np.cumsum(sizes, dtype=np.int64)
    return (tokens[end - size : end] for end, size in zip(ends, sizes, strict=True))


def check_dataset(prefix: Path, symbols: int | None) -> None:
    """Refuse a dataset that training cannot use: damaged, empty, or of another vocabulary.

    Args:
        symbols: of the vocabulary; None: the items are not text. Of long data the first part is
            looked at.

    Raises:
        InputError: as `read_sizes`, too.
    """
    tokens, _, ids = read_split(prefix)
    if not len(ids):
        raise InputError(f"{tokens} is empty: a split needs items; prepare the data again")
    if symbols is not None:
        first = ids[:_LOOKED_AT]
        lowest, highest = int(first.min()), int(first.max())
        if lowest < 0 or highest >= symbols:
            raise InputError(
                f"{tokens} holds the token {lowest if lowest < 0 else highest:,}, and the dictionary "
                f"has {symbols:,} symbols: one of the two is damaged or of other data; {_AGAIN}"
            )


def mapped(path: Path, kind: np.dtype, count: int, offset: int = 0) -> np.ndarray:
    """Numbers in a file, not in memory. (An empty file cannot be mapped.)"""
    return np.memmap(path, kind, "r", offset, (count,)) if count else np.empty(0, kind)


class IndexedDatasetWriter:
    """Writes one dataset piece by piece; memory does not grow with it. A context manager.

    The sizes wait in `PREFIX.sizes` until the index is written at the end.
    """

    def __init__(self, prefix: str | Path, dtype: np.dtype) -> None:
        self._prefix, self._dtype = str(prefix), np.dtype(dtype)
        self._tokens = open(f"{prefix}.bin", "wb")  # noqa: SIM115
        self._sizes = open(f"{prefix}.sizes", "w+b")  # noqa: SIM115

    def __enter__(self) -> "IndexedDatasetWriter":
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        if kind is None:
            self._write_index()
        self._tokens.close()
        self._sizes.close()
        os.remove(f"{self._prefix}.sizes")

    def write(self, tokens: np.ndarray, sizes: np.ndarray) -> None:
        """Add items: `sizes` (items,) says how `tokens` (sum of sizes,) falls apart into them."""
        self._tokens.write(np.ascontiguousarray(tokens, self._dtype))
        self._sizes.write(np.ascontiguousarray(sizes, "<i4"))

    def remove_last_token_item(self) -> None:
        """Take back the last item, which must hold exactly one token."""
        self._sizes.seek(-4, os.SEEK_END)
        if self._sizes.read() != struct.pack("<i", 1):
            raise ValueError("the last item does not hold exactly one token")
        self._sizes.seek(-4, os.SEEK_END)
        self._sizes.truncate()
        self._tokens.seek(-self._dtype.itemsize, os.SEEK_END)
        self._tokens.truncate()

    def _write_index(self) -> None:
        items = self._sizes.seek(0, os.SEEK_END) // 4
        with open(f"{self._prefix}.idx", "wb") as index:
            index.write(MAGIC + HEADER.pack(1, TYPE_CODES[self._dtype], items))
            self._sizes.seek(0)
            shutil.copyfileobj(self._sizes, index)
            self._sizes.seek(0)
            offset = 0
            while data := self._sizes.read(4 * _CHUNK):
                ends = np.cumsum(np.frombuffer(data, "<i4"), dtype="<i8") * self._dtype.itemsize
                index.write(np.concatenate(([0], ends[:-1])).astype("<i8") + offset)
                offset += int(ends[-1])
