"""Masks: their share of zeros, their gradient, their bits, and the head that goes with them."""

import pytest
import torch
from torch.nn import functional

from fairseq_minimodel.modules.effective_weight import EffectiveLinear
from fairseq_minimodel.modules.mask import (
    BinaryMask,
    fixed_weights,
    initial_scores,
    pack_bits,
    unpack_bits,
)


@pytest.mark.parametrize("sparsity", [0.0, 0.05, 0.3, 0.5, 0.999])
@pytest.mark.parametrize("threshold", [0.01, 0.0, 0.5])
def test_the_share_of_zeros_at_the_start_is_exact(sparsity, threshold):
    torch.manual_seed(1)
    scores = initial_scores((70, 61), sparsity, threshold)
    assert (scores <= threshold).sum() == round(70 * 61 * sparsity)


def test_the_scores_are_distributed_as_in_the_paper():
    torch.manual_seed(2)
    scores = initial_scores((1000, 500), 0.05, 0.01)
    # U(-0.02, 0.58): its moments, its ends, and uniform in each of ten parts
    assert -0.02 <= scores.min() < -0.0199 and 0.5799 < scores.max() <= 0.58
    assert scores.mean().item() == pytest.approx(0.28, abs=0.001)
    parts = torch.histc(scores, 10, min=-0.02, max=0.58) / scores.numel()
    torch.testing.assert_close(parts, torch.full((10,), 0.1), atol=0.003, rtol=0)
    # the zeros are anywhere
    rows = (scores <= 0.01).float().mean(1)
    assert rows.max() < 0.15 and rows.min() < 0.05 < rows.max()


def test_the_layer_is_its_formula_and_passes_the_masks_gradient_to_the_scores():
    torch.manual_seed(3)
    linear = torch.nn.Linear(6, 4).double()
    linear.requires_grad_(False)
    layer = EffectiveLinear(linear, BinaryMask((4, 6), 0.4, 0.01).double())
    x = torch.randn(5, 6, dtype=torch.float64)
    mask = (layer.task_weight.scores > 0.01).double().requires_grad_()
    assert 0 < mask.sum() < 24
    expected = functional.linear(x, linear.weight * mask, linear.bias)
    found = layer(x)
    torch.testing.assert_close(found, expected)
    incoming = torch.randn_like(expected)
    (of_mask,) = torch.autograd.grad(expected, mask, incoming)
    (of_scores,) = torch.autograd.grad(found, layer.task_weight.scores, incoming)
    torch.testing.assert_close(of_scores, of_mask)
    assert (of_scores[mask == 0] != 0).all()  # a masked weight can come back


def test_masks_come_back_from_their_bits():
    generator = torch.Generator().manual_seed(4)
    shapes = [(3, 8), (5, 7), (1, 1), (16, 16)]
    masks = [torch.rand(shape, generator=generator) > 0.5 for shape in shapes]
    packed = pack_bits(masks)
    assert packed.dtype == torch.uint8 and len(packed) == 3 + 5 + 1 + 32
    for found, mask in zip(unpack_bits(packed, shapes), masks, strict=True):
        assert torch.equal(found, mask)
    # the first element is the highest bit
    assert pack_bits([torch.tensor([True] + 9 * [False])]).tolist() == [128, 0]
    with pytest.raises(ValueError, match="41 bytes of masks, and the shapes need 9"):
        unpack_bits(packed, shapes[:3])


def test_the_fixed_head_is_always_the_same():
    """Numbers of the legacy generator of NumPy, which never change: RandomState(1)."""
    first, second = fixed_weights([(2, 4), (3, 2)])
    drawn = [1.6243453636632417, -0.6117564136500754, -0.5281717522634557, -1.0729686221561705]
    torch.testing.assert_close(first[0], 0.02 * torch.tensor(drawn), rtol=1e-6, atol=1e-8)
    assert second.shape == (3, 2) and torch.equal(fixed_weights([(2, 4)])[0], first)


@pytest.mark.parametrize("width", [16, 256])
def test_the_fixed_head_is_drawn_as_bert_starts_at_any_width(width):
    weight = fixed_weights([(4096, width)])[0]
    assert weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert (weight.abs() > 0.04).float().mean().item() == pytest.approx(0.0455, rel=0.1)


def test_the_heads_of_version_0_1_0_are_known():
    first, second = fixed_weights([(2, 4), (3, 2)], uniform=True)
    drawn = [0.417022004702574, 0.7203244934421581, 0.00011437481734488664, 0.30233257263183977]
    torch.testing.assert_close(first[0], torch.tensor(drawn) - 0.5, rtol=1e-6, atol=1e-7)
    assert first.abs().max() <= 0.5 < second.abs().max() <= 0.7072
