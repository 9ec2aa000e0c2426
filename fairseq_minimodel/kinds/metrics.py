"""Accuracy and its uncertainty over test items."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from ..errors import InputError


class Accuracy(NamedTuple):
    """Share of right answers, 0 to 1, with the bounds of its Wilson 95 % interval."""

    value: float
    low: float
    high: float
    correct: int
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
    from scipy import stats  # takes half a second, which training need not wait for

    correct = sum(a == b for a, b in zip(predictions, labels, strict=True))
    interval = stats.binomtest(correct, len(labels)).proportion_ci(0.95, method="wilson")
    return Accuracy(
        correct / len(labels), float(interval.low), float(interval.high), correct, len(labels)
    )


def majority_accuracy(labels: Sequence[Hashable]) -> float:
    """Accuracy of always answering the most frequent of these labels, 0 to 1."""
    _check_labels(labels)
    return max(Counter(labels).values()) / len(labels)


def _check_labels(labels: Sequence[Hashable]) -> None:
    if len(labels) == 0:
        raise InputError("there are no labels to compare with: the evaluation data is empty")
