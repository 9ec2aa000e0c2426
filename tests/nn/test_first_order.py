"""Inner steps against gradient descent written out, and the way back to the bit."""

import pytest
import torch
from torch import nn

from fairseq_minimodel.nn.first_order import adapted


def test_the_steps_are_gradient_descent_and_are_taken_back():
    torch.manual_seed(1)
    first, second = (nn.Parameter(torch.randn(3, dtype=torch.float64)) for _ in range(2))
    start = [first.detach().clone(), second.detach().clone()]
    target = torch.randn(3, dtype=torch.float64)
    unused = nn.Parameter(torch.ones(2))

    def loss():
        return ((first * second - target) ** 2).sum()

    a, b = (value.clone() for value in start)
    for _ in range(3):
        error = a * b - target
        a, b = a - 0.01 * 2 * error * b, b - 0.01 * 2 * error * a
    with adapted([first, second, unused], loss, 3, "sgd", 0.01):
        torch.testing.assert_close(first.detach(), a, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(second.detach(), b, rtol=1e-14, atol=1e-14)
        loss().backward()
    assert torch.equal(first, start[0]) and torch.equal(second, start[1])
    # what was accumulated is the gradient at the adapted point alone
    torch.testing.assert_close(first.grad, 2 * (a * b - target) * b, rtol=1e-12, atol=1e-12)
    assert unused.grad is None


def test_adam_begins_anew_in_each_block():
    """Kingma and Ba 2015, algorithm 1, two steps from no state."""
    start = torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64)
    parameter, target = nn.Parameter(start.clone()), torch.tensor([1.0, -2.5, 2.9])
    value, mean, square = start.clone(), 0, 0
    for step in (1, 2):
        gradient = 2 * (value - target)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        corrected = (square / (1 - 0.999**step)).sqrt()
        value = value - 0.01 * mean / (1 - 0.9**step) / (corrected + 1e-8)
    for _ in range(2):
        with adapted([parameter], lambda: (parameter - target).square().sum(), 2, "adam", 0.01):
            torch.testing.assert_close(parameter.detach(), value, rtol=1e-6, atol=0)
        assert torch.equal(parameter, start)


def test_the_way_back_is_taken_when_the_block_fails():
    parameter = nn.Parameter(torch.randn(5, dtype=torch.float16))
    start = parameter.detach().clone()
    with (
        pytest.raises(RuntimeError, match="out of memory"),
        adapted([parameter], lambda: parameter.square().sum(), 2, "sgd", 0.3),
    ):
        assert not torch.equal(parameter, start)
        raise RuntimeError("out of memory")
    assert torch.equal(parameter, start)


def test_small_gradients_survive_half_precision():
    parameter = nn.Parameter(torch.zeros(4, dtype=torch.float16))
    factor = torch.full((4,), 2e-3, dtype=torch.float16)
    # the gradient, 2e-3 * 1e-5, is below float16's smallest number, 6e-8
    with adapted([parameter], lambda: (parameter * factor).sum().float() * 1e-5, 1, "sgd", 1000.0):
        torch.testing.assert_close(
            parameter.detach().float(), torch.full((4,), -2e-5), rtol=0.02, atol=0.0
        )


def test_it_works_where_gradients_are_off():
    parameter = nn.Parameter(torch.ones(1))
    with torch.no_grad(), adapted([parameter], lambda: parameter.square().sum(), 1, "sgd", 0.25):
        assert parameter.item() == 0.5
