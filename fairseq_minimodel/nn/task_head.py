"""The heads of tasks over a ModernBERT, and that of classification over a EuroBERT."""

from collections.abc import Callable

from torch import Tensor, nn

from .dropout import dropout


class TaskHead(nn.Module):
    """Dense layer, activation, LayerNorm or none, dropout, linear layer: for each hidden state.

    As in Hugging Face's library: over a ModernBERT, of a sequence for classification, of each token for
    tags and spans, where dense layer and LayerNorm have no biases; over a EuroBERT, for classification
    alone, without a LayerNorm and with a bias.

    Args:
        width: of the hidden states; outputs: of the head.
        activation: after the dense layer.
        rate: of dropout, in training.
        eps: of the LayerNorm; None: there is none.
    """

    def __init__(
        self,
        width: int,
        outputs: int,
        activation: Callable[[Tensor], Tensor],
        rate: float,
        eps: float | None,
    ) -> None:
        super().__init__()
        self.activation, self.rate = activation, rate
        self.dense = nn.Linear(width, width, bias=eps is None)
        self.layer_norm = None if eps is None else nn.LayerNorm(width, eps, bias=False)
        self.out_proj = nn.Linear(width, outputs)

    @property
    def out_features(self) -> int:
        return self.out_proj.out_features

    def forward(self, x: Tensor) -> Tensor:
        """... x width to ... x outputs."""
        x = self.activation(self.dense(x))
        x = x if self.layer_norm is None else self.layer_norm(x)
        return self.out_proj(dropout(x, self.rate if self.training else 0.0))
