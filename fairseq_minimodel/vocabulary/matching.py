"""Which tokens of two vocabularies are the same, whatever marks their tokenizers write.

Three families of tokenizers say in their own way where a word begins:

    SentencePiece            "▁house" begins a word, "house" goes on with one; "<0xE2>" is a byte
    byte-level BPE (GPT-2)   "Ġhouse", "house"; every byte is written as a character of its own
    WordPiece (BERT)         "house", "##house"

Tokens are compared by their text, with a space before what begins a word.
"""

import re
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files.records import read_json
from .symbols import SPECIAL_SYMBOLS

SENTENCEPIECE, BYTE_LEVEL, WORDPIECE = "▁", "Ġ", "##"
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
NUMBERS = 0.9  # share of numbers from which on symbols are taken for the ids of a BPE
BPE_FILES = ("encoder.json", "vocab.json")  # GPT-2's own name for it, and Hugging Face's


def matches(
    symbols: Sequence[str],
    others: Sequence[str],
    becomes: Callable[[str], str] | None = None,
) -> dict[int, int]:
    """The rows of `symbols` that are also in `others`, each with its row there.

    Special symbols are matched by symbol, all others by their text. A text that `others` has twice
    counts where it comes first.

    Args:
        becomes: what the tokenizer of `others` makes of a text (`normalised_by`): where others lack a
            text, they may have that one, as of "House" an uncased model has "house".
    """
    rows: dict[str, int] = {}
    for row, text in enumerate(texts(others)):
        rows.setdefault(text, row)
    found = {}
    for row, text in enumerate(texts(symbols)):
        if text not in rows and becomes is not None:
            text = becomes(text)
        if text in rows:
            found[row] = rows[text]
    return found


def normalised_by(tokenizer: Any) -> Callable[[str], str]:
    """What a tokenizer, of either kind, makes of the text of a symbol before it cuts it.

    A space at the beginning stays, whatever the tokenizer writes for it.
    """

    def normalise(text: str) -> str:
        words = tokenizer.normalize(text.strip()).replace(SENTENCEPIECE, " ").strip()
        return f" {words}" if text.startswith(" ") else words

    return normalise


def texts(symbols: Sequence[str]) -> list[str]:
    """The text of each symbol: a space for the mark of a word's beginning, bytes as UTF-8.

    Bytes that are not a whole character stay apart from all text (as Python's lone surrogates). The
    family of the tokenizer is the one whose mark begins most symbols.
    """
    counts = {
        mark: sum(symbol.startswith(mark) for symbol in symbols)
        for mark in (SENTENCEPIECE, BYTE_LEVEL, WORDPIECE)
    }
    mark = max(counts, key=counts.__getitem__)
    if not counts[mark]:
        mark = SENTENCEPIECE  # no marks at all: symbols are their text
    text_of = {
        SENTENCEPIECE: _text_of_sentencepiece,
        BYTE_LEVEL: _text_of_bytes,
        WORDPIECE: _text_of_wordpiece,
    }[mark]
    return [symbol if symbol in SPECIAL_SYMBOLS else text_of(symbol) for symbol in symbols]


def spelled_out(symbols: Sequence[str], dictionary: str | Path) -> list[str]:
    """The pieces that symbols stand for: fairseq's own RoBERTa has the ids of GPT-2's BPE in dict.txt.

    Symbols that are not numbers are returned as they are.

    Args:
        dictionary: the dict.txt they come from; encoder.json of GPT-2's BPE lies beside it.

    Raises:
        InputError: the symbols are numbers, and no such file says what they stand for.
    """
    ordinary = [symbol for symbol in symbols if symbol not in SPECIAL_SYMBOLS]
    numbers = sum(symbol.isdecimal() for symbol in ordinary)
    if not ordinary or numbers < NUMBERS * len(ordinary):
        return list(symbols)
    folder = Path(dictionary).parent
    file = next((folder / name for name in BPE_FILES if (folder / name).is_file()), None)
    if file is None:
        raise InputError(
            f"the symbols of {dictionary} are numbers (ids of GPT-2's BPE), which say nothing to "
            "another vocabulary: put the encoder.json of that BPE beside it, or take "
            "--initialise random"
        )
    pieces = read_json(file, "fetch it again")
    if not isinstance(pieces, dict):
        raise InputError(f"{file} is not a JSON object of pieces and their ids")
    pieces = {str(index): piece for piece, index in pieces.items()}
    return [pieces.get(symbol, symbol) for symbol in symbols]


def _text_of_sentencepiece(symbol: str) -> str:
    if (byte := BYTE_PIECE.fullmatch(symbol)) and int(byte[1], 16) >= 0x80:
        return bytes([int(byte[1], 16)]).decode("utf-8", "surrogateescape")
    return symbol.replace(SENTENCEPIECE, " ")


def _text_of_bytes(symbol: str) -> str:
    try:
        return bytes(BYTES[character] for character in symbol).decode("utf-8", "surrogateescape")
    except KeyError:  # a token that was added to the vocabulary, as plain text
        return symbol


def _text_of_wordpiece(symbol: str) -> str:
    if symbol.startswith(WORDPIECE) and symbol != WORDPIECE:
        return symbol.removeprefix(WORDPIECE)
    # WordPiece cuts at punctuation before it looks for pieces: there it says nothing about a space
    return f" {symbol}" if any(map(str.isalnum, symbol)) else symbol


def _characters_of_bytes() -> dict[str, int]:
    """The character with which GPT-2's BPE writes each byte: itself where it can be seen.

    The other bytes get the characters from U+0100 on, in order (Radford et al. 2019, encoder.py).
    """
    visible = set(chain(range(0x21, 0x7F), range(0xA1, 0xAD), range(0xAE, 0x100)))
    hidden = [byte for byte in range(0x100) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {
        chr(0x100 + place): byte for place, byte in enumerate(hidden)
    }


BYTES = _characters_of_bytes()
