"""What is in a SentencePiece model: its pieces and how it normalises."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .tokenizers import load_sentencepiece


@dataclass(frozen=True)
class SentencePieceModel:
    """A model of pieces.

    Attributes:
        scores: of each piece of text, by piece: of a unigram model the logarithm of its probability,
            of BPE minus its rank.
        bytes: the pieces that stand for one byte of a character that has no piece.
        merges: whether it is a BPE, which joins pairs of pieces.
        characters: the precompiled map by which characters are normalised; b"" for none.
        adds_prefix: whether a space is put before the text.
        removes_spaces: whether spaces at both ends go, and all but one of several.
    """

    scores: dict[str, float]
    bytes: list[str]
    merges: bool
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
    from sentencepiece.sentencepiece_model_pb2 import ModelProto  # which takes a third of a second

    processor = load_sentencepiece(path)  # says what is wrong with a file that is none
    model = ModelProto.FromString(processor.serialized_model_proto())
    trainer, normaliser = model.trainer_spec, model.normalizer_spec
    if trainer.model_type == trainer.WORD:
        raise InputError(
            f"{path} is a SentencePiece model of whole words, which has no form at Hugging Face that "
            "gives the same tokens: only models of the kinds unigram, bpe and char can be exported"
        )
    if trainer.treat_whitespace_as_suffix or not normaliser.escape_whitespaces:
        raise InputError(
            f"{path} is a SentencePiece model with spaces kept as they are or at the ends of words, "
            "which has no form at Hugging Face that gives the same tokens"
        )
    merges = trainer.model_type == trainer.BPE
    kinds = ModelProto.SentencePiece
    scores = {one.piece: one.score for one in model.pieces if one.type == kinds.NORMAL}
    highest = max(scores.values(), default=0.0)
    for symbol in [one.piece for one in model.pieces if one.type == kinds.USER_DEFINED]:
        # Any other text is normalised before it is cut; and only of unigrams is the score known.
        if merges or processor.normalize(f"a{symbol}a") != f"\u2581a{symbol}a":
            raise InputError(
                f"{path} has the user's symbol {symbol!r}, which Hugging Face's library cannot cut as "
                "SentencePiece does: only symbols without spaces, in unigram models, can be exported"
            )
        scores[symbol] = len(symbol.encode()) * highest - 0.1  # unigram_model.cc, EncodeOptimized
    return SentencePieceModel(
        scores=scores,
        bytes=[one.piece for one in model.pieces if one.type == kinds.BYTE],
        merges=merges,
        characters=normaliser.precompiled_charsmap,
        adds_prefix=normaliser.add_dummy_prefix,
        removes_spaces=normaliser.remove_extra_whitespaces,
    )
