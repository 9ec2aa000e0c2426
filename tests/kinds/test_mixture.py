"""Mixing by entropy, against a plain loop with the gradient written out (Wang et al. 2021)."""

import numpy
import pytest
import torch

from fairseq_minimodel.kinds.mixture import Mixing, mix


def softmax(values):
    powers = numpy.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def entropies(logits):
    p = softmax(logits)
    return -(p * numpy.log(p)).sum(-1)


def plain_mix(logits, steps, rate):
    """Members x texts x classes, float64; dH/ds by hand."""
    scores = numpy.zeros(len(logits))
    for _ in range(steps):
        weights = softmax(scores)
        mixed = sum(weight * own for weight, own in zip(weights, logits, strict=True))
        p, h = softmax(mixed), entropies(mixed)
        # dH/dz_c = -p_c (log p_c + H), of the mean over texts
        by_logit = -p * (numpy.log(p) + h[:, None]) / len(mixed)
        by_weight = numpy.array([(by_logit * own).sum() for own in logits])
        scores = scores - rate * weights * (by_weight - weights @ by_weight)
    weights = softmax(scores)
    return numpy.tensordot(weights, logits, 1), weights


@pytest.mark.parametrize("steps", [0, 1, 10])
@pytest.mark.parametrize("rate", [10.0, 0.5])
def test_it_is_the_papers_descent(steps, rate):
    logits = 2 * numpy.random.default_rng(0).standard_normal((3, 5, 4))
    wanted, weights = plain_mix(logits, steps, rate)
    mixed, own = mix(torch.from_numpy(logits), Mixing(steps, rate))
    torch.testing.assert_close(mixed, torch.from_numpy(wanted), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(own, torch.from_numpy(weights), rtol=1e-9, atol=1e-9)
    if steps:
        assert entropies(wanted).mean() < entropies(logits.mean(0)).mean()
        assert own.max() > 1 / 3 + 1e-3
    else:
        assert own.tolist() == pytest.approx([1 / 3] * 3)


def test_a_member_that_is_sure_counts_more_than_one_that_knows_nothing():
    sure = torch.tensor([[4.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
    mixed, weights = mix(torch.stack([sure, 0.01 * torch.ones(2, 3)]), Mixing())
    assert weights[0] > 0.9 and mixed.argmax(-1).tolist() == [0, 1]
