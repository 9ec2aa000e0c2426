import math
from collections import Counter

import numpy as np
import pytest
import torch

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.packs.start import vectors as module
from fairseq_minimodel.packs.start.vectors import TokenVectors, vectors_from_text

SYMBOLS = ["<s>", "<pad>", "</s>", "<unk>", *(f"▁w{index}" for index in range(8)), "<mask>"]


def text(lines=200, seed=0):
    """Lines of ids. Tokens 4 and 5 stand in the same contexts; 11 is rare."""
    generator = np.random.default_rng(seed)
    items = []
    for number in range(lines):
        line = generator.integers(6, 11, size=generator.integers(1, 9))
        if number % 2:
            line = np.concatenate([[6, generator.integers(4, 6), 7], line])
        items.append(np.append(line, 2))
    items.append(np.array([11, 6, 11, 2]))
    return items


def mutual_information(items):
    """Positive, smoothed: by loops over all pairs of positions."""
    pairs, counts = Counter(), Counter(token for item in items for token in item.tolist())
    kept = [token for token in range(4, 12) if counts[token] >= module.RAREST]
    for item in items:
        for here, token in enumerate(item.tolist()):
            for there, context in enumerate(item.tolist()):
                if here != there and abs(here - there) <= 5 and {token, context} <= set(kept):
                    pairs[token, context] += 1
    tokens, contexts = Counter(), Counter()
    for (token, context), count in pairs.items():
        tokens[token] += count
        contexts[context] += count
    smoothed = {context: count**0.75 for context, count in contexts.items()}
    total, all_smoothed = sum(pairs.values()), sum(smoothed.values())
    information = torch.zeros(len(kept), len(kept), dtype=torch.float64)
    for (token, context), count in pairs.items():
        probabilities = tokens[token] / total * smoothed[context] / all_smoothed
        information[kept.index(token), kept.index(context)] = max(
            0.0, math.log(count / total / probabilities)
        )
    return kept, information


def test_vectors_are_the_singular_vectors_of_the_mutual_information():
    kept, information = mutual_information(text())
    left, values, _ = torch.linalg.svd(information)
    wanted = (left * values.sqrt())[:, : len(kept) - 1]
    found = vectors_from_text(text(), SYMBOLS, "text")
    assert found.symbols == [SYMBOLS[token] for token in kept]
    assert 11 not in kept and 2 not in kept
    # signs are free: compare what they are used for
    torch.testing.assert_close(
        (found.vectors @ found.vectors.T).double(), wanted @ wanted.T, atol=1e-4, rtol=1e-4
    )


def test_tokens_of_like_contexts_are_near():
    found = vectors_from_text(text(2000), SYMBOLS, "text")
    unit = torch.nn.functional.normalize(found.vectors)
    cosines = dict(zip(found.symbols[1:], (unit[1:] @ unit[0]).tolist(), strict=True))
    assert max(cosines, key=cosines.get) == "▁w1" and cosines["▁w1"] > 0.9


def test_the_dimension_is_a_bound():
    assert vectors_from_text(text(), SYMBOLS, "text", dimension=3).vectors.shape == (7, 3)


def test_chunks_change_nothing(monkeypatch):
    whole = vectors_from_text(text(), SYMBOLS, "text")
    monkeypatch.setattr(module, "CHUNK", 100)
    assert torch.equal(vectors_from_text(text(), SYMBOLS, "text").vectors, whole.vectors)


def test_a_long_text_is_cut(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_TEXT", 500)
    items = text()
    read = [0]

    def reading():
        for item in items:
            read[0] += len(item)
            yield item

    vectors_from_text(reading(), SYMBOLS, "text")
    assert 500 <= read[0] < 520


def test_a_short_text_is_refused():
    with pytest.raises(InputError, match="mono has 0 tokens that occur 10 times"):
        vectors_from_text([np.array([4, 5, 2])], SYMBOLS, "mono")


@pytest.mark.parametrize("vectors", [torch.zeros(3, 0), torch.zeros(0, 3), torch.zeros(3)])
def test_vectors_without_a_width_are_refused(vectors):
    with pytest.raises(InputError, match="helper has vectors of shape"):
        TokenVectors(vectors, ["a"] * len(vectors), "helper")


def test_vectors_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match="infinities or NaN"):
        TokenVectors(torch.tensor([[math.nan]]), ["a"], "helper")
