"""The head of a task over a ModernBERT."""

from collections.abc import Callable

from torch import Tensor, nn

from .dropout import dropout


class TaskHead(nn.Module):
    """Dense layer, activation, LayerNorm, dropout, linear layer: for each hidden state.

    As in Hugging Face's library: of a sequence for classification, of each token for tags and spans.
    Dense layer and LayerNorm have no biases.

    Args:
        width: of the hidden states; outputs: of the head.
        activation: after the dense layer.
        eps: of the LayerNorm.
        rate: of dropout, in training.
    """

    def __init__(
        self,
        width: int,
        outputs: int,
        activation: Callable[[Tensor], Tensor],
        eps: float,
        rate: float,
    ) -> None:
        super().__init__()
        self.activation, self.rate = activation, rate
        self.dense = nn.Linear(width, width, bias=False)
        self.layer_norm = nn.LayerNorm(width, eps, bias=False)
        self.out_proj = nn.Linear(width, outputs)

    @property
    def out_features(self) -> int:
        return self.out_proj.out_features

    def forward(self, x: Tensor) -> Tensor:
        """... x width to ... x outputs."""
        x = self.layer_norm(self.activation(self.dense(x)))
        return self.out_proj(dropout(x, self.rate if self.training else 0.0))
