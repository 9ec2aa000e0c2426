"""The symbols of a fairseq dictionary, in the order of their rows in the embedding."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError

# fairseq puts these first, in this order, and `masked_lm` puts the mask last; dict.txt lists none.
LEADING_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"
SPECIAL_SYMBOLS = (*LEADING_SYMBOLS, MASK)
PAD_INDEX = LEADING_SYMBOLS.index("<pad>")


def read_symbols(path: str | Path) -> list[str]:
    """All symbols of a masked language model whose dictionary is `path` (fairseq's dict.txt).

    Returns: the leading special symbols, the symbols of the file, and the mask: one for each row.

    Raises:
        InputError: the file is missing, not UTF-8, has a line that is not "symbol count", or
            lists a symbol twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputError(
            f"cannot read the dictionary {path}: {error.strerror}; "
            "give a dict.txt as `fairseq-minimodel prepare` or fairseq-preprocess writes it"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"the dictionary {path} is not UTF-8 (byte {error.start})") from None
    if lines and not lines[-1]:
        lines.pop()
    symbols = list(LEADING_SYMBOLS)
    for number, line in enumerate(lines, start=1):
        symbol, _, count = line.removesuffix(" #fairseq:overwrite").rpartition(" ")
        if not symbol or not count.isdigit():
            raise InputError(f'{path}, line {number}: "{line}" is not "symbol count"')
        symbols.append(symbol)
    if MASK not in symbols:
        symbols.append(MASK)
    if len(set(symbols)) < len(symbols):
        twice = next(symbol for symbol in symbols if symbols.count(symbol) > 1)
        raise InputError(f'{path} lists the symbol "{twice}" twice (or it is a special symbol)')
    return symbols


def fingerprint(symbols: Sequence[str]) -> str:
    """16 hexadecimal digits that identify a vocabulary: which symbols, in which order."""
    return hashlib.sha256("\n".join(symbols).encode()).hexdigest()[:16]
