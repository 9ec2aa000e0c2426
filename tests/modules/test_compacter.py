"""Hypercomplex layers against the matrix that they stand for, and the sizes of the paper."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.modules.adapter import Adapters
from fairseq_minimodel.modules.compacter import Compacter, HypercomplexLinear, SlowWeights


def make_layer(inputs, outputs, divisions):
    """Random numbers of order one everywhere, in float64."""
    torch.manual_seed(1)
    slow = SlowWeights(divisions).double()
    layer = HypercomplexLinear(inputs, outputs, slow).double()
    with torch.no_grad():
        slow.matrices.normal_()
        layer.bias.normal_()
    return layer, slow


def explicit_weight(layer, slow):
    """inputs x outputs, by the definition."""
    return sum(
        torch.kron(matrix, torch.outer(s, t))
        for matrix, s, t in zip(
            slow.matrices, layer.input_factors, layer.output_factors, strict=True
        )
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "divisions"), [(12, 8, 4), (8, 12, 4), (6, 9, 3), (5, 7, 1), (16, 4, 4)]
)
def test_it_is_the_sum_of_kronecker_products_and_so_are_its_gradients(inputs, outputs, divisions):
    layer, slow = make_layer(inputs, outputs, divisions)
    x = torch.randn(3, 5, inputs, dtype=torch.float64, requires_grad=True)
    parameters = [x, slow.matrices, *layer.parameters()]
    assert len(parameters) == 5
    found = layer(x)
    expected = x @ explicit_weight(layer, slow) + layer.bias
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    incoming = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, parameters, incoming),
        torch.autograd.grad(expected, parameters, incoming),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


class Sizes(TorchDispatchMode):
    """The numbers of elements of all tensors that are computed."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.seen.append(result.numel())
        return result


def test_the_weight_is_never_formed():
    layer, _ = make_layer(64, 64, 4)
    x = torch.randn(2, 64, dtype=torch.float64)
    with Sizes() as sizes:
        layer(x)
    # 4^4 numbers mix the pieces; everything else is of the size of the two tokens
    assert sizes.seen and max(sizes.seen) == 256 < 64 * 64


def test_the_slow_weights_are_one_tensor_elsewhere():
    slow = SlowWeights(4)
    adapter = Compacter(module_reduction=2).output_part(16, slow)
    assert not any("slow" in name for name in adapter.state_dict())
    adapter(torch.randn(2, 16)).sum().backward()
    assert slow.matrices.grad.any()


def test_the_sizes_of_the_paper():
    slow = SlowWeights(4)
    adapter = Compacter().output_part(768, slow)
    assert sum(parameter.numel() for parameter in adapter.parameters()) == 2376
    assert slow.matrices.numel() == 64


def test_the_start_is_that_of_the_paper():
    torch.manual_seed(2)
    slow = SlowWeights(16)
    assert slow.matrices.std().item() == pytest.approx(1e-4, rel=0.05)
    layer = HypercomplexLinear(16 * 50, 16 * 3, slow)
    for factors, length in ((layer.input_factors, 50), (layer.output_factors, 3)):
        bound = (2 * 6 / (length + 1)) ** 0.5  # Xavier-uniform, times sqrt(2)
        assert 0.9 * bound < factors.abs().max() <= bound
    assert not layer.bias.any()


def test_a_plain_adapter_starts_as_the_identity_and_a_hypercomplex_one_near_it():
    torch.manual_seed(3)
    x = torch.randn(4, 7, 16)
    plain = Adapters(module_reduction=4).output_part(16, None)
    assert torch.equal(plain(x), x)
    near = Compacter(module_reduction=4).output_part(16, SlowWeights(4))(x)
    assert not torch.equal(near, x)
    torch.testing.assert_close(near, x, atol=1e-5, rtol=0)


def test_an_adapter_is_its_formula():
    torch.manual_seed(4)
    adapter = Adapters(module_reduction=3).output_part(6, None).double()
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(5, 6, dtype=torch.float64)
    inner = x @ adapter.down.weight.T + adapter.down.bias
    inner = inner * (1 + torch.erf(inner / 2**0.5)) / 2
    expected = x + inner @ adapter.up.weight.T + adapter.up.bias
    torch.testing.assert_close(adapter(x), expected)


@pytest.mark.parametrize(("inputs", "outputs"), [(10, 8), (8, 6)])
def test_widths_that_do_not_divide_are_refused(inputs, outputs):
    with pytest.raises(InputError, match=f"from {inputs} to {outputs} does not divide into 4"):
        HypercomplexLinear(inputs, outputs, SlowWeights(4))
