"""Bodies made for sentence vectors, and how well the vectors tell how similar two sentences are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy

from ..errors import InputError
from . import VECTORS
from .kind import Kind, Metric, Row, shares
from .masked import PACK

DIGITS = 6  # of a vector in JSON, behind the point


@dataclass(frozen=True)
class Similarity:
    """How the cosines of pairs of sentences follow what people say of them.

    Attributes:
        pairs: how many.
        spearman, low, high: Spearman's rank correlation, -1 to 1, and its 95 % interval.
        truncated: sentences that were cut because they are longer than the body reads.
    """

    pairs: int
    spearman: float
    low: float
    high: float
    truncated: int


class Correlation(NamedTuple):
    """A rank correlation with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def rank_correlation(ours: Sequence[float], theirs: Sequence[float]) -> Correlation:
    """Spearman's correlation, with an interval by Fisher's transformation.

    The variance of the transformed value is (1 + r^2 / 2) / (n - 3) (Bonett and Wright 2000,
    *Sample size requirements for estimating Pearson, Kendall and Spearman correlations*).

    Raises:
        InputError: there are fewer than four pairs, or all of one side are equal.
    """
    from scipy import stats  # takes half a second, which training need not wait for

    if len(ours) < 4 or len(set(theirs)) == 1 or len(set(ours)) == 1:
        raise InputError(
            f"{len(ours)} pairs say nothing of a correlation: give at least 4 with different scores"
        )
    value = float(stats.spearmanr(ours, theirs).statistic)
    if abs(value) == 1:
        return Correlation(value, value, value)
    error = NormalDist().inv_cdf(0.975) * math.sqrt((1 + value**2 / 2) / (len(ours) - 3))
    middle = math.atanh(value)
    return Correlation(value, math.tanh(middle - error), math.tanh(middle + error))


def similarity(
    first: numpy.ndarray, second: numpy.ndarray, scores: Sequence[float], truncated: int
) -> Similarity:
    """How the cosines of vectors (pairs x width) follow scores."""
    norms = numpy.linalg.norm(first, axis=1) * numpy.linalg.norm(second, axis=1)
    cosines = (first * second).sum(axis=1) / numpy.maximum(norms, 1e-12)
    return Similarity(len(scores), *rank_correlation(cosines.tolist(), scores), truncated)


def _ask(
    model: Any, texts: Sequence[Sequence[str]], language: Sequence[str] | None = None
) -> list[object]:
    """The vector of each text.

    Args:
        language: of each text; None: the current one.
    """
    vectors = model.encode([text for (text,) in texts], language=language)
    return [[round(number, DIGITS) for number in vector] for vector in vectors.tolist()]


def _interval(row: Row) -> str:
    return shares(row["low"], row["high"])


KIND = Kind(
    name=VECTORS,
    tasks={"sentence_distillation": PACK},
    trained="was trained for sentence vectors",
    method="encode",
    loss_unit="for each text",
    text_keys=(("text",),),
    ask=_ask,
    rows="pairs of sentences",
    count="pairs",
    metrics=(Metric("Spearman's correlation", ("spearman", "low", "high"), hub="spearmanr"),),
    form=Similarity,
    columns=(
        ("pairs", lambda row: row["pairs"]),
        ("Spearman's correlation (%)", lambda row: f"{100 * row['spearman']:.1f}"),
        ("95 % interval", _interval),
    ),
    pipeline="sentence-similarity",
)
