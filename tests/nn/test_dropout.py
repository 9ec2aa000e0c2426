"""Our dropout against its definition: how many elements it drops, which, and what is left of them."""

import math

import pytest
import torch

from fairseq_minimodel.nn.dropout import add_dropout, dropout


def make(dtype, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("p", [0.1, 0.5, 3 / 2**16])
def test_the_share_of_zeros_is_p(p):
    torch.manual_seed(2)
    count = 2**21 + 3
    dropped = dropout(torch.ones(count), p) == 0
    probability = round(p * 2**16) / 2**16
    tolerance = 4 * math.sqrt(count * probability * (1 - probability))
    assert dropped.sum().item() == pytest.approx(count * probability, abs=tolerance)


@pytest.mark.parametrize(
    ("p", "dropped"),
    [
        (0.4 / 2**16, 0),
        (0.6 / 2**16, 1),
        (3 / 2**16, 3),
        (0.1, 6554),
        (0.5, 2**15),
        (0.999, 65470),
        (1 - 1e-9, 2**16 - 1),
    ],
)
def test_of_all_values_of_16_bits_the_right_number_is_dropped(p, dropped, monkeypatch):
    def every_value(bits, *_):
        return bits.copy_(torch.arange(-(2**15), 2**15).short().view(torch.int64))

    monkeypatch.setattr(torch.Tensor, "random_", every_value)
    assert (dropout(torch.ones(2**16), p) == 0).sum() == dropped


def test_the_elements_that_share_random_bits_are_independent():
    torch.manual_seed(3)
    rows, p = 400_000, 0.5
    dropped = (dropout(torch.ones(rows, 4), p) == 0).double()
    for left in range(4):
        for right in range(left):
            both = (dropped[:, left] * dropped[:, right]).sum().item()
            tolerance = 4 * math.sqrt(rows * p**2 * (1 - p**2))
            assert both == pytest.approx(rows * p**2, abs=tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (7,), (3, 5), (2, 3, 5), (0, 16), ()])
def test_the_others_are_divided_by_1_minus_p_and_the_gradient_is_masked_alike(dtype, shape):
    x = make(dtype, *shape).requires_grad_()
    torch.manual_seed(4)
    y = dropout(x, 0.25)
    incoming = make(dtype, *shape) + 3
    y.backward(incoming)
    mask = (y != 0).to(dtype)
    assert y.dtype == x.grad.dtype == dtype and y.shape == shape
    tolerance = {torch.float64: 1e-15, torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    for found, full in ((y, x), (x.grad, incoming)):
        torch.testing.assert_close(found, mask * full / 0.75, rtol=tolerance, atol=0)


def test_both_things_happen_in_a_small_tensor():
    torch.manual_seed(5)
    y = dropout(torch.ones(3, 5), 0.5)
    assert 0 < (y == 0).sum() < 15


def layouts():
    """The same numbers in different layouts, 6 x 10."""
    x = make(torch.float64, 6, 10)
    strided = torch.zeros(6, 20, dtype=torch.float64)
    strided[:, ::2] = x
    return {"rows": x, "columns": x.t().contiguous().t(), "every second": strided[:, ::2]}


@pytest.mark.parametrize("layout", ["columns", "every second"])
@pytest.mark.parametrize("function", [dropout, lambda x, p: add_dropout(x, x, p)])
def test_the_layout_in_memory_does_not_matter(layout, function):
    x = layouts()[layout]
    assert not x.is_contiguous()
    torch.manual_seed(6)
    expected = function(layouts()["rows"], 0.4)
    torch.manual_seed(6)
    assert torch.equal(function(x, 0.4), expected)


def test_an_expanded_gradient_is_masked_too():
    x = make(torch.float64, 6, 10).requires_grad_()
    y = dropout(x, 0.5)
    y.sum().backward()  # its gradient is one number, expanded
    torch.testing.assert_close(x.grad, (y != 0).double() * 2)


def test_without_dropout_the_tensor_itself_comes_back():
    x = make(torch.float32, 4)
    assert dropout(x, 0) is x
    assert torch.equal(add_dropout(x, x, 0), x + x)


def test_it_follows_the_seed_of_torch():
    x = torch.ones(1000)
    results = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        results.append(dropout(x, 0.5))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])
    assert not torch.equal(dropout(x, 0.5), dropout(x, 0.5))  # and goes on


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_added_dropout_is_the_sum_and_so_are_its_gradients(dtype):
    x, y = make(dtype, 5, 7).requires_grad_(), (make(dtype, 5, 7) - 1).requires_grad_()
    torch.manual_seed(9)
    dropped = dropout(y, 0.25).detach()
    torch.manual_seed(9)
    total = add_dropout(x, y, 0.25)
    tolerance = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(total, x + dropped, rtol=tolerance, atol=tolerance)
    incoming = make(dtype, 5, 7) + 3
    total.backward(incoming)
    assert torch.equal(x.grad, incoming)
    kept = (dropped != 0).to(dtype)
    torch.testing.assert_close(y.grad, kept * incoming / 0.75, rtol=tolerance, atol=0)
