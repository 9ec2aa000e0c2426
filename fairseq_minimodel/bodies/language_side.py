"""The language side of a model: all its tensors that have the vocabulary in their shape.

Token embeddings, tied to the output projection, and the output bias. Everything else in a state
dict is the body. A language is the language side and nothing else.
"""

from dataclasses import dataclass

from torch import Tensor

from .family import EMBEDDING, OUTPUT_BIAS, TIED_PROJECTION

StateDict = dict[str, Tensor]


@dataclass(frozen=True)
class LanguageSide:
    """Token embeddings (V x d) and output bias (V)."""

    embedding: Tensor
    bias: Tensor

    @property
    def vocabulary_size(self) -> int:
        return self.embedding.size(0)

    @property
    def width(self) -> int:
        return self.embedding.size(1)


def language_side_of(state: StateDict) -> LanguageSide:
    """The language side in a model's state dict (the tensors themselves, not copies)."""
    return LanguageSide(state[EMBEDDING], state[OUTPUT_BIAS])


def with_language_side(state: StateDict, side: LanguageSide) -> StateDict:
    """The same model with another language side; embedding and projection are one tensor."""
    embedding = side.embedding.to(state[EMBEDDING].dtype)
    bias = side.bias.to(state[OUTPUT_BIAS].dtype)
    return {**state, EMBEDDING: embedding, TIED_PROJECTION: embedding, OUTPUT_BIAS: bias}


def is_language_side(name: str) -> bool:
    """Whether a parameter of this name belongs to the language side."""
    return name in (EMBEDDING, TIED_PROJECTION, OUTPUT_BIAS)
