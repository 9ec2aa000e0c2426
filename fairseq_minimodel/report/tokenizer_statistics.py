"""How a tokenizer fits its language: tokens per word, unknown tokens, what it shares with another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from ..corpus.indexed import token_type
from ..errors import InputError
from ..vocabulary.matching import matches, spelled_out, texts
from ..vocabulary.symbols import SPECIAL_SYMBOLS, read_symbols
from ..vocabulary.tokenizers import EOS, UNK

_UNKNOWN = "\ufffd"


@dataclass(frozen=True)
class TextCounts:
    """What a binarised text holds.

    Attributes:
        tokens: of the vocabulary, without <s> and </s>.
        words: as spaces divide the text.
        characters: spaces between words included; an unknown token counts as one.
        unknown: tokens that are <unk>.
        shared: tokens that a second vocabulary has, too.
    """

    tokens: int
    words: int
    characters: int
    unknown: int
    shared: int

    @property
    def fertility(self) -> float | None:
        """Tokens per word."""
        return self.tokens / self.words if self.words else None

    @property
    def characters_per_token(self) -> float | None:
        return self.characters / self.tokens if self.tokens else None


@dataclass(frozen=True)
class TokenizerStatistics:
    """A language's vocabulary and how it cuts the language's text. `None`: not known.

    Attributes:
        language: its name.
        vocabulary: symbols, the special ones included.
        shared: ordinary symbols that the source vocabulary has, too, by their text.
        training_tokens, training_unknown: of the training text, as `prepare` counted them; the
            second is a share.
        validation: what the binarised validation text holds.
    """

    language: str
    vocabulary: int
    shared: int | None
    training_tokens: int | None
    training_unknown: float | None
    validation: TextCounts | None


def symbols_in(folder: Path) -> list[str]:
    """The symbols of the dict.txt in a folder of data or a pack, ids of GPT-2's BPE spelled out."""
    dictionary = folder / "dict.txt"
    symbols = read_symbols(dictionary)
    try:
        return spelled_out(symbols, dictionary)
    except InputError:  # nothing says what the numbers stand for
        return symbols


def tokenizer_statistics(
    language: str,
    folder: Path,
    record: dict[str, Any] | None,
    source: Sequence[str] | None,
) -> TokenizerStatistics:
    """The statistics of one language.

    Args:
        language: its name.
        folder: of prepared data, or a pack.
        record: what prepare.json says; None for a pack.
        source: symbols of the source language; None if they are not known, or for that itself.

    Raises:
        InputError: dict.txt or the binarised text is missing or damaged.
    """
    symbols = symbols_in(folder)
    both = {row for row in matches(symbols, source or []) if symbols[row] not in SPECIAL_SYMBOLS}
    training = record["counts"]["train"] if record else {}
    sharded = record and record.get("shards", 1) > 1
    text = folder / ("shard00/valid.bin" if sharded else "valid.bin")
    return TokenizerStatistics(
        language,
        len(symbols),
        len(both) if source else None,
        training.get("tokens"),
        training.get("unknown_share"),
        count_text(text, symbols, both) if record else None,
    )


def count_text(path: Path, symbols: Sequence[str], shared: set[int]) -> TextCounts:
    """Count a text that `prepare` has binarised, PREFIX.bin, with the symbols of its vocabulary.

    Raises:
        InputError: the file is missing, or holds ids that the vocabulary does not have.
    """
    if not path.is_file():
        raise InputError(f"there is no {path}, which prepare.json promises: prepare the data again")
    ids = numpy.fromfile(path, token_type(len(symbols)))
    if len(ids) and ids.max() >= len(symbols):
        raise InputError(f"{path} has ids beyond its dict.txt: prepare the data again")
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
