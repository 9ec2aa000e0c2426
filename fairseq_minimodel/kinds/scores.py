"""The record of a score, whatever the kind, from what `evaluate`, `retrieve` and `perplexity` write."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from statistics import fmean
from typing import Any, NamedTuple

from ..files.records import shown
from .kind import Kind, Metric, Row
from .registry import KINDS

AGAIN = "make the scores again with --json"


@dataclass(frozen=True)
class Place:
    """What tells a score from others, in every row of scores."""

    language: str
    pack: str
    body: str | None = None
    data: str | None = None


@dataclass(frozen=True)
class Score:
    """One score of one pack in one body.

    Attributes:
        kind: of `KINDS`; metric: the name of one of its metrics.
        unit: of the value: "%" of a share, the higher the better; otherwise the lower the better.
        value, low, high: with its 95 % interval, in the unit.
        n: on how many items.
        chance: what guessing gives, in the unit; None: that is not known.
        body, pack, language, data: what was scored on what, as in `Place`.
        note: what else a reader must know.
        labels: what was measured of each label: numbers by name, shares 0 to 1 (`Kind.labels`).
    """

    kind: str
    metric: str
    unit: str
    value: float
    low: float
    high: float
    n: int
    chance: float | None
    language: str = ""
    pack: str = ""
    body: str | None = None
    data: str | None = None
    note: str = ""
    labels: Mapping[str, Mapping[str, float]] = field(default_factory=dict, compare=False)

    @property
    def per_cent(self) -> bool:
        return self.unit == "%"

    @property
    def measure(self) -> str:
        """What is measured, its unit, and what chance gives: "accuracy (%; chance 25.0 %)"."""
        chance = None if self.chance is None else f"chance {self.chance:.1f} %"
        about = [self.unit if self.per_cent else None, ", ".join(filter(None, [chance, self.note]))]
        return f"{self.metric} ({'; '.join(filter(None, about))})" if self.per_cent else self.metric


class Summary(NamedTuple):
    """A score over seeds: mean, and the lowest and highest; of one seed its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1f} ({self.low:.1f} to {self.high:.1f})"


def summarise(scores: Sequence[Score]) -> Summary:
    """The mean over seeds with their range; of a single seed the score with its own interval."""
    if len(scores) == 1:
        return Summary(scores[0].value, scores[0].low, scores[0].high)
    values = [score.value for score in scores]
    return Summary(fmean(values), min(values), max(values))


def row_of(
    kind: Kind, facts: Any, language: str, pack: str, data: str, body: str | None = None
) -> Row:
    """A row of JSON: the facts (a dataclass) that a kind found, and their place."""
    place = Place(language, pack, body, data)
    known = {name: value for name, value in asdict(place).items() if value is not None}
    return {"kind": kind.name, **known, **asdict(facts)}


def read_scores(row: Mapping[str, Any]) -> Iterator[Score]:
    """Yield all scores in a row of JSON, the one that stands for it first.

    Raises:
        KeyError, TypeError: it is not a row of scores.
    """
    kind = kind_of_row(row)
    place = {one.name: row[one.name] for one in fields(Place) if one.name in row}
    chance = 100 * _number(row, "chance") if "chance" in row else None
    found = [metric for metric in kind.metrics if _has(row, metric)]
    if not found:
        raise KeyError(kind.metrics[0].keys[0])
    try:
        note, labels = kind.note(row), kind.labels(row)
    except ValueError as error:  # text where a number is due
        raise TypeError(str(error)) from None
    for metric in found:
        scale = 100 if metric.unit == "%" else 1
        value, low, high = (scale * _number(row, key) for key in metric.keys)
        n = int(_number(row, kind.count))
        yield Score(
            kind.name, metric.name, metric.unit, value, low, high, n, chance, **place, note=note,
            labels=labels,
        )  # fmt: skip


def read_score(row: Mapping[str, Any]) -> Score:
    """The score that stands for a row of JSON; errors as in `read_scores`."""
    return next(read_scores(row))


def kind_of_row(row: Mapping[str, Any]) -> Kind:
    """The kind of a row of scores; up to version 0.1.0 its keys tell it."""
    if "kind" in row:
        return KINDS[row["kind"]]
    for kind in KINDS.values():
        if kind.metrics[0].keys[0].split("/")[0] in row:
            return kind
    raise KeyError("a score")


def _has(row: Mapping[str, Any], metric: Metric) -> bool:
    try:
        _find(row, metric.keys[0])
    except KeyError:
        return False
    return True


def _find(row: Mapping[str, Any], key: str) -> Any:
    for part in key.split("/"):
        row = row[part]
    return row


def _number(row: Mapping[str, Any], key: str) -> float:
    number = _find(row, key)
    if isinstance(number, bool) or not isinstance(number, int | float) or not isfinite(number):
        raise TypeError(f"{key} is {shown(number)}, not a number")
    return number
