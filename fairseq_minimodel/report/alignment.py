"""Whether two languages share a space: nearest neighbours of token embeddings across languages.

What means the same in two languages should have like embeddings, because one body reads both. Looked
at here are the token embeddings of two packs of one lineage, by their cosine.
"""

import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from ..packs.pack import LanguagePack
from ..vocabulary.matching import matches, spelled_out, texts
from ..vocabulary.symbols import SPECIAL_SYMBOLS
from ..vocabulary.tokenizers import read_counts

_CHUNK = 512  # rows compared with all others at once
_LETTERS = ("L", "M")  # Unicode's categories of letters, and of marks that belong to them


class Neighbour(NamedTuple):
    """A source token, and how near it is."""

    text: str
    cosine: float


@dataclass(frozen=True)
class Alignment:
    """How the tokens of a pack lie among those of the source language's pack.

    Attributes:
        words: frequent words with their nearest words in the source, the nearest first.
        same: tokens of both languages, by text, whose nearest source token is the same text.
        compared: how many tokens of both languages were looked at.
        chance: the share that guessing would give.
    """

    words: list[tuple[str, list[Neighbour]]]
    same: int
    compared: int
    chance: float


def align(
    target: LanguagePack,
    source: LanguagePack,
    words: int = 20,
    neighbours: int = 3,
    most_compared: int = 2000,
) -> Alignment:
    """Look up the nearest source tokens of a pack's tokens.

    Two things are looked at. Words: tokens of two letters or more that begin a word, the most
    frequent by the counts in the pack's dict.txt of those that the source does not have, with the
    nearest such tokens of the source. And tokens of the same text in both: how often the nearest of
    all source tokens, the special symbols apart, is that very text.

    Args:
        target, source: packs of one width.
        words: how many words.
        neighbours: of each word.
        most_compared: tokens of both, the most frequent.
    """
    symbols, others = (spelled_out(pack.symbols, pack.dictionary) for pack in (target, source))
    target_texts, source_texts = texts(symbols), texts(others)
    both = matches(symbols, others)
    order = [row for row in _by_frequency(target) if symbols[row] not in SPECIAL_SYMBOLS]
    frequent = [row for row in order if row not in both and is_word(target_texts[row])][:words]
    compared = [row for row in order if row in both][:most_compared]
    ordinary = [row for row, symbol in enumerate(others) if symbol not in SPECIAL_SYMBOLS]
    source_words = [row for row in ordinary if is_word(source_texts[row])]
    mine, its = target.side.embedding, source.side.embedding
    found = [
        (
            target_texts[row].strip(),
            [Neighbour(source_texts[source_words[place]], cosine) for cosine, place in near],
        )
        for row, near in zip(
            frequent, nearest_rows(mine[frequent], its[source_words], neighbours), strict=True
        )
    ]
    nearest = nearest_rows(mine[compared], its[ordinary], 1)
    same = sum(
        source_texts[ordinary[place]] == source_texts[both[row]]
        for row, [(_, place)] in zip(compared, nearest, strict=True)
    )
    return Alignment(found, same, len(compared), 1 / len(ordinary))


def is_word(text: str) -> bool:
    """Whether a token's text begins a word and is made of two letters or more."""
    letters = text.removeprefix(" ")
    return (
        text != letters
        and len(letters) > 1
        and all(unicodedata.category(character)[0] in _LETTERS for character in letters)
    )


def nearest_rows(rows: Tensor, others: Tensor, count: int) -> list[list[tuple[float, int]]]:
    """For each of `rows` (n x d) the `count` most similar of `others` (m x d), the nearest first.

    Returns: cosines and indices.
    """
    others = functional.normalize(others.float())
    found = []
    for chunk in rows.split(_CHUNK):
        near = (functional.normalize(chunk.float()) @ others.T).topk(min(count, len(others)))
        for cosines, places in zip(near.values.tolist(), near.indices.tolist(), strict=True):
            found.append(list(zip(cosines, places, strict=True)))
    return found


def _by_frequency(pack: LanguagePack) -> list[int]:
    """The rows of the symbols in a pack's dict.txt, the most frequent first, by the counts there."""
    counts = dict(read_counts(pack.dictionary))
    rows = [row for row, symbol in enumerate(pack.symbols) if symbol in counts]
    return sorted(rows, key=lambda row: -counts[pack.symbols[row]])
