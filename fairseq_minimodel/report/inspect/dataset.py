"""fairseq's binary data, as `corpus/indexed.py` writes it, read with numpy alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...corpus.indexed import INDEX, TOKENS, mapped, read_sizes
from ...errors import InputError
from ...terminal.progress import Progress
from ...vocabulary.tokenizers import EOS, UNK

CHUNK = 1 << 22  # tokens read at a time
TRAIN = "train"


class Dataset:
    """One split of binarised data: `PREFIX.idx` and `PREFIX.bin` (`corpus/indexed.py`).

    Attributes:
        name: of the split.
        sizes: tokens of each item, (items,).
        bytes: of both files.

    Raises:
        InputError: a file is missing or cut off, or is in another of fairseq's formats.
    """

    def __init__(self, prefix: Path) -> None:
        self.name, self._tokens = prefix.name, prefix.with_name(f"{prefix.name}{TOKENS}")
        self._type, self.sizes = read_sizes(prefix)
        index = prefix.with_name(f"{prefix.name}{INDEX}")
        self.bytes = index.stat().st_size + self._tokens.stat().st_size

    @property
    def tokens(self) -> int:
        return int(self.sizes.sum(dtype=np.int64))

    @property
    def longest(self) -> int:
        return int(self.sizes.max(initial=0))

    def read(self) -> np.ndarray:
        """The tokens of all items, one after another (tokens,); not in memory."""
        return mapped(self._tokens, self._type, self.tokens)

    def pairs(self) -> np.ndarray:
        """The tokens of items of two tokens, as labels and spans are: (items, 2)."""
        if (self.sizes != 2).any():
            raise InputError(
                f"{self._tokens} has items of other lengths than two tokens; prepare the data again"
            )
        return self.read().reshape(-1, 2)

    def check_same_items(self, other: "Dataset") -> None:
        """Refuse data of which another split of the same items has another number of them."""
        if len(self.sizes) != len(other.sizes):
            raise InputError(
                f"{self._tokens} has {len(self.sizes):,} items and {other._tokens} "
                f"{len(other.sizes):,}: they belong together; prepare the data again"
            )


def shards_in(folder: Path) -> list[Path]:
    """The folders that hold binarised data, in order: the folder itself, or those in it."""
    if any(folder.glob(f"*{INDEX}")):
        return [folder]
    shards = {path.parent for path in folder.glob(f"*/*{INDEX}")}
    return sorted(shard for shard in shards if not shard.name.startswith("."))  # unfinished


def splits_in(folder: Path) -> dict[str, Dataset]:
    """The splits in a folder by their names, the training data first."""
    names = {path.stem for end in (INDEX, TOKENS) for path in folder.glob(f"*{end}")}
    names = sorted(names, key=lambda name: (not name.startswith(TRAIN), name))
    return {name: Dataset(folder / name) for name in names}


def unknown_share(parts: Sequence[Dataset]) -> float:
    """The share of <unk> among all tokens but </s>."""
    unknown = pieces = 0
    total = sum(part.read().nbytes for part in parts)
    with Progress("counting unknown tokens", total) as progress:
        for part in parts:
            tokens = part.read()
            for start in range(0, len(tokens), CHUNK):
                chunk = tokens[start : start + CHUNK]
                unknown += int((chunk == UNK).sum())
                pieces += int((chunk != EOS).sum())
                progress.update(chunk.nbytes)
    return round(unknown / max(pieces, 1), 8)
