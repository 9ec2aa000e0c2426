"""Against values worked out by hand from the textbook formulas."""

import pytest

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.kinds.metrics import (
    accuracy,
    majority_accuracy,
)


def test_accuracy_with_wilson_interval():
    # z = 1.95996, z^2 = 3.84146, p = 0.8, n = 10:
    # centre (0.8 + z^2 / 20) / (1 + z^2 / 10) = 0.992073 / 1.384146 = 0.71674
    # half   z sqrt(0.16 / 10 + z^2 / 400) / 1.384146 = 0.22659
    result = accuracy(list("aaaaabbbbb"), list("aaaaabbbcc"))
    assert (result.correct, result.count, result.value) == (8, 10, 0.8)
    assert result.low == pytest.approx(0.49016, abs=1e-5)
    assert result.high == pytest.approx(0.94332, abs=1e-5)


def test_wilson_interval_of_a_perfect_score_is_not_empty():
    # p = 1: from 1 / (1 + z^2 / n) to 1, here 4 / 7.84146.
    result = accuracy([0, 1, 2, 1], [0, 1, 2, 1])
    assert result.low == pytest.approx(0.51011, abs=1e-5)
    assert result.high == 1.0


def test_majority():
    assert majority_accuracy(["x", "y", "y", "z", "y"]) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: accuracy([], []), "no labels"),
        (lambda: accuracy([1], [1, 2]), "1 predictions for 2 labels"),
        (lambda: majority_accuracy([]), "no labels"),
    ],
)
def test_empty_or_uneven_input_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
