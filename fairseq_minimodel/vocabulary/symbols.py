"""The symbols of a masked language model, in the order of the rows of its embedding."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from .tokenizers import MASK_SYMBOL, PAD, read_dictionary
from .tokenizers import SPECIAL_SYMBOLS as LEADING_SYMBOLS

PAD_INDEX = PAD
SPECIAL_SYMBOLS = (*LEADING_SYMBOLS, MASK_SYMBOL)


def read_symbols(path: str | Path) -> list[str]:
    """All symbols of a masked language model whose dictionary is `path` (fairseq's dict.txt).

    Returns: the leading special symbols, the symbols of the file, and the mask, which fairseq puts
    last: one symbol for each row.

    Raises:
        InputError: the file is missing or is not a dictionary.
    """
    symbols = [*LEADING_SYMBOLS, *read_dictionary(path)]
    return symbols if MASK_SYMBOL in symbols else [*symbols, MASK_SYMBOL]


def fingerprint(symbols: Sequence[str]) -> str:
    """16 hexadecimal digits that identify a vocabulary: which symbols, in which order."""
    return hashlib.sha256("\n".join(symbols).encode()).hexdigest()[:16]
