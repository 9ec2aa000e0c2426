"""How often a token of one language is translated by one of another, from pairs of texts.

IBM model 1 (Brown, Della Pietra, Della Pietra and Mercer 1993, *The Mathematics of Statistical Machine
Translation*, section 4.1), in which tokens at the same place of their texts are likelier to belong
together (Dyer, Chahuneau and Smith 2013, *A Simple, Fast, and Effective Reparameterization of IBM Model
2*, section 2: fast_align).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

ITERATIONS = 5
TENSION = 4.0  # lambda of fast_align, as it is before fast_align learns it
FROM_NONE = 0.08  # p_0, fast_align's default
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

    def places(self) -> np.ndarray:
        """Where in its text the middle of each token is (tokens,): 0 is the beginning, 1 the end."""
        starts = np.repeat(np.cumsum(self.sizes) - self.sizes, self.sizes)
        return (np.arange(len(self.ids)) - starts + 0.5) / np.repeat(self.sizes, self.sizes)


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
    tension: float = TENSION,
    from_none: float = FROM_NONE,
    progress: Callable[[int], None] = lambda cells: None,
) -> scipy.sparse.csr_array:
    """Expected counts c(t | s) of the last of several iterations, which begin with equal t(t | s).

    Each target token comes from one of the source tokens of its text, or from none, whose counts are
    left out. With x the places in the text (`Texts.places`), a token t at y comes from the token s at x

        with probability  p(x | y) t(t | s) / (p_0 t(t | none) + sum_x' p(x' | y) t(t | s')),
        p(x | y) = (1 - p_0) exp(-tension |x - y|) / sum_x' exp(-tension |x' - y|)

    (Dyer et al. 2013, equations 1 and 2). c(t | s) is the sum of these over all texts, and
    t(t | s) = c(t | s) / sum_t' c(t' | s). Without tension this is model 1, but that none is as likely
    as p_0 says, not as one more token.

    Args: as of `joined_counts`.

    Returns: (source, target).
    """
    blocks, keys = _index(source, target, shape[1], tension, from_none)
    rows = keys // shape[1]
    probabilities, of_none = np.ones(len(keys)), np.ones(shape[1])
    for _ in range(iterations):
        counts, none = np.zeros(len(keys)), np.zeros(shape[1])
        for block in blocks:
            block.add_counts(probabilities, from_none * of_none, counts, none)
            progress(len(block.cells))
        probabilities = counts / np.bincount(rows, counts, shape[0])[rows]
        of_none = none / none.sum()
    places = (rows, keys % shape[1])
    return scipy.sparse.coo_array((counts, places), shape).tocsr()


@dataclass(frozen=True)
class _Block:
    """Cells, one for each source token of the text of each target token, in the order of these.

    Attributes:
        keys: which of all (source, target) occur in the block (k,).
        cells: which of these each cell is (cells,).
        prior: probability of the cell before the tokens are known (cells,).
        tokens: the target tokens (tokens,).
        sizes: the cells of each (tokens,).
    """

    keys: np.ndarray
    cells: np.ndarray
    prior: np.ndarray
    tokens: np.ndarray
    sizes: np.ndarray

    def add_counts(
        self,
        probabilities: np.ndarray,
        of_none: np.ndarray,
        counts: np.ndarray,
        none: np.ndarray,
    ) -> None:
        """Add the expected counts, given the probabilities t of each key.

        Args:
            of_none: p_0 t(t | none) of each target token of the vocabulary.
            counts, none: what is added to, of each key and of each target token from none.
        """
        shares = probabilities[self.keys][self.cells] * self.prior
        of_none = of_none[self.tokens]
        totals = np.add.reduceat(shares, np.cumsum(self.sizes) - self.sizes) + of_none
        shares /= np.repeat(totals, self.sizes)
        counts[self.keys] += np.bincount(self.cells, shares, len(self.keys))
        none += np.bincount(self.tokens, of_none / totals, len(none))


def _index(
    source: Texts, target: Texts, width: int, tension: float, from_none: float
) -> tuple[list[_Block], np.ndarray]:
    """All cells, and the (source, target) that occur, as source * width + target, in order."""
    blocks = []
    for ids, apart, tokens, sizes in _cells(source, target):
        prior = np.exp(-tension * apart)
        sums = np.add.reduceat(prior, np.cumsum(sizes) - sizes)
        prior *= np.repeat((1 - from_none) / sums, sizes)
        keys, cells = np.unique(ids * width + np.repeat(tokens, sizes), return_inverse=True)
        parts = cells.astype(np.int32), prior.astype(np.float32), tokens, sizes
        blocks.append(_Block(keys, *parts))
    # sorted: np.unique, where it gives nothing else, has been four times as slow since NumPy 2.3
    keys = np.sort(np.concatenate([block.keys for block in blocks]))
    keys = keys[np.append(True, keys[1:] != keys[:-1])]
    return [replace(block, keys=np.searchsorted(keys, block.keys)) for block in blocks], keys


def _cells(source: Texts, target: Texts) -> Iterator[tuple[np.ndarray, ...]]:
    """For some texts at a time: of each cell the source token and how far apart the two tokens' places
    are; `_Block.tokens` and `_Block.sizes`.
    """
    cells = np.cumsum(source.sizes * target.sizes)
    cuts = np.flatnonzero(np.diff((cells - 1) // BLOCK)) + 1
    starts = [np.cumsum(texts.sizes) - texts.sizes for texts in (source, target)]
    places = source.places(), target.places()
    for texts in np.split(np.arange(len(source)), cuts):
        tokens = slice(starts[1][texts[0]], starts[1][texts[-1]] + target.sizes[texts[-1]])
        sizes = np.repeat(source.sizes[texts], target.sizes[texts])
        # counts from 0 in the cells of each target token
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        there = np.repeat(np.repeat(starts[0][texts], target.sizes[texts]), sizes) + within
        apart = np.abs(places[0][there] - np.repeat(places[1][tokens], sizes))
        yield source.ids[there].astype(np.int64), apart, target.ids[tokens].astype(np.int64), sizes
