"""Whether two languages share a space: nearest neighbours of token embeddings across languages.

What means the same in two languages should have like embeddings, because one body reads both. Looked
at here are the token embeddings of two packs of one lineage, by their cosine.
"""

import unicodedata
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from ..packs.pack import LanguagePack
from ..vocabulary.matching import matches, spelled_out, texts
from ..vocabulary.symbols import SPECIAL_SYMBOLS
from ..vocabulary.tokenizers import read_counts

_CHUNK = 512  # rows compared with all others at once
_LETTERS = ("L", "M")  # Unicode's categories of letters, and of marks that belong to them


@dataclass(frozen=True)
class Alignment:
    """How the tokens of a pack lie among those of the source language's pack."""

    words: dict[str, list[tuple[str, float]]]  # frequent words: nearest of the source, and cosine
    same: int  # tokens of both languages, by text, whose nearest source token is the same text
    compared: int  # how many tokens of both languages were looked at
    chance: float  # the share that guessing would give


def align(
    target: LanguagePack,
    source: LanguagePack,
    words: int = 20,
    neighbours: int = 2,
    most_compared: int = 2000,
) -> Alignment:
    """Look up the nearest source tokens of a pack's tokens; both packs are of one width.

    Two things are looked at. Words: tokens of two letters or more that begin a word, the most
    frequent by the counts in the pack's dict.txt of those that the source does not have, with the
    nearest such tokens of the source. And tokens of the same text in both, the most frequent: how
    often the nearest of all source tokens, the special symbols apart, is that very text.
    """
    symbols, others = (spelled_out(pack.symbols, pack.dictionary) for pack in (target, source))
    target_texts, source_texts = texts(symbols), texts(others)
    both = matches(symbols, others)
    counts = dict(read_counts(target.dictionary))
    order = [row for row, symbol in enumerate(target.symbols) if symbol in counts]
    order = [row for row in order if symbols[row] not in SPECIAL_SYMBOLS]
    order.sort(key=lambda row: -counts[target.symbols[row]])
    frequent = [row for row in order if row not in both and is_word(target_texts[row])][:words]
    compared = [row for row in order if row in both][:most_compared]
    ordinary = [row for row, symbol in enumerate(others) if symbol not in SPECIAL_SYMBOLS]
    source_words = [row for row in ordinary if is_word(source_texts[row])]
    mine, its = target.side.embedding, source.side.embedding
    found = {
        target_texts[row].strip(): [
            (source_texts[source_words[place]], cosine) for cosine, place in near
        ]
        for row, near in zip(
            frequent, nearest_rows(mine[frequent], its[source_words], neighbours), strict=True
        )
    }
    nearest = nearest_rows(mine[compared], its[ordinary], 1)
    same = sum(
        source_texts[ordinary[place]] == source_texts[both[row]]
        for row, [(_, place)] in zip(compared, nearest, strict=True)
    )
    return Alignment(found, same, len(compared), 1 / len(ordinary))


def is_word(text: str) -> bool:
    """Whether a token's text begins a word and is made of two letters or more."""
    letters = text.removeprefix(" ")
    are_letters = all(unicodedata.category(one)[0] in _LETTERS for one in letters)
    return text != letters and len(letters) > 1 and are_letters


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
