"""Vectors of tokens in another space than the model's, and how to make them from text."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from ...errors import InputError
from ...terminal.progress import waiting
from ...vocabulary.symbols import SPECIAL_SYMBOLS

WINDOW = 5  # tokens to either side that count as a token's context
SMOOTHING = 0.75  # exponent of the contexts' frequencies (Levy, Goldberg and Dagan 2015)
RAREST = 10  # occurrences that a token needs for a vector, as in FOCUS
LONGEST_TEXT = 10_000_000  # tokens
CHUNK = 1_000_000  # tokens whose pairs are counted at once


@dataclass(frozen=True)
class TokenVectors:
    """Vectors (tokens x k) of some tokens. Special symbols among them are not used.

    Attributes:
        origin: where they come from, for messages: a path.

    Raises:
        InputError: the vectors have no width, or hold infinities or NaN.
    """

    vectors: Tensor
    symbols: list[str]
    origin: str

    def __post_init__(self) -> None:
        if self.vectors.dim() != 2 or 0 in self.vectors.shape:
            raise InputError(
                f"{self.origin} has vectors of shape {tuple(self.vectors.shape)}: there is nothing "
                "in them to compare tokens by"
            )
        if not self.vectors.isfinite().all():
            raise InputError(f"{self.origin} has vectors that hold infinities or NaN")


def vectors_from_text(
    items: Iterable[np.ndarray], symbols: Sequence[str], origin: str, dimension: int = 300
) -> TokenVectors:
    """Vectors of the tokens of a text: tokens in similar contexts have similar vectors.

    The singular vectors of the positive pointwise mutual information of tokens and their contexts,
    times the square root of the singular values (Levy and Goldberg 2014, *Neural Word Embedding as
    Implicit Matrix Factorization*; smoothed contexts as in Levy, Goldberg and Dagan 2015). For the
    same text they are the same numbers. Tokens that occur fewer than `RAREST` times get none, nor do
    the special symbols.

    Args:
        items: ids (tokens,) of one line of text each; contexts do not cross lines. The first
            `LONGEST_TEXT` tokens are used.
        symbols: the symbol of each id.
        origin: name of the text, for messages.
        dimension: k; less where there are fewer tokens.

    Raises:
        InputError: the text is too short for any vector.
    """
    with waiting(f"vectors from {origin}"):
        together, occurrences = _count(items, len(symbols))
        special = [row for row, symbol in enumerate(symbols) if symbol in SPECIAL_SYMBOLS]
        occurrences[special] = 0
        kept = np.flatnonzero(occurrences >= RAREST)
        if len(kept) < 2:
            raise InputError(
                f"{origin} has {len(kept)} tokens that occur {RAREST} times or more: it is too short "
                "for --initialise focus"
            )
        association = _positive_mutual_information(together[kept][:, kept])
        left, values, _ = randomized_svd(
            association, min(dimension, len(kept) - 1), random_state=0, n_iter=4
        )
        vectors = torch.from_numpy((left * np.sqrt(values)).astype(np.float32))
        return TokenVectors(vectors, [symbols[row] for row in kept], origin)


def _count(items: Iterable[np.ndarray], size: int) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """How often token and context stand at most `WINDOW` apart (V x V), and each token (V,)."""
    together = scipy.sparse.csr_array((size, size), dtype=np.float32)
    occurrences = np.zeros(size, np.int64)
    for text in _chunks(items):
        occurrences += np.bincount(text[text >= 0], minlength=size)
        pairs = np.concatenate(
            [np.stack([text[:-distance], text[distance:]]) for distance in range(1, WINDOW + 1)],
            axis=1,
        )
        pairs = pairs[:, (pairs >= 0).all(0)]
        ones = np.ones(pairs.shape[1], np.float32)
        together = together + scipy.sparse.coo_array((ones, tuple(pairs)), (size, size)).tocsr()
    return (together + together.T).tocsr(), occurrences


def _chunks(items: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    """Several items at a time, with a gap of -1 after each that no window reaches over."""
    gap = np.full(WINDOW, -1)
    chunk, tokens, total = [], 0, 0
    for item in items:
        chunk += [item, gap]
        tokens += len(item)
        if tokens >= CHUNK or total + tokens >= LONGEST_TEXT:
            yield np.concatenate(chunk)
            chunk, tokens, total = [], 0, total + tokens
            if total >= LONGEST_TEXT:
                return
    if chunk:
        yield np.concatenate(chunk)


def _positive_mutual_information(together: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """max(0, log p(token, context) / (p(token) p(context))), contexts smoothed."""
    pairs = together.tocoo()
    tokens, contexts = together.sum(1), together.sum(0) ** SMOOTHING
    information = (
        np.log(pairs.data)
        - np.log(tokens[pairs.row])
        - np.log(contexts[pairs.col])
        + math.log(contexts.sum())
    )
    positive = information > 0
    places = (pairs.row[positive], pairs.col[positive])
    return scipy.sparse.csr_array((information[positive], places), together.shape)
