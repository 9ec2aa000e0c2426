"""LoRA: a summand of low rank for each weight (Hu et al. 2021, arXiv 2106.09685)."""

from dataclasses import dataclass

from torch import Tensor

from .effective_weight import Change
from .low_rank import Bilinear, LowRankMethod
from .method import setting


class LowRankSummand(Change):
    """weight -> weight + alpha / rank * B A (Hu et al. 2021, section 4.1)."""

    def __init__(self, outputs: int, inputs: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.product = Bilinear(outputs, inputs, rank)

    def forward(self, weight: Tensor) -> Tensor:
        """outputs x inputs, in and out."""
        return weight + self.scale * self.product()


@dataclass(frozen=True)
class LoRA(LowRankMethod):
    name = "lora"
    trained = "a summand of low rank for each weight"
    source = "[Hu et al. 2021](https://arxiv.org/abs/2106.09685)"
    trains_layer_norms = False
    default_targets = ("q_proj", "v_proj")

    lora_alpha: float = setting(16.0, "the change is multiplied by this, over the rank")

    def change(self, target: str, outputs: int, inputs: int) -> LowRankSummand:
        return LowRankSummand(outputs, inputs, self.module_rank, self.lora_alpha)
