"""The part of a masked-language-model head that belongs to the body, and a projection of its own."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class LMHeadTransform(nn.Module):
    """A RoBERTa MLM head without its language side: dense, activation, LayerNorm.

    The projection to the vocabulary (token embeddings and output bias) is handed to `forward`,
    because all heads of a model share the one language side (Marchisio et al. 2023, section 3).

    Args:
        modern: a ModernBERT MLM head: without biases, and with a LayerNorm of its own for hidden states
            that come from within a body, which has one only after its last layer.
    """

    def __init__(
        self, width: int, activation: Callable[[Tensor], Tensor], modern: bool = False
    ) -> None:
        super().__init__()
        self.final_norm = nn.LayerNorm(width, bias=False) if modern else None
        self.dense = nn.Linear(width, width, bias=not modern)
        self.activation = activation
        self.layer_norm = nn.LayerNorm(width, bias=not modern)

    def forward(
        self, features: Tensor, embedding: Tensor, bias: Tensor, masked_tokens: Tensor | None = None
    ) -> Tensor:
        """Logits over the vocabulary.

        Args:
            features: hidden states, batch x length x width.
            embedding: token embeddings, vocabulary x width.
            bias: output bias, vocabulary.
            masked_tokens: batch x length, true where a prediction is wanted; None: everywhere.

        Returns: predictions x vocabulary, or batch x length x vocabulary without `masked_tokens`.
        """
        if masked_tokens is not None:
            features = features[masked_tokens, :]
        if self.final_norm is not None:
            features = self.final_norm(features)
        hidden = self.layer_norm(self.activation(self.dense(features)))
        # Product first, then bias, as in fairseq's head: a fused product differs in the last bit.
        return torch.add(functional.linear(hidden, embedding), bias)


class NormedHead(nn.Module):
    """A EuroBERT MLM head within a body, without its language side: the norm before the projection.

    Of a body, it stands after the last layer alone.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.final_norm = nn.RMSNorm(width)

    def forward(
        self, features: Tensor, projection: Tensor, bias: None, masked_tokens: Tensor | None = None
    ) -> Tensor:
        """Logits over the vocabulary; arguments and result as in `LMHeadTransform`."""
        if masked_tokens is not None:
            features = features[masked_tokens, :]
        return functional.linear(self.final_norm(features), projection, bias)


class OutputProjection(nn.Linear):
    """The output projection of a family that ties it to nothing, which is its whole MLM head."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__(width, vocabulary, bias=False)

    def forward(self, features: Tensor, masked_tokens: Tensor | None = None) -> Tensor:
        """Logits over the vocabulary; called as fairseq's `RobertaLMHead`."""
        return super().forward(features if masked_tokens is None else features[masked_tokens, :])
