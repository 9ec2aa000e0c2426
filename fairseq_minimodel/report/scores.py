"""What scores come to over seeds, and over compute."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from ..kinds.scores import Score
from .curves import Curve

# How the examples call the variants, and how they are shown.
VARIANTS = {
    "standard": "Standard",
    "minijoint": "MiniJoint",
    "minipost": "MiniPost",
    "untrained": "untrained control",
}


class Summary(NamedTuple):
    """A score over seeds: mean, and the lowest and highest; of one seed its 95 % interval."""

    value: float
    low: float
    high: float


def summarise(scores: Sequence[Score]) -> Summary:
    """The mean over seeds with their range; of a single seed the score with its own interval."""
    if len(scores) == 1:
        return Summary(scores[0].value, scores[0].low, scores[0].high)
    values = [score.value for score in scores]
    return Summary(fmean(values), min(values), max(values))


def score_curve(name: str, points: Iterable[tuple[float, float]], control: float | None) -> Curve:
    """A variant's score, 0 to 1, over the FLOPs of its adaptation; `points` in any order.

    `control` is the score of a language side that was not trained, which stands at 0 FLOPs.
    """
    points = sorted([*([] if control is None else [(0, control)]), *points])
    return Curve(name, [flops for flops, _ in points], [score for _, score in points])
