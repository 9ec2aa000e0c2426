"""What a text that `prepare` has binarised holds: its tokens, and the words and characters in them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy

from ..errors import InputError
from ..vocabulary.matching import texts
from ..vocabulary.tokenizers import EOS, UNK
from .indexed import Split

_UNKNOWN = "\ufffd"


class TextCounts(NamedTuple):
    """What a binarised text holds."""

    tokens: int  # of the vocabulary, without <s> and </s>
    words: int  # as spaces divide the text
    characters: int  # spaces between words included; an unknown token counts as one
    unknown: int  # tokens that are <unk>
    shared: int  # tokens that a second vocabulary has, too


def count_text(split: Split, symbols: Sequence[str], shared: set[int]) -> TextCounts:
    """Count a text that `prepare` has binarised, with the symbols of its vocabulary.

    Raises:
        InputError: the text holds ids that the vocabulary does not have.
    """
    ids = split.tokens
    if len(ids) and ids.max() >= len(symbols):
        raise InputError(f"{split.path} has ids beyond its dict.txt: prepare the data again")
    counts = numpy.bincount(ids, minlength=len(symbols))
    text_of = [*texts(symbols)]
    text_of[EOS], text_of[UNK] = "\n", _UNKNOWN
    text = "".join(text_of[index] for index in ids.tolist())
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    lines = [line.strip() for line in text.split("\n")]
    return TextCounts(
        tokens=int(counts.sum() - counts[EOS]),
        words=sum(len(line.split()) for line in lines),
        characters=sum(map(len, lines)),
        unknown=int(counts[UNK]),
        shared=int(counts[list(shared)].sum()),
    )
