"""Accuracy and its uncertainty: over test items (Wilson) and over seeds (Student's t)."""

import statistics
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from scipy import stats

from ..errors import InputError


class Accuracy(NamedTuple):
    """Share of right answers, 0 to 1, with the bounds of its Wilson 95 % interval."""

    value: float
    low: float
    high: float
    correct: int
    count: int


class SeedMean(NamedTuple):
    """Mean over seeds with its 95 % interval; a single seed has none, and its bounds are None."""

    value: float
    low: float | None
    high: float | None
    count: int


def accuracy(predictions: Sequence[Hashable], labels: Sequence[Hashable]) -> Accuracy:
    """Share of predictions equal to their label, with the interval of Wilson (1927).

    The interval says how far the accuracy on this test set may be from the accuracy on all such
    data; unlike the normal approximation it stays within 0 and 1.

    Raises:
        InputError: no items, or not one prediction per label.
    """
    _check_labels(labels)
    if len(predictions) != len(labels):
        raise InputError(f"{len(predictions)} predictions for {len(labels)} labels: need one each")
    correct = sum(a == b for a, b in zip(predictions, labels, strict=True))
    interval = stats.binomtest(correct, len(labels)).proportion_ci(0.95, method="wilson")
    return Accuracy(
        correct / len(labels), float(interval.low), float(interval.high), correct, len(labels)
    )


def majority_accuracy(labels: Sequence[Hashable]) -> float:
    """Accuracy of always answering the most frequent of these labels, 0 to 1."""
    _check_labels(labels)
    return max(Counter(labels).values()) / len(labels)


def chance_accuracy(classes: int) -> float:
    """Expected accuracy of guessing evenly among `classes` classes, 0 to 1."""
    if classes < 1:
        raise InputError(f"{classes} classes: chance needs at least 1")
    return 1 / classes


def mean_over_seeds(scores: Sequence[float]) -> SeedMean:
    """Mean of one score per seed, and the interval of Student's t with count - 1 degrees of freedom.

    Raises:
        InputError: no scores.
    """
    if len(scores) == 0:
        raise InputError("there are no scores to take the mean of: at least one seed must have run")
    mean, count = statistics.fmean(scores), len(scores)
    if count == 1:
        return SeedMean(mean, None, None, count)
    half = float(stats.t.ppf(0.975, count - 1)) * statistics.stdev(scores) / count**0.5
    return SeedMean(mean, mean - half, mean + half, count)


def _check_labels(labels: Sequence[Hashable]) -> None:
    if len(labels) == 0:
        raise InputError("there are no labels to compare with: the evaluation data is empty")
