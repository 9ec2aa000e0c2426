"""What is in a SentencePiece model: its pieces and how it normalises.

The file is a message in Protocol Buffers' wire format. The package `sentencepiece` has its schema
(sentencepiece_model.proto), but reading by it needs one more package; the few fields that are wanted
here do not.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .tokenizers import load_sentencepiece

# Numbers of the schema's fields and values.
PIECES, TRAINER, NORMALISER = 1, 2, 3
PIECE, SCORE, KIND = 1, 2, 3
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
MODEL_TYPE, WHITESPACE_AS_SUFFIX = 3, 24
UNIGRAM, BPE, WORD, CHARACTER = 1, 2, 3, 4
CHARACTERS, DUMMY_PREFIX, NO_EXTRA_WHITESPACE, ESCAPE_WHITESPACE = 2, 3, 4, 5


@dataclass(frozen=True)
class SentencePieceModel:
    """A model of pieces.

    Attributes:
        scores: of each piece of text, by piece: of a unigram model the logarithm of its probability,
            of BPE minus its rank.
        bytes: the pieces that stand for one byte of a character that has no piece.
        kind: UNIGRAM, BPE or CHARACTER.
        characters: the precompiled map by which characters are normalised; b"" for none.
        adds_prefix: whether a space is put before the text.
        removes_spaces: whether spaces at both ends go, and all but one of several.
    """

    scores: dict[str, float]
    bytes: list[str]
    kind: int
    characters: bytes
    adds_prefix: bool
    removes_spaces: bool


def read_pieces(path: str | Path) -> list[str]:
    """All pieces of a SentencePiece model of any kind, in order. Raises InputError."""
    model = load_sentencepiece(path)
    return [model.id_to_piece(index) for index in range(len(model))]


def read_model(path: str | Path) -> SentencePieceModel:
    """Read a SentencePiece model that has a form at Hugging Face.

    Raises:
        InputError: the file is missing, is damaged, or is a model of another kind.
    """
    processor = load_sentencepiece(path)  # says what is wrong with a file that is none
    content = list(_fields(Path(path).read_bytes()))
    trainer = _message(content, TRAINER)
    normaliser = _message(content, NORMALISER)
    kind = trainer.get(MODEL_TYPE, UNIGRAM)
    if kind not in (UNIGRAM, BPE, CHARACTER):
        raise InputError(
            f"{path} is a SentencePiece model of whole words, which has no form at Hugging Face that "
            "gives the same tokens: only models of the kinds unigram, bpe and char can be exported"
        )
    if trainer.get(WHITESPACE_AS_SUFFIX, 0) or not normaliser.get(ESCAPE_WHITESPACE, 1):
        raise InputError(
            f"{path} is a SentencePiece model with spaces kept as they are or at the ends of words, "
            "which has no form at Hugging Face that gives the same tokens"
        )
    pieces: dict[int, dict[str, float]] = {}
    for number, value in content:
        if number == PIECES:
            piece = dict(_fields(value))
            score = struct.unpack("<f", piece[SCORE])[0] if SCORE in piece else 0.0
            pieces.setdefault(piece.get(KIND, NORMAL), {})[piece[PIECE].decode()] = score
    scores = pieces.get(NORMAL, {})
    highest = max(scores.values(), default=0.0)
    for symbol in pieces.get(USER_DEFINED, {}):
        # Any other text is normalised before it is cut; and only of unigrams is the score known.
        if kind == BPE or processor.normalize(f"a{symbol}a") != f"\u2581a{symbol}a":
            raise InputError(
                f"{path} has the user's symbol {symbol!r}, which Hugging Face's library cannot cut as "
                "SentencePiece does: only symbols without spaces, in unigram models, can be exported"
            )
        scores[symbol] = len(symbol.encode()) * highest - 0.1  # unigram_model.cc, EncodeOptimized
    return SentencePieceModel(
        scores=scores,
        bytes=list(pieces.get(BYTE, {})),
        kind=kind,
        characters=normaliser.get(CHARACTERS, b""),
        adds_prefix=bool(normaliser.get(DUMMY_PREFIX, 1)),
        removes_spaces=bool(normaliser.get(NO_EXTRA_WHITESPACE, 1)),
    )


def _message(content: list[tuple[int, int | bytes]], number: int) -> dict[int, int | bytes]:
    """The fields of the message in a field; none if it is not there."""
    return dict(_fields(b"".join(value for found, value in content if found == number)))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (number, value) of each field; values that are not numbers as their bytes."""
    place = 0
    while place < len(message):
        key, place = _number(message, place)
        wire = key & 7
        if wire == 0:
            value, place = _number(message, place)
        else:
            size, place = {1: (8, place), 5: (4, place)}.get(wire) or _number(message, place)
            value, place = message[place : place + size], place + size
        yield key >> 3, value


def _number(message: bytes, place: int) -> tuple[int, int]:
    """The number of variable length that begins at a place, and the place behind it."""
    number = shift = 0
    while True:
        byte = message[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place
