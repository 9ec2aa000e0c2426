"""The alignment model against plain loops, written from the papers."""

import math
import random
from collections import defaultdict

import numpy as np
import pytest

from fairseq_minimodel.packs.start import alignment
from fairseq_minimodel.packs.start.alignment import Texts, expected_counts, joined_counts

SOURCE, TARGET = 7, 5
EMPTY = None


def pairs_of(seed, count=30, lengths=(1, 6)):
    generator = random.Random(seed)
    return [
        (
            [generator.randrange(SOURCE) for _ in range(generator.randint(*lengths))],
            [generator.randrange(TARGET) for _ in range(generator.randint(1, 5))],
        )
        for _ in range(count)
    ]


def texts_of(sides):
    return Texts(np.array([one for side in sides for one in side]), np.array(list(map(len, sides))))


def counts_by_loops(pairs, iterations=5, prior=None):
    """Brown et al. 1993, one probability at a time; the empty word stands before each source text.

    Args:
        prior: p(a_i = j | i, m, n), j = 0 for the empty word; None: that of model 1.
    """
    t = defaultdict(lambda: 1.0)  # equal for all at first
    for _ in range(iterations):
        counts, totals = defaultdict(float), defaultdict(float)
        for source, target in pairs:
            source, n, m = [EMPTY, *source], len(source), len(target)
            for i, f in enumerate(target, start=1):
                p = [prior(i, j, m, n) if prior else 1 / (n + 1) for j in range(n + 1)]
                total = sum(p[j] * t[f, e] for j, e in enumerate(source))
                for j, e in enumerate(source):
                    counts[f, e] += p[j] * t[f, e] / total
                    totals[e] += p[j] * t[f, e] / total
        t = {(f, e): count / totals[e] for (f, e), count in counts.items()}
    return counts


def diagonal(tension, from_none):
    """Dyer et al. 2013, equations 1 and 2, with the middles of tokens for their ends."""

    def weight(i, j, m, n):
        return math.exp(-tension * abs((i - 0.5) / m - (j - 0.5) / n))

    def prior(i, j, m, n):
        if j == 0:
            return from_none
        return (
            (1 - from_none)
            * weight(i, j, m, n)
            / sum(weight(i, other, m, n) for other in range(1, n + 1))
        )

    return prior


def check(counts, wanted):
    for e in range(SOURCE):
        for f in range(TARGET):
            assert counts[e, f] == pytest.approx(wanted.get((f, e), 0), rel=1e-5), (e, f)


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_without_tension_it_is_model_1(iterations):
    """Where all source texts have three words, one of four is the empty one."""
    pairs = pairs_of(iterations, lengths=(3, 3))
    source, target = map(texts_of, zip(*pairs, strict=True))
    counts = expected_counts(source, target, (SOURCE, TARGET), iterations, 0.0, 0.25)
    check(counts.toarray(), counts_by_loops(pairs, iterations))


@pytest.mark.parametrize("tension", [0.0, 4.0])
@pytest.mark.parametrize("block", [1, 40, alignment.BLOCK])
def test_places_are_preferred_as_in_fast_align(tension, block, monkeypatch):
    monkeypatch.setattr(alignment, "BLOCK", block)
    pairs = pairs_of(6)
    source, target = map(texts_of, zip(*pairs, strict=True))
    counts = expected_counts(source, target, (SOURCE, TARGET), 3, tension, 0.1).toarray()
    wanted = counts_by_loops(pairs, 3, diagonal(tension, 0.1))
    check(counts, wanted)
    # each target token comes from one source token, or from none
    empty = sum(count for (_, e), count in wanted.items() if e is EMPTY)
    assert counts.sum() + empty == pytest.approx(target.sizes.sum())


def test_joined_counts_are_the_geometric_means_of_both_directions():
    pairs = pairs_of(7)
    source, target = map(texts_of, zip(*pairs, strict=True))
    told = []
    counts = joined_counts(source, target, (SOURCE, TARGET), told.append).toarray()
    prior = diagonal(alignment.TENSION, alignment.FROM_NONE)
    there = counts_by_loops(pairs, alignment.ITERATIONS, prior)
    back = counts_by_loops([pair[::-1] for pair in pairs], alignment.ITERATIONS, prior)
    check(counts, {(f, e): math.sqrt(there[f, e] * back.get((e, f), 0)) for f, e in list(there)})
    cells = sum(len(e) * len(f) for e, f in pairs)
    assert sum(told) == 2 * alignment.ITERATIONS * cells
