"""What is in a SentencePiece model: its pieces and how it normalises.

The file is a message in Protocol Buffers' wire format. The package `sentencepiece` has its schema
(sentencepiece_model.proto), but reading by it needs one more package; the few fields that are wanted
here do not.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..corpus.vocabulary import load_sentencepiece
from ..errors import InputError

# Numbers of the schema's fields and values.
PIECES, TRAINER, NORMALISER = 1, 2, 3
PIECE, SCORE, KIND = 1, 2, 3
NORMAL, UNKNOWN, CONTROL, UNUSED = 1, 2, 3, 5
MODEL_TYPE, WHITESPACE_AS_SUFFIX = 3, 24
UNIGRAM = 1
CHARACTERS, DUMMY_PREFIX, NO_EXTRA_WHITESPACE, ESCAPE_WHITESPACE = 2, 3, 4, 5
MODEL_TYPES = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}


@dataclass(frozen=True)
class SentencePieceModel:
    """A unigram model.

    Attributes:
        scores: the logarithm of the probability of each piece of text, by piece.
        characters: the precompiled map by which characters are normalised; b"" for none.
        adds_prefix: whether a space is put before the text.
        removes_spaces: whether spaces at both ends go, and all but one of several.
    """

    scores: dict[str, float]
    characters: bytes
    adds_prefix: bool
    removes_spaces: bool


def read_pieces(path: str | Path) -> list[str]:
    """All pieces of a SentencePiece model of any kind, in order. Raises InputError."""
    model = load_sentencepiece(path)
    return [model.id_to_piece(index) for index in range(len(model))]


def read_unigram(path: str | Path) -> SentencePieceModel:
    """Read a unigram model.

    Raises:
        InputError: the file is missing, is damaged, or is a model of another kind.
    """
    load_sentencepiece(path)  # says what is wrong with a file that is none
    content = list(_fields(Path(path).read_bytes()))
    trainer = _message(content, TRAINER)
    normaliser = _message(content, NORMALISER)
    kind = trainer.get(MODEL_TYPE, UNIGRAM)
    if kind != UNIGRAM:
        raise InputError(
            f"{path} is a SentencePiece model of the kind {MODEL_TYPES.get(kind, kind)}; only unigram "
            "models, which `fairseq-minimodel prepare` trains, have a form at Hugging Face that "
            "gives the same tokens"
        )
    pieces = [dict(_fields(value)) for number, value in content if number == PIECES]
    kinds = {piece.get(KIND, NORMAL) for piece in pieces}
    suffix = trainer.get(WHITESPACE_AS_SUFFIX, 0) or not normaliser.get(ESCAPE_WHITESPACE, 1)
    if kinds - {NORMAL, UNKNOWN, CONTROL, UNUSED} or suffix:
        raise InputError(
            f"{path} is a unigram model with bytes or symbols of the user as pieces, or with spaces "
            "kept as they are or at the ends of words, which has no form at Hugging Face that gives "
            "the same tokens"
        )
    return SentencePieceModel(
        scores={
            piece[PIECE].decode(): struct.unpack("<f", piece[SCORE])[0] if SCORE in piece else 0.0
            for piece in pieces
            if piece.get(KIND, NORMAL) == NORMAL
        },
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
