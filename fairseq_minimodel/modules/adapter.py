"""Bottleneck adapters (Houlsby et al. 2019, arXiv 1902.00751)."""

from dataclasses import dataclass
from typing import ClassVar, Optional

from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from .method import ATTENTION, FEED_FORWARD, Method, at_least_1

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


@dataclass(frozen=True)
class Adapters(Method):
    """Adapters of two dense layers; at the start they are the identity, to the bit."""

    name = "adapter"
    trained = "a bottleneck of two dense layers after each attention and each feed-forward"
    source = "[Houlsby et al. 2019](https://arxiv.org/abs/1902.00751)"
    outputs = (ATTENTION, FEED_FORWARD)
    default_reduction: ClassVar[int] = 16

    module_reduction: Optional[int] = at_least_1(
        None,
        "the model's width over the width of an adapter's bottleneck",
        own_default=lambda method: method.default_reduction,
    )

    def output_part(self, width: int, shared: nn.Module | None) -> Adapter:
        reduction = self.module_reduction or self.default_reduction
        if width % reduction:
            raise InputError(
                f"--module-reduction {reduction} does not divide the model's width of {width}"
            )
        return self.adapter(width, width // reduction, shared)

    def adapter(self, width: int, bottleneck: int, shared: nn.Module | None) -> Adapter:
        down, up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        nn.init.normal_(down.weight, std=STANDARD_DEVIATION)
        for zero in (down.bias, up.weight, up.bias):
            nn.init.zeros_(zero)
        return Adapter(down, up)

    def resolved(self, layers: int) -> dict[str, object]:
        reduction = self.module_reduction or self.default_reduction
        return {**super().resolved(layers), "module_reduction": reduction}
