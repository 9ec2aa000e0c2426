"""The language side of a model: all its tensors that have the vocabulary in their shape.

Token embeddings, tied to the output projection, and the output bias; or, in families that tie nothing,
token embeddings and output projection. Everything else in a state dict is the body. A language is the
language side and nothing else.
"""

from dataclasses import dataclass

from torch import Tensor

from .tensors import EMBEDDING, OUTPUT_BIAS, OUTPUT_PROJECTION

StateDict = dict[str, Tensor]


@dataclass(frozen=True)
class LanguageSide:
    """The token embeddings of a language, and what makes logits of hidden states.

    Attributes:
        embedding: V x d.
        bias: of the output, V, where the projection is the embedding; else None.
        projection: of the output, V x d, where it is not the embedding; else None.
    """

    embedding: Tensor
    bias: Tensor | None = None
    projection: Tensor | None = None

    @property
    def tensors(self) -> StateDict:
        """Its tensors by their names in a state dict, each once."""
        named = {
            EMBEDDING: self.embedding, OUTPUT_BIAS: self.bias, OUTPUT_PROJECTION: self.projection,
        }  # fmt: skip
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    @property
    def is_tied(self) -> bool:
        """Whether the output projection is the embedding."""
        return self.projection is None

    @property
    def vocabulary_size(self) -> int:
        return self.embedding.size(0)

    @property
    def width(self) -> int:
        return self.embedding.size(1)


def language_side_of(state: StateDict) -> LanguageSide:
    """The language side in a model's state dict (the tensors themselves, not copies)."""
    if OUTPUT_BIAS in state:
        return LanguageSide(state[EMBEDDING], state[OUTPUT_BIAS])
    return LanguageSide(state[EMBEDDING], projection=state[OUTPUT_PROJECTION])


def with_language_side(state: StateDict, side: LanguageSide) -> StateDict:
    """The same model with another language side of the same form.

    Where embedding and projection are tied, they are one tensor.
    """
    tensors = {name: one.to(state[name].dtype) for name, one in side.tensors.items()}
    return {**state, OUTPUT_PROJECTION: tensors[EMBEDDING], **tensors}


def is_language_side(name: str) -> bool:
    """Whether a parameter of this name belongs to the language side."""
    return name in (EMBEDDING, OUTPUT_PROJECTION, OUTPUT_BIAS)
