"""fairseq's binary data format (its MMapIndexedDataset), written with numpy alone.

`PREFIX.bin` holds the tokens of all items one after another. `PREFIX.idx` holds the magic string,
version 1 (uint64), the code of the token type (uint8), the number of items (uint64), their sizes in
tokens (int32 each) and their offsets in the .bin file in bytes (int64 each), all little-endian.
"""

import os
import shutil
import struct
from pathlib import Path

import numpy as np

from ..errors import InputError

MAGIC = b"MMIDIDX\x00\x00"
TYPE_CODES = {np.dtype("<u2"): 8, np.dtype("<u4"): 9}
_CHUNK = 1 << 20  # items


def token_type(vocabulary_size: int) -> np.dtype:
    """The type fairseq stores tokens in (its `best_fitting_int_dtype`)."""
    return np.dtype("<u2") if vocabulary_size < 65500 else np.dtype("<u4")


def check_folder_name(output: Path) -> None:
    """Raise InputError if fairseq would take the path of a data folder for several."""
    if ":" in str(output.absolute()):
        raise InputError(
            f"--output {output.absolute()} has a colon, by which fairseq separates data folders: give "
            "a path without one."
        )


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
            index.write(MAGIC + struct.pack("<QBQ", 1, TYPE_CODES[self._dtype], items))
            self._sizes.seek(0)
            shutil.copyfileobj(self._sizes, index)
            self._sizes.seek(0)
            offset = 0
            while data := self._sizes.read(4 * _CHUNK):
                ends = np.cumsum(np.frombuffer(data, "<i4"), dtype="<i8") * self._dtype.itemsize
                index.write(np.concatenate(([0], ends[:-1])).astype("<i8") + offset)
                offset += int(ends[-1])
