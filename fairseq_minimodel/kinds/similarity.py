"""Bodies made for sentence vectors, and how well the vectors tell how similar two sentences are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy

from ..errors import InputError
from . import VECTORS
from .examples import Example, read_examples
from .kind import Body, Kind, Metric, Options, Row, Speaker, shares
from .masked import PACK
from .vectors import text_vectors, vectors_of

FEWEST = 4  # pairs with which a correlation has an interval
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

    if len(ours) < FEWEST or len(set(theirs)) == 1 or len(set(ours)) == 1:
        raise InputError(
            f"{len(ours)} pairs say nothing of a correlation: give at least {FEWEST} with different "
            "scores"
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


class Similarities:
    """A body made for sentence vectors, to be scored on pairs of sentences.

    Args:
        name: of the body.
        body: says how it makes sentence vectors.
    """

    settings = None

    def __init__(self, name: str, body: Body) -> None:
        self.layer, self.longest = vectors_of(body, None)
        if self.layer is not None:
            raise InputError(f"{name} does not say how it makes sentence vectors")

    def check(self, examples: Sequence[Example], language: str, data: str) -> None:
        """Refuse what is not two sentences and a number with an `InputError`."""
        for example in examples:
            place = example.place(data)
            if len(example.texts) != 2:
                raise InputError(
                    f"{place}: give two --text-columns, one for each sentence, or --centroids if the "
                    "label is not a number"
                )
            _score(example, place)
        if len(examples) < FEWEST:
            raise InputError(f"{data} has {len(examples)} pairs: give at least {FEWEST}")

    def score(self, speaker: Speaker, examples: Sequence[Example], language: str) -> Similarity:
        """How the cosines of the pairs follow the scores that people gave them."""
        texts = [text for example in examples for text in example.texts]
        vectors, cut = text_vectors(speaker, texts, None, self.longest)
        scores = [_score(example, "") for example in examples]
        return similarity(vectors[::2], vectors[1::2], scores, cut)


def _score(example: Example, place: str) -> float:
    try:
        score = float(example.label or "")
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise InputError(f"{place}: {example.label!r} is not a number: name its --label-column")
    return score


def _read(path: Path, options: Options) -> list[Example]:
    columns, label = options.get("text_columns", ("text",)), options.get("label_column", "label")
    return list(read_examples(path, columns, label))


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
    read=_read,
    form=Similarity,
    solver=lambda name, body, record, options: Similarities(name, body),
    columns=(
        ("pairs", lambda row: row["pairs"]),
        ("Spearman's correlation (%)", lambda row: f"{100 * row['spearman']:.1f}"),
        ("95 % interval", _interval),
    ),
    pipeline="sentence-similarity",
)
