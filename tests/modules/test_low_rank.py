"""Low-rank changes of weights against explicit formulas in float64, and their identity at the start."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.modules.effective_weight import EffectiveLinear
from fairseq_minimodel.modules.lora import LowRankSummand
from fairseq_minimodel.modules.low_rank import Bilinear, Kronecker
from fairseq_minimodel.modules.tarp import DynamicTARP, StaticTARP

OUTPUTS, INPUTS, RANK, DIVISIONS = 12, 8, 3, 4
CHANGES = {
    "lora": lambda: LowRankSummand(OUTPUTS, INPUTS, RANK, alpha=6.0),
    "bilinear": lambda: StaticTARP(*(Bilinear(OUTPUTS, INPUTS, RANK) for _ in range(2))),
    "kronecker": lambda: StaticTARP(
        *(Kronecker(OUTPUTS, INPUTS, RANK, DIVISIONS) for _ in range(2))
    ),
    "dynamic": lambda: DynamicTARP(OUTPUTS, INPUTS, RANK),
}


def make_layer(kind):
    torch.manual_seed(1)
    linear = nn.Linear(INPUTS, OUTPUTS)
    return EffectiveLinear(linear, CHANGES[kind]()), linear


def randomise(layer):
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer.double()


@pytest.mark.parametrize("kind", CHANGES)
def test_the_start_is_the_plain_layer_to_the_bit(kind):
    layer, linear = make_layer(kind)
    x = torch.randn(5, 7, INPUTS)
    assert torch.equal(layer.weight, linear.weight)
    assert torch.equal(layer(x), linear(x))
    # and yet there is a way out: the next step changes something
    layer(x).square().sum().backward()
    assert any(parameter.grad.any() for parameter in layer.task_weight.parameters())


def bilinear(product):
    return torch.einsum("or,ir->oi", product.left, product.right)


def kronecker(product):
    return sum(
        torch.kron(block, left @ right.T)
        for block, left, right in zip(product.blocks, product.left, product.right, strict=True)
    )


@pytest.mark.parametrize("kind", CHANGES)
def test_each_change_is_its_formula(kind):
    layer, _ = make_layer(kind)
    layer, x = randomise(layer), torch.randn(5, INPUTS, dtype=torch.float64)
    change, weight, bias = layer.task_weight, layer.kept_weight, layer.bias
    shift = torch.zeros(5, OUTPUTS, dtype=torch.float64)
    if kind == "lora":
        effective = weight + 6.0 / RANK * bilinear(change.product)
    elif kind == "dynamic":
        effective = weight * (1 + bilinear(change.scale))
        for row, token in enumerate(x):
            matrix = (token @ change.middle).view(RANK, RANK)
            shift[row] = change.left @ (matrix.T @ (change.right.T @ token))
    else:
        explicit = bilinear if kind == "bilinear" else kronecker
        effective = weight * (1 + explicit(change.scale)) + explicit(change.additive)
    expected = functional.linear(x, effective, bias) + shift
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", CHANGES)
def test_every_parameter_has_a_gradient_once_nothing_is_zero(kind):
    layer, _ = make_layer(kind)
    layer = randomise(layer)
    layer(torch.randn(5, INPUTS, dtype=torch.float64)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert (parameter.grad != 0).all(), name


@pytest.mark.parametrize("kind", ["bilinear", "kronecker", "lora"])
def test_the_rank_is_what_was_asked_for(kind):
    torch.manual_seed(2)
    product = Bilinear(24, 16, 2) if kind != "kronecker" else Kronecker(24, 16, 2, 4)
    nn.init.normal_(product.left)
    rank = torch.linalg.matrix_rank(product())
    assert rank == (2 if kind != "kronecker" else 16)  # sum of four terms of rank 4 * 2, at most 16


def test_the_state_dict_of_the_kept_weight_is_that_of_a_plain_layer():
    layer, linear = make_layer("bilinear")
    plain = nn.Linear(INPUTS, OUTPUTS)
    state = layer.state_dict()
    parts = {name: tensor for name, tensor in state.items() if "task_weight" not in name}
    plain.load_state_dict(parts, strict=True)
    assert plain.weight is not linear.weight and torch.equal(plain.weight, linear.weight)
    assert layer.kept_weight is linear.weight and dict(layer.named_parameters())["weight"] is (
        linear.weight
    )
    assert layer.to(torch.float64).weight.dtype == torch.float64


def test_blocks_that_do_not_divide_are_refused():
    with pytest.raises(InputError, match="weight of 12 x 8 does not divide into 5 x 5"):
        Kronecker(12, 8, 2, 5)
