"""The loss of a projection to the vocabulary, and its gradients, against torch's own in float64."""

import itertools

import pytest
import torch
from torch.nn import functional

from fairseq_minimodel.nn.cross_entropy import linear_cross_entropy

ROWS, WIDTH, VOCABULARY = 7, 5, 11


def make(rows=ROWS, dtype=torch.float64, scale=1.0):
    """hidden, weight, bias and targets; of the targets two are the same."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((rows, WIDTH), (VOCABULARY, WIDTH), (VOCABULARY,))
    values = [
        (torch.randn(*shape, generator=generator, dtype=torch.float64) * scale).to(dtype)
        for shape in shapes
    ]
    target = torch.randint(0, VOCABULARY, (rows,), generator=generator)
    target[1:2] = target[:1]
    return *(value.requires_grad_() for value in values), target


def torchs_own(hidden, weight, bias, target):
    """Loss and gradients by separate steps in float64."""
    leaves = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight, bias)]
    loss = functional.cross_entropy(functional.linear(*leaves), target, reduction="sum")
    return loss.detach(), torch.autograd.grad(loss, leaves)


def check_gradients(tensors, expected, tolerance=1e-12):
    for tensor, gradient in zip(tensors, expected, strict=True):
        assert tensor.grad.dtype == tensor.dtype
        torch.testing.assert_close(tensor.grad.double(), gradient, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "block_elements",
    [1, VOCABULARY, 2 * VOCABULARY, 7 * VOCABULARY - 1, 7 * VOCABULARY, 2**24],
    ids=["less than a row", "a row", "two rows", "six rows", "all rows", "default"],
)
def test_loss_and_gradients_do_not_depend_on_the_blocks(block_elements):
    hidden, weight, bias, target = make()
    loss = linear_cross_entropy(hidden, weight, bias, target, block_elements)
    loss.backward()
    expected, gradients = torchs_own(hidden, weight, bias, target)
    assert loss.dtype == torch.float32 and loss.shape == ()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    check_gradients((hidden, weight, bias), gradients)


def test_so_many_logits_are_in_memory_at_a_time(monkeypatch):
    blocks = []
    linear = functional.linear
    monkeypatch.setattr(
        functional, "linear", lambda x, *others: blocks.append(len(x)) or linear(x, *others)
    )
    hidden, weight, bias, target = make()
    linear_cross_entropy(hidden, weight, bias, target, 3 * VOCABULARY + 2)
    assert blocks == [3, 3, 1]


def test_without_rows_loss_and_gradients_are_0():
    hidden, weight, bias, target = make(rows=0)
    loss = linear_cross_entropy(hidden, weight, bias, target)
    assert loss == 0
    (2 * loss).backward()
    for tensor in (hidden, weight, bias):
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))


@pytest.mark.parametrize("factor", [3.0, -0.5, 0.0])
def test_the_incoming_gradient_is_multiplied_in(factor):
    hidden, weight, bias, target = make()
    (factor * linear_cross_entropy(hidden, weight, bias, target, 2 * VOCABULARY)).backward()
    gradients = torchs_own(hidden, weight, bias, target)[1]
    check_gradients((hidden, weight, bias), [factor * gradient for gradient in gradients])


@pytest.mark.parametrize("rows", [ROWS, 0])
@pytest.mark.parametrize("needed", list(itertools.product([True, False], repeat=3))[:-1])
def test_only_what_is_trained_gets_a_gradient(needed, rows):
    *tensors, target = make(rows)
    for tensor, need in zip(tensors, needed, strict=True):
        tensor.requires_grad_(need)
    linear_cross_entropy(*tensors, target, 2 * VOCABULARY).backward()
    gradients = torchs_own(*tensors, target)[1]
    for tensor, need, gradient in zip(tensors, needed, gradients, strict=True):
        assert (tensor.grad is not None) == need
        if need:
            check_gradients([tensor], [gradient])


def test_without_gradients_there_is_a_loss():
    hidden, weight, bias, target = make()
    with torch.no_grad():
        loss = linear_cross_entropy(hidden, weight, bias, target)
    assert not loss.requires_grad
    expected = torchs_own(hidden, weight, bias, target)[0]
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)


def test_gradients_of_two_batches_add_up():
    """The first gradient is given away without a copy: nothing may write to it again."""
    hidden, weight, bias, target = make()
    for _ in range(2):
        linear_cross_entropy(hidden, weight, bias, target, 2 * VOCABULARY).backward()
    gradients = torchs_own(hidden, weight, bias, target)[1]
    check_gradients((hidden, weight, bias), [2 * gradient for gradient in gradients])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_logits_of_200_do_not_overflow(dtype):
    weight = torch.tensor([[200.0], [0.0], [-200.0]], dtype=dtype).requires_grad_()
    hidden = torch.tensor([[1.0], [1.0], [-1.0], [1.0]], dtype=dtype).requires_grad_()
    bias, target = torch.zeros(3, dtype=dtype).requires_grad_(), torch.tensor([0, 2, 0, 1])
    loss = linear_cross_entropy(hidden, weight, bias, target)
    # right and sure: 0; sure of the opposite: 400, twice; sure, and wrong by 200
    assert loss.item() == 0 + 400 + 400 + 200
    loss.backward()
    expected = torch.tensor([2 - 1.0, -1.0, 1 - 1.0], dtype=dtype)
    torch.testing.assert_close(bias.grad, expected, rtol=0, atol=1e-80)
    check_gradients((hidden, weight, bias), torchs_own(hidden, weight, bias, target)[1])


@pytest.mark.parametrize("block_elements", [VOCABULARY, 2**24], ids=["a row", "all rows"])
def test_with_hidden_states_in_bfloat16_it_is_close(block_elements):
    """Blocks are added up in the type of the weights: with many of them it is not further away."""
    hidden, weight, bias, target = make(rows=1000, dtype=torch.float32)
    hidden = hidden.detach().bfloat16().requires_grad_()
    loss = linear_cross_entropy(hidden, weight, bias, target, block_elements)
    loss.backward()
    expected, gradients = torchs_own(hidden, weight, bias, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=5e-3, atol=0)
    for tensor, gradient in zip((hidden, weight, bias), gradients, strict=True):
        assert tensor.grad.dtype == tensor.dtype
        error = (tensor.grad.double() - gradient).norm() / gradient.norm()
        assert error < 0.006
