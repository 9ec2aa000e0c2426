"""Topics of vectors by the nearest centroid."""

import math

import torch

from fairseq_minimodel.kinds.vectors import nearest_centroids


def test_the_nearest_centroid_is_that_of_a_plain_loop():
    generator = torch.Generator().manual_seed(1)
    vectors = 5 * torch.randn(30, 4, generator=generator, dtype=torch.float64)
    others = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    labels = [["c", "a", "b"][place % 3] for place in range(30)]
    expected = []
    for other in others.tolist():
        cosine = {}
        for name in "abc":
            mean = [0.0] * 4
            for vector, label in zip(vectors.tolist(), labels, strict=True):
                if label == name:
                    mean = [a + b / math.hypot(*vector) for a, b in zip(mean, vector, strict=True)]
            product = sum(a * b for a, b in zip(mean, other, strict=True))
            cosine[name] = product / math.hypot(*mean) / math.hypot(*other)
        expected.append(max(cosine, key=cosine.get))
    assert set(expected) == set("abc")
    assert nearest_centroids(vectors, labels, others) == expected
