"""The alignment model against plain loops, written from Brown et al. 1993."""

import math
import random
from collections import defaultdict

import numpy as np
import pytest

from fairseq_minimodel.packs.start import ibm1
from fairseq_minimodel.packs.start.ibm1 import Texts, expected_counts, joined_counts

SOURCE, TARGET = 7, 5
EMPTY = None


def pairs_of(seed, count=30):
    generator = random.Random(seed)
    return [
        (
            [generator.randrange(SOURCE) for _ in range(generator.randint(1, 6))],
            [generator.randrange(TARGET) for _ in range(generator.randint(1, 5))],
        )
        for _ in range(count)
    ]


def texts_of(sides):
    return Texts(np.array([one for side in sides for one in side]), np.array(list(map(len, sides))))


def counts_by_loops(pairs, iterations):
    """One probability at a time. The empty word stands once before each source text."""
    t = defaultdict(lambda: 1.0)  # equal for all at first
    for _ in range(iterations):
        counts, totals = defaultdict(float), defaultdict(float)
        for source, target in pairs:
            source = [EMPTY, *source]
            for f in target:
                total = sum(t[f, e] for e in source)
                for e in source:
                    counts[f, e] += t[f, e] / total
                    totals[e] += t[f, e] / total
        t = {(f, e): count / totals[e] for (f, e), count in counts.items()}
    return counts


@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("block", [1, 40, ibm1.BLOCK])
def test_expected_counts_are_those_of_the_formula(iterations, block, monkeypatch):
    monkeypatch.setattr(ibm1, "BLOCK", block)
    pairs = pairs_of(iterations)
    source, target = map(texts_of, zip(*pairs, strict=True))
    counts = expected_counts(source, target, (SOURCE, TARGET), iterations).toarray()
    wanted = counts_by_loops(pairs, iterations)
    for e in range(SOURCE):
        for f in range(TARGET):
            assert counts[e, f] == pytest.approx(wanted.get((f, e), 0), rel=1e-9), (e, f)
    # each target token comes from one source token, or from none
    empty = sum(count for (_, e), count in wanted.items() if e is EMPTY)
    assert counts.sum() + empty == pytest.approx(target.sizes.sum())


def test_joined_counts_are_the_geometric_means_of_both_directions():
    pairs = pairs_of(7)
    source, target = map(texts_of, zip(*pairs, strict=True))
    told = []
    counts = joined_counts(source, target, (SOURCE, TARGET), told.append).toarray()
    there = counts_by_loops(pairs, ibm1.ITERATIONS)
    back = counts_by_loops([pair[::-1] for pair in pairs], ibm1.ITERATIONS)
    for e in range(SOURCE):
        for f in range(TARGET):
            wanted = math.sqrt(there.get((f, e), 0) * back.get((e, f), 0))
            assert counts[e, f] == pytest.approx(wanted, rel=1e-9)
    cells = sum((len(e) + 1) * len(f) + len(e) * (len(f) + 1) for e, f in pairs)
    assert sum(told) == ibm1.ITERATIONS * cells
