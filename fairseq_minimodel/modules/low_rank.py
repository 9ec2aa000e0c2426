"""Changes of low rank to frozen weights: LoRA, and TARP in its three forms.

LoRA: Hu et al. 2021, arXiv 2106.09685. TARP, task-adaptive reparameterisation: Hou, Salazar and
Polovets 2022, arXiv 2207.03509. At the start every change is the identity, to the bit. Weights are
outputs x inputs here, as PyTorch has them.
"""

import math

import torch
from torch import Tensor, nn

from ..errors import InputError

FORMS = ("bilinear", "kronecker", "dynamic")


class Bilinear(nn.Module):
    """U V^T, of the shape outputs x inputs and the given rank; 0 at the start, because U is."""

    def __init__(self, outputs: int, inputs: int, rank: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.zeros(outputs, rank))
        self.right = nn.Parameter(_uniform(inputs, rank, fan=inputs))

    def forward(self) -> Tensor:
        return self.left @ self.right.t()


class Kronecker(nn.Module):
    """The sum of n terms H_k (x) (U_k V_k^T); 0 at the start, because all U_k are.

    H_k is n x n, U_k outputs / n x rank, V_k inputs / n x rank.

    Raises:
        InputError: n does not divide the outputs and the inputs.
    """

    def __init__(self, outputs: int, inputs: int, rank: int, divisions: int) -> None:
        super().__init__()
        n = divisions
        if outputs % n or inputs % n:
            raise InputError(
                f"a weight of {outputs} x {inputs} does not divide into {n} x {n} blocks: give "
                "another --module-divisions"
            )
        self.blocks = nn.Parameter(torch.randn(n, n, n) / n)
        self.left = nn.Parameter(torch.zeros(n, outputs // n, rank))
        self.right = nn.Parameter(_uniform(n, inputs // n, rank, fan=inputs // n))

    def forward(self) -> Tensor:
        n, rows, _ = self.left.shape
        small = self.left @ self.right.transpose(1, 2)  # k x outputs / n x inputs / n
        # element (a, b), (c, d) of the sum is that over k of H_k[a, c] small_k[b, d]
        product = self.blocks.flatten(1).t() @ small.flatten(1)
        return product.view(n, n, rows, -1).transpose(1, 2).reshape(n * rows, -1)


class LoRA(nn.Module):
    """weight -> weight + alpha / rank * B A (Hu et al. 2021, section 4.1)."""

    def __init__(self, outputs: int, inputs: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.product = Bilinear(outputs, inputs, rank)

    def forward(self, weight: Tensor) -> Tensor:
        """outputs x inputs, in and out."""
        return weight + self.scale * self.product()


class StaticTARP(nn.Module):
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


class DynamicTARP(nn.Module):
    """A scale as in `StaticTARP`, and a shift of the output that depends on the token.

    y = x (weight * (1 + scale))^T + b + ((x U) S(x)) V^T with S(x) = x C, an r x r matrix for each
    token, without a bias. V is 0 at the start.
    """

    def __init__(self, outputs: int, inputs: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.scale = Bilinear(outputs, inputs, rank)
        self.right = nn.Parameter(_uniform(inputs, rank, fan=inputs))  # U
        self.middle = nn.Parameter(_uniform(inputs, rank * rank, fan=inputs))  # C
        self.left = nn.Parameter(torch.zeros(outputs, rank))  # V

    def forward(self, weight: Tensor) -> Tensor:
        """outputs x inputs, in and out."""
        return weight * (1 + self.scale())

    def shift(self, x: Tensor) -> Tensor:
        """... x inputs to ... x outputs."""
        small = (x @ self.right).unsqueeze(-2)  # ... x 1 x r
        middle = (x @ self.middle).unflatten(-1, (self.rank, self.rank))
        return (small @ middle).squeeze(-2) @ self.left.t()


def _uniform(*shape: int, fan: int) -> Tensor:
    """As PyTorch starts a linear layer of so many inputs, and LoRA its A."""
    return torch.empty(*shape).uniform_(-1 / math.sqrt(fan), 1 / math.sqrt(fan))
