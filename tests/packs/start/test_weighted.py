"""The formulas against plain loops in float64."""

import math
import random

import pytest
import torch

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.packs.start import weighted as module
from fairseq_minimodel.packs.start.clp import clp_weights
from fairseq_minimodel.packs.start.focus import sparsemax
from fairseq_minimodel.packs.start.weighted import combine

TOKENS, OTHERS, K, D = 13, 7, 5, 3


@pytest.fixture
def tables():
    generator = torch.Generator().manual_seed(0)
    # a common direction, so that most cosines are positive, as in trained embeddings
    return (
        torch.randn(TOKENS, K, generator=generator) + 1,
        torch.randn(OTHERS, K, generator=generator) + 1,
        torch.randn(OTHERS, D, generator=generator),
    )


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def means_by_loops(vectors, others, rows, weights_of):
    """Weighted means, a token and a dimension at a time."""
    result = []
    for vector in vectors.tolist():
        weights = weights_of([cosine(vector, other) for other in others.tolist()])
        total = sum(weights)
        result.append(
            [
                sum(w * row[dimension] for w, row in zip(weights, rows.tolist(), strict=True))
                / total
                for dimension in range(rows.size(1))
            ]
        )
    return torch.tensor(result)


def nearest(cosines, k):
    kept = sorted(range(len(cosines)), key=lambda index: -cosines[index])[:k]
    return [value if index in kept else 0.0 for index, value in enumerate(cosines)]


def softmax(cosines, temperature):
    return [math.exp(value / temperature) for value in cosines]


def top_softmax(cosines, k, temperature):
    kept = sorted(cosines, reverse=True)[k - 1]
    return [math.exp(value / temperature) if value >= kept else 0.0 for value in cosines]


@pytest.mark.parametrize(
    ("options", "weights_of"),
    [
        ({}, lambda cosines: cosines),
        ({"top_k": 3}, lambda cosines: nearest(cosines, 3)),
        ({"top_k": 1}, lambda cosines: nearest(cosines, 1)),
        ({"top_k": 100}, lambda cosines: cosines),
        ({"temperature": 0.2}, lambda cosines: softmax(cosines, 0.2)),
        ({"top_k": 2, "temperature": 0.1}, lambda cosines: top_softmax(cosines, 2, 0.1)),
    ],
)
def test_means_are_those_of_the_formula(tables, options, weights_of):
    means, found = combine(*tables, clp_weights(**options))
    assert found.all()
    torch.testing.assert_close(means, means_by_loops(*tables, weights_of), atol=2e-5, rtol=2e-5)


def test_sums_without_the_matrix_are_sums_with_it(tables):
    torch.testing.assert_close(
        combine(*tables), combine(*tables, lambda cosines: cosines), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("block", [1, OTHERS, 3 * OTHERS])
def test_blocks_change_nothing_and_bound_what_is_held(tables, block, monkeypatch):
    weigh, shapes = clp_weights(temperature=0.3), []
    whole = combine(*tables, weigh)
    monkeypatch.setattr(module, "BLOCK", block)
    blocks = combine(*tables, lambda cosines: shapes.append(cosines.shape) or weigh(cosines))
    torch.testing.assert_close(blocks, whole)
    assert max(rows * others for rows, others in shapes) <= max(block, OTHERS)
    assert sum(rows for rows, _ in shapes) == TOKENS


def test_the_plain_rule_holds_no_pairs_of_tokens():
    """Its products are counted: none is as large as tokens x others."""
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes = []

    class Spy(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            sizes.extend(out.numel() for out in [result] if isinstance(out, torch.Tensor))
            return result

    vectors, others, rows = torch.rand(500, 4), torch.rand(400, 4), torch.rand(400, 6)
    with Spy():
        combine(vectors, others, rows)
    assert 0 < max(sizes) <= 500 * 6
    sizes.clear()
    with Spy():
        combine(vectors, others, rows, lambda cosines: cosines)
    assert max(sizes) >= 500 * 400  # the spy sees it where it is there


def test_weights_that_cancel_give_no_mean():
    others = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    rows = torch.tensor([[1.0], [2.0], [4.0]])
    vectors = torch.tensor(
        [
            [0.0, 2.0],  # weights 0, 1, 0
            [0.0, -1.0],  # 0, -1, 0: they sum to less than 0
            [1.0, 0.0],  # 1, 0, -1: they sum to 0
            [0.0, 0.0],  # no direction
            [1.0, 0.01],  # 1, 0.01, -1: sum 0.01 against a length of 1.4
        ]
    )
    for weigh in (None, lambda cosines: cosines):
        means, found = combine(vectors, others, rows, weigh)
        assert found.tolist() == [True, False, False, False, False]
        assert means.tolist() == [[2.0], [0.0], [0.0], [0.0], [0.0]]


def test_what_is_a_mean_is_spread_no_wider_than_a_row():
    """What the bound means: over random rows, no mean varies more than the rows do."""
    generator = torch.Generator().manual_seed(1)
    vectors, others = (torch.randn(2000, 8, generator=generator) for _ in range(2))
    rows = torch.randn(2000, 400, generator=generator)
    means, found = combine(vectors, others, rows)
    assert 0.2 < found.float().mean() < 0.8  # half of them cancel out
    assert means[found].square().mean(1).max() < 1.3
    assert not means[~found].any()


def test_half_precision_is_computed_in_float32(tables):
    halves = [table.half() for table in tables]
    wanted = combine(*(table.float() for table in halves))
    torch.testing.assert_close(combine(*halves), wanted)


@pytest.mark.parametrize("options", [{"top_k": 0}, {"temperature": 0.0}, {"temperature": math.nan}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="--initialise-"):
        clp_weights(**options)


def simplex_projection(scores):
    """The threshold found by bisection instead of sorting."""
    low, high = min(scores) - 1, max(scores)
    for _ in range(200):
        middle = (low + high) / 2
        if sum(max(0.0, score - middle) for score in scores) > 1:
            low = middle
        else:
            high = middle
    return [max(0.0, score - high) for score in scores]


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    generator = random.Random(0)
    scores = [[generator.gauss(0, spread) for _ in range(9)] for spread in (0.01, 0.3, 1, 5)]
    scores.append([0.5] * 9)
    weights = sparsemax(torch.tensor(scores))
    torch.testing.assert_close(weights.sum(1), torch.ones(5))
    torch.testing.assert_close(
        weights, torch.tensor([simplex_projection(row) for row in scores]), atol=1e-6, rtol=1e-5
    )
    assert sparsemax(torch.tensor([[2.0, 0.0, 1.5]])).tolist() == [[0.75, 0.0, 0.25]]
