"""Rows of an embedding as weighted means of other rows, by how near their tokens are elsewhere.

Tokens are compared by the cosines of their vectors in another space (a helper model's embedding,
vectors made from text). No matrix of all pairs of tokens is ever held.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...errors import InputError
from ...terminal.progress import SHORT, Progress

# Cosines (tokens, others) to weights (tokens, others), which need not sum to 1.
Weigh = Callable[[Tensor], Tensor]

BLOCK = 2**24  # elements of a block of cosines: 64 MB
# Kish's effective number of tokens, (sum w)^2 / sum w^2, is 1 or more where no weight is negative;
# what rounding takes away is much less than the rest.
FEWEST = 0.99


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


def clp_weights(top_k: int | None = None, temperature: float | None = None) -> Weigh | None:
    """The weights of CLP-Transfer: the cosines (None), those of the nearest tokens, or their softmax.

    Args:
        top_k: only so many nearest tokens count.
        temperature: weights exp(cosine / temperature) instead of the cosine.

    Raises:
        InputError: a value is out of range.
    """
    if top_k is not None and top_k < 1:
        raise InputError(f"--initialise-top-k {top_k} is below 1")
    if temperature is not None and not temperature > 0:
        raise InputError(f"--initialise-temperature {temperature} is not above 0")
    if top_k is None and temperature is None:
        return None

    def weigh(cosines: Tensor) -> Tensor:
        nearest = cosines.topk(min(top_k or cosines.size(1), cosines.size(1)))
        values = nearest.values
        if temperature is not None:
            values = torch.softmax(values / temperature, dim=1)
        return torch.zeros_like(cosines).scatter_(1, nearest.indices, values)

    return weigh


def sparsemax(scores: Tensor) -> Tensor:
    """The point of the simplex nearest to each row of scores (rows, n); most weights are 0.

    Martins and Astudillo 2016, arXiv 1602.02068, algorithm 1: weights max(0, score - t), with t such
    that they sum to 1. Among the k highest scores t is (their sum - 1) / k, for the largest k at
    which the k-th score is still above it.
    """
    descending = scores.sort(dim=1, descending=True).values
    counts = torch.arange(1, scores.size(1) + 1)
    thresholds = (descending.cumsum(1) - 1) / counts
    support = (descending > thresholds).sum(1, keepdim=True)
    return (scores - thresholds.gather(1, support - 1)).clamp(min=0)
