"""Rotary positions and windows against plain formulas."""

import pytest
import torch

from fairseq_minimodel.nn.modern_body import Reach

THETA, WIDTH = 160_000.0, 8


def reach(lengths, window=None):
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return real, Reach.of(real, window, THETA, WIDTH)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_queries_and_keys_are_turned_by_their_positions(dtype):
    """As complex numbers: times exp(i place theta^(-2 j / width)). To the end of a long text."""
    _, of = reach([8192])
    x = torch.randn(1, 2, 8192, WIDTH).to(dtype)
    first, second = x.double().chunk(2, dim=-1)
    steps = THETA ** -(torch.arange(0, WIDTH, 2).double() / WIDTH)
    turns = torch.exp(1j * torch.arange(8192.0).double()[:, None] * steps)
    turned = torch.complex(first, second) * turns
    expected = torch.cat([turned.real, turned.imag], dim=-1)
    found = of.rotate(x)
    assert found.dtype == dtype
    tolerance = 0.005 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("window", "side"), [(None, 99), (8, 4), (9, 4), (1, 0)])
def test_a_token_attends_to_the_real_ones_around_it_and_no_row_is_empty(window, side):
    real, of = reach([30, 7, 1], window)
    mask = of.mask.expand(3, 1, 30, 30)
    for sequence in range(3):
        for query in range(30):
            expected = {
                key for key in range(30) if real[sequence, key] and abs(query - key) <= side
            }
            found = set(mask[sequence, 0, query].nonzero().flatten().tolist())
            assert found == expected | {query}


@pytest.mark.parametrize("window", [None, 8, 9])
def test_where_all_are_real_and_near_there_is_no_mask(window):
    assert reach([5, 5], window)[1].mask is None
    assert (reach([6, 6], window)[1].mask is None) == (window is None)
