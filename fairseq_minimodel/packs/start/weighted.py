"""Rows as weighted means of the common rows, by how near their tokens are in another space.

Tokens are compared by the cosines of their vectors there (a helper model's embedding, vectors made
from text). No matrix of all pairs of tokens is ever held.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...errors import InputError
from ...terminal.progress import SHORT, Progress
from ...vocabulary.matching import matches
from .rule import Pair, Rule, StartReport
from .vectors import TokenVectors

# Cosines (tokens, others) to weights (tokens, others), which need not sum to 1.
Weigh = Callable[[Tensor], Tensor]

BLOCK = 2**24  # elements of a block of cosines: 64 MB
# Kish's effective number of tokens, (sum w)^2 / sum w^2, is 1 or more where no weight is negative;
# what rounding takes away is much less than the rest.
FEWEST = 0.99


class WeightedMeans(Rule):
    """What `clp` and `focus` share: other vectors and other weights, the same means.

    Where there is no mean (no vector, or weights that cancel out), the row is drawn, in each dimension
    with the mean and standard deviation of the source rows.

    Args:
        vectors: where target tokens are compared.
        weigh: cosines to weights; None: the cosines themselves.
    """

    def __init__(
        self,
        pair: Pair,
        generator: torch.Generator,
        vectors: TokenVectors,
        weigh: Weigh | None = None,
    ) -> None:
        super().__init__(pair, generator)
        self.vectors, self.weigh = vectors, weigh
        self.places = matches(pair.symbols, vectors.symbols)  # of a row's token among the vectors

    def make_rows(self) -> Tensor:
        source = self.pair.rows
        drawn = torch.randn(len(self.pair.symbols), source.size(1), generator=self.generator)
        return source.mean(0) + source.std(0, correction=0) * drawn

    def fill(self, rows: Tensor, missing: Sequence[int], report: StartReport) -> StartReport:
        """Put weighted means of the rows that are there into the missing ones that have one.

        Raises:
            InputError: there are no such rows with a vector.
        """
        apart = {*self.pair.special, *missing}
        near = [row for row in range(len(rows)) if row in self.places and row not in apart]
        if not near:
            raise InputError(
                f"the target vocabulary has {report.copied} tokens in common with the source, "
                f"{len(near)} of them in {self.vectors.origin}: there is nothing to combine rows "
                "from; take --initialise random"
            )
        far = [row for row in missing if row in self.places]
        theirs, others = (
            self.vectors.vectors[[self.places[row] for row in some]] for some in (far, near)
        )
        means, found = combine(theirs, others, rows[near], self.weigh)
        rows[torch.tensor(far, dtype=torch.long)[found]] = means[found]
        combined = int(found.sum())
        return replace(
            report,
            combined=combined,
            without_vector=len(missing) - len(far),
            cancelled=len(far) - combined,
        )


def combine(
    vectors: Tensor, other_vectors: Tensor, rows: Tensor, weigh: Weigh | None = None
) -> tuple[Tensor, Tensor]:
    """For each token the weighted mean of the others' rows: sum_o w_o rows_o / sum_o w_o.

    Without `weigh` the weights are the cosines (Ostendorff and Rehm 2023, arXiv 2301.09626). Then
    both sums are linear in the token's unit vector h: with H the unit vectors of the others, they
    are h (H^T rows) and h (H^T 1), and there are no blocks at all.

    A token has no such mean if its weights sum to 0 or less (the mean would follow the least similar
    tokens), or if weights of both signs cancel out so far that it would be spread more widely than a
    single row is: (sum w)^2 < sum w^2, Kish's effective number of tokens below 1.

    Args:
        vectors: (tokens, k); any dtype, computed in float32.
        other_vectors: (others, k).
        rows: (others, d).
        weigh: cosines to weights, a block of tokens at a time.

    Returns:
        the means (tokens, d), and which tokens have one (tokens,), bool; other rows are 0.
    """
    vectors, others = normalize(vectors.float()), normalize(other_vectors.float())
    rows = rows.float()
    if weigh is None:
        sums, totals = vectors @ (others.T @ rows), vectors @ others.sum(0)
        squares = ((vectors @ (others.T @ others)) * vectors).sum(1)
        return _means(sums, totals, squares)
    means = torch.empty(len(vectors), rows.size(1))
    found = torch.empty(len(vectors), dtype=torch.bool)
    size = max(1, BLOCK // len(others))
    with Progress("combining rows", len(vectors), "row", after=SHORT) as progress:
        for start in range(0, len(vectors), size):
            block = slice(start, start + size)
            weights = weigh(vectors[block] @ others.T)
            squares = weights.square().sum(1)
            means[block], found[block] = _means(weights @ rows, weights.sum(1), squares)
            progress.update(len(weights))
    return means, found


def _means(sums: Tensor, totals: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    found = (totals > 0) & (totals.square() >= FEWEST * squares)
    return torch.where(found, 1 / totals, 0).unsqueeze(1) * sums, found
