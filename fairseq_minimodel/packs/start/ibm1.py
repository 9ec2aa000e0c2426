"""IBM model 1: how often a token of one language is translated by one of another, in sentence pairs.

Brown, Della Pietra, Della Pietra and Mercer 1993, *The Mathematics of Statistical Machine Translation*,
section 4.1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse

ITERATIONS = 5
BLOCK = 2**21  # pairs of tokens that are looked at together


@dataclass(frozen=True)
class Texts:
    """The ids of several texts, one after the other (tokens,), and the tokens of each (texts,)."""

    ids: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    def where(self, kept: np.ndarray) -> "Texts":
        """The texts that are kept (texts,), bool."""
        return Texts(self.ids[np.repeat(kept, self.sizes)], self.sizes[kept])

    def with_first(self, token: int) -> "Texts":
        """The same with a token before each text."""
        starts = np.cumsum(self.sizes) - self.sizes
        return Texts(np.insert(self.ids, starts, token), self.sizes + 1)


def joined_counts(
    source: Texts,
    target: Texts,
    shape: tuple[int, int],
    progress: Callable[[int], None] = lambda cells: None,
) -> scipy.sparse.csr_array:
    """How often each token is a translation of another, by both directions of the model.

    Args:
        source, target: text i of the one is a translation of text i of the other; none is empty.
        shape: of the vocabularies (source, target).
        progress: told how many pairs of tokens were looked at.

    Returns: (source, target), the geometric mean of the two directions' expected counts.
    """
    there = expected_counts(source, target, shape, progress=progress)
    back = expected_counts(target, source, shape[::-1], progress=progress)
    return there.multiply(back.T.tocsr()).sqrt().tocsr()


def expected_counts(
    source: Texts,
    target: Texts,
    shape: tuple[int, int],
    iterations: int = ITERATIONS,
    progress: Callable[[int], None] = lambda cells: None,
) -> scipy.sparse.csr_array:
    """Expected counts c(t | s) of the last of several iterations, which begin with equal t(t | s).

    Each target token comes from one of the source tokens of its text, or from none (Brown et al.'s
    empty word e_0, whose counts are left out). Brown et al. 1993, equations 13 to 17:

        c(t | s) = sum over occurrences of t of  n_s t(t | s) / sum_s' n_s' t(t | s')
        t(t | s) = c(t | s) / sum_t' c(t' | s)

    with n_s the occurrences of s in the text.

    Args: as of `joined_counts`.

    Returns: (source, target).
    """
    empty = shape[0]
    source = source.with_first(empty)
    blocks, keys = _index(source, target, shape[1])
    rows = keys // shape[1]
    probabilities = np.ones(len(keys))
    for _ in range(iterations):
        counts = np.zeros(len(keys))
        for block in blocks:
            block.add_counts(probabilities, counts)
            progress(len(block.cells))
        totals = np.bincount(rows, counts, empty + 1)
        probabilities = counts / totals[rows]
    kept = rows != empty
    places = (rows[kept], keys[kept] % shape[1])
    return scipy.sparse.coo_array((counts[kept], places), shape).tocsr()


@dataclass(frozen=True)
class _Block:
    """Cells, one for each source token of the text of each target token, in the order of these.

    Attributes:
        keys: which of all (source, target) occur in the block (k,).
        cells: which of these each cell is (cells,).
        sizes: the cells of each target token (tokens,).
    """

    keys: np.ndarray
    cells: np.ndarray
    sizes: np.ndarray

    def add_counts(self, probabilities: np.ndarray, counts: np.ndarray) -> None:
        """Add the expected counts of each key, given the probabilities t of each."""
        shares = probabilities[self.keys][self.cells]
        totals = np.add.reduceat(shares, np.cumsum(self.sizes) - self.sizes)
        shares /= np.repeat(totals, self.sizes)
        counts[self.keys] += np.bincount(self.cells, shares, len(self.keys))


def _index(source: Texts, target: Texts, width: int) -> tuple[list[_Block], np.ndarray]:
    """All cells, and the (source, target) that occur, as source * width + target, in order."""
    blocks = []
    for ids, others, sizes in _cells(source, target):
        keys, cells = np.unique(ids * width + others, return_inverse=True)
        blocks.append(_Block(keys, cells.astype(np.int32), sizes))
    keys = np.unique(np.concatenate([block.keys for block in blocks]))
    return [
        _Block(np.searchsorted(keys, block.keys).astype(np.int32), block.cells, block.sizes)
        for block in blocks
    ], keys


def _cells(source: Texts, target: Texts) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For some texts at a time, the source and the target token of each cell, and `_Block.sizes`."""
    cells = np.cumsum(source.sizes * target.sizes)
    block_of = (cells - 1) // BLOCK
    cuts = np.flatnonzero(np.diff(block_of)) + 1
    source_ends, target_ends = np.cumsum(source.sizes), np.cumsum(target.sizes)
    for texts in np.split(np.arange(len(source)), cuts):
        first, last = texts[0], texts[-1]
        tokens = target.ids[target_ends[first] - target.sizes[first] : target_ends[last]]
        sizes = np.repeat(source.sizes[texts], target.sizes[texts])
        starts = np.repeat(source_ends[texts] - source.sizes[texts], target.sizes[texts])
        # counts from 0 in the cells of each target token
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        ids = source.ids[np.repeat(starts, sizes) + within]
        yield ids.astype(np.int64), np.repeat(tokens, sizes).astype(np.int64), sizes
