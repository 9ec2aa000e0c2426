"""Scores as `evaluate`, `retrieve` and `perplexity` write them, and what they come to over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean
from typing import Any, NamedTuple

from ..files.records import shown
from .curves import Curve

AGAIN = "make the scores again with --json"

# How the examples call the variants, and how they are shown.
VARIANTS = {
    "standard": "Standard",
    "minijoint": "MiniJoint",
    "minipost": "MiniPost",
    "untrained": "untrained control",
}


@dataclass(frozen=True)
class Place:
    """What tells a score from others, in every row of scores."""

    language: str
    pack: str
    body: str | None = None
    data: str | None = None


class Score(NamedTuple):
    """One score of one pack, with its 95 % interval, and on how many items."""

    value: float
    low: float
    high: float
    items: int
    measure: str  # what is measured, its unit, and what chance gives
    chance: float | None  # in the unit of the score
    per_cent: bool  # a share, the higher the better; otherwise bits, the lower the better


def read_score(row: Mapping[str, Any]) -> Score:
    """The score in a row of the JSON of `evaluate`, `retrieve` or `perplexity`.

    Raises:
        KeyError, TypeError: it is no such row.
    """
    chance, scale = None, 100
    if "f1" in row:
        names, items, measure = ("f1", "f1_low", "f1_high"), "questions", "F1 (%)"
    elif "bits" in row:
        names, items, scale, measure = ("bits", "low", "high"), "masked", 1, "bits a masked token"
    elif "accuracies" in row:
        chance = 100 * _number(row, "chance")
        similarity = "csls" if "csls" in row["accuracies"] else "cosine"
        row = {**row, **row["accuracies"][similarity]["to English"]}
        names, items = ("value", "low", "high"), "pairs"
        by = "CSLS" if similarity == "csls" else "cosine"
        measure = f"pairs found, to English, by {by} (%; chance {chance:.1f} %)"
    else:
        chance = 100 * _number(row, "chance")
        names, items = ("accuracy", "low", "high"), "examples"
        measure = (
            f"accuracy (%; chance {chance:.1f} %, always the most frequent label "
            f"{100 * _number(row, 'majority'):.1f} %)"
        )
    value, low, high = (scale * _number(row, name) for name in names)
    return Score(value, low, high, int(_number(row, items)), measure, chance, scale == 100)


def _number(row: Mapping[str, Any], name: str) -> float:
    number = row[name]
    if isinstance(number, bool) or not isinstance(number, int | float) or not isfinite(number):
        raise TypeError(f"{name} is {shown(number)}, not a number")
    return number


class Summary(NamedTuple):
    """A score over seeds: mean, and the lowest and highest; of one seed its 95 % interval."""

    value: float
    low: float
    high: float


def summarise(scores: Sequence[Score]) -> Summary:
    """The mean over seeds with their range; of a single seed the score with its own interval."""
    if len(scores) == 1:
        return Summary(*scores[0][:3])
    values = [score.value for score in scores]
    return Summary(fmean(values), min(values), max(values))


def score_curve(name: str, points: Iterable[tuple[float, float]], control: float | None) -> Curve:
    """A variant's score over the FLOPs of its adaptation.

    Args:
        points: FLOPs of a pack's training and the pack's score, 0 to 1, in any order.
        control: score of a language side that was not trained, which stands at 0 FLOPs; None: of none.
    """
    points = sorted([*([] if control is None else [(0, control)]), *points])
    return Curve(name, [flops for flops, _ in points], [score for _, score in points])
