"""Attention in blocks against a plain loop over queries and the keys around them."""

import pytest
import torch
from torch.nn import functional

from fairseq_minimodel.nn.local_attention import Blocks


def plain(query, key, value, lengths, side):
    """Each real query, over the real keys at a distance up to `side`."""
    result = torch.zeros_like(query)
    for sequence, length in enumerate(lengths):
        for head in range(query.size(1)):
            q, k, v = (x[sequence, head] for x in (query, key, value))
            for place in range(length):
                near = slice(max(0, place - side), min(length, place + side + 1))
                scores = (k[near] * q[place]).sum(1) / q.size(1) ** 0.5
                weights = scores.exp() / scores.exp().sum()
                result[sequence, head, place] = (weights[:, None] * v[near]).sum(0)
    return result


@pytest.mark.parametrize("side", [1, 3, 4, 7])
@pytest.mark.parametrize("lengths", [[12, 12], [29, 13, 1], [28, 8, 9], [5]], ids=str)
def test_blocks_are_the_plain_loop(lengths, side):
    torch.manual_seed(3)
    shape = len(lengths), 2, max(lengths), 6
    query, key, value = (torch.randn(shape).double().requires_grad_() for _ in range(3))
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    blocks = Blocks.of(real, side)
    split = blocks.split(query), blocks.around(key), blocks.around(value)
    found = blocks.join(functional.scaled_dot_product_attention(*split, blocks.mask))
    kept = real[:, None, :, None]
    expected = plain(query, key, value, lengths, side)
    torch.testing.assert_close(found * kept, expected)
    signs = torch.randn(shape).double() * kept
    for one, other in zip(
        torch.autograd.grad((found * signs).sum(), (query, key, value)),
        torch.autograd.grad((expected * signs).sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_the_mask_grows_with_the_length_alone():
    sizes = [Blocks.of(torch.ones(1, length).bool(), 8).mask.numel() for length in (800, 1600)]
    assert sizes == [800 * 24, 1600 * 24]
