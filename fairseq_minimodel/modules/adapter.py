"""Bottleneck adapters (Houlsby et al. 2019, arXiv 1902.00751)."""

from torch import Tensor, nn
from torch.nn import functional

from .hypercomplex import HypercomplexLinear, SlowWeights

STANDARD_DEVIATION = 0.02  # of the down projection, as BERT's weights


class Adapter(nn.Module):
    """x + up(gelu(down(x))).

    Args:
        down, up: projections from the model's width to the bottleneck and back.
    """

    def __init__(self, down: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.down, self.up = down, up

    def forward(self, x: Tensor) -> Tensor:
        """... x width, in and out."""
        return x + self.up(functional.gelu(self.down(x)))


def plain_adapter(width: int, bottleneck: int) -> Adapter:
    """An adapter of two dense layers; at the start it is the identity, to the bit."""
    down, up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
    nn.init.normal_(down.weight, std=STANDARD_DEVIATION)
    for zero in (down.bias, up.weight, up.bias):
        nn.init.zeros_(zero)
    return Adapter(down, up)


def hypercomplex_adapter(width: int, bottleneck: int, slow: SlowWeights) -> Adapter:
    """Compacter's adapter; at the start nearly the identity, because the slow weights are small."""
    return Adapter(
        HypercomplexLinear(width, bottleneck, slow), HypercomplexLinear(bottleneck, width, slow)
    )
