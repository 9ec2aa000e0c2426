"""FOCUS: rows weighted sparsely by how near tokens are in the target text."""

import torch
from torch import Tensor

from .rule import Pair, Run
from .vectors import TokenVectors, vectors_from_text
from .weighted import WeightedMeans


class Focus(WeightedMeans):
    """Means of a few common rows, with vectors made from the target text and sparse weights.

    After Dobler and de Melo 2023, arXiv 2305.14481, whose vectors are fastText's.
    """

    name = "focus"
    other_rows = "mean of a few copied rows, weighted by the target text"

    def __init__(self, pair: Pair, generator: torch.Generator, vectors: TokenVectors) -> None:
        super().__init__(pair, generator, vectors, sparsemax)

    @classmethod
    def for_run(cls, pair: Pair, run: Run) -> "Focus":
        items, name = run.text()
        return cls(pair, run.generator, vectors_from_text(items, pair.symbols, name))


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
