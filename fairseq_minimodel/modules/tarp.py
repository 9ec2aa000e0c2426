"""TARP, task-adaptive reparameterisation: a factor and a summand of low rank for each weight.

Hou, Salazar and Polovets 2022, arXiv 2207.03509. At the start every change is the identity, to the
bit.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .effective_weight import Change
from .low_rank import Bilinear, Kronecker, LowRankMethod, uniform
from .method import ALL_TARGETS, DividedMethod, setting

BILINEAR, KRONECKER, DYNAMIC = FORMS = ("bilinear", "kronecker", "dynamic")


class StaticTARP(Change):
    """weight -> weight * (1 + scale) + shift, elementwise; scale and shift of low rank.

    The paper's Phi_1 is our 1 + scale. Its released code starts at 0.69 for Phi_1, which shrinks
    every weight before the first update; here the start is the weight itself.

    Args:
        scale, shift: `Bilinear` or `Kronecker`.
    """

    def __init__(self, scale: nn.Module, shift: nn.Module) -> None:
        super().__init__()
        self.scale, self.additive = scale, shift

    def forward(self, weight: Tensor) -> Tensor:
        """outputs x inputs, in and out."""
        return weight * (1 + self.scale()) + self.additive()


class DynamicTARP(Change):
    """A scale as in `StaticTARP`, and a shift of the output that depends on the token.

    y = x (weight * (1 + scale))^T + b + ((x U) S(x)) V^T with S(x) = x C, an r x r matrix for each
    token, without a bias. V is 0 at the start.
    """

    reads_input = True

    def __init__(self, outputs: int, inputs: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.scale = Bilinear(outputs, inputs, rank)
        self.right = nn.Parameter(uniform(inputs, rank, fan=inputs))  # U
        self.middle = nn.Parameter(uniform(inputs, rank * rank, fan=inputs))  # C
        self.left = nn.Parameter(torch.zeros(outputs, rank))  # V

    def forward(self, weight: Tensor) -> Tensor:
        """outputs x inputs, in and out."""
        return weight * (1 + self.scale())

    def shift(self, x: Tensor) -> Tensor:
        """... x inputs to ... x outputs."""
        small = (x @ self.right).unsqueeze(-2)  # ... x 1 x r
        middle = (x @ self.middle).unflatten(-1, (self.rank, self.rank))
        return (small @ middle).squeeze(-2) @ self.left.t()


@dataclass(frozen=True)
class TARP(DividedMethod, LowRankMethod):
    name = "tarp"
    trained = "a factor and a summand of low rank for each weight"
    source = "[Hou et al. 2022](https://arxiv.org/abs/2207.03509)"
    default_targets = ALL_TARGETS  # attention and feed-forward (section 3.1)

    tarp_form: str = setting(
        DYNAMIC,
        "the change of a weight: bilinear or kronecker (both merge into the weight), or dynamic (the "
        "summand depends on the token)",
        choices=FORMS,
    )

    def change(self, target: str, outputs: int, inputs: int) -> StaticTARP | DynamicTARP:
        sizes = outputs, inputs, self.module_rank
        if self.tarp_form == DYNAMIC:
            return DynamicTARP(*sizes)
        if self.tarp_form == BILINEAR:
            return StaticTARP(Bilinear(*sizes), Bilinear(*sizes))
        return StaticTARP(*(Kronecker(*sizes, self.module_divisions) for _ in range(2)))

    @property
    def why_not_merged(self) -> str | None:
        if self.tarp_form == DYNAMIC:
            return "changes a layer's output by what the token is"
        return super().why_not_merged

    def resolved(self, layers: int) -> dict[str, object]:
        settings = super().resolved(layers)
        if self.tarp_form != KRONECKER:
            del settings["module_divisions"]  # the other forms do not read it
        return settings
