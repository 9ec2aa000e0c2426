"""Matrices of low rank, of which LoRA and TARP are made; 0 at the start.

Weights are outputs x inputs here, as PyTorch has them.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from .method import WeightMethod, at_least_1


class Bilinear(nn.Module):
    """U V^T, of the shape outputs x inputs and the given rank; 0 at the start, because U is."""

    def __init__(self, outputs: int, inputs: int, rank: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.zeros(outputs, rank))
        self.right = nn.Parameter(uniform(inputs, rank, fan=inputs))

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
        self.right = nn.Parameter(uniform(n, inputs // n, rank, fan=inputs // n))

    def forward(self) -> Tensor:
        n, rows, _ = self.left.shape
        small = self.left @ self.right.transpose(1, 2)  # k x outputs / n x inputs / n
        # element (a, b), (c, d) of the sum is that over k of H_k[a, c] small_k[b, d]
        product = self.blocks.flatten(1).t() @ small.flatten(1)
        return product.view(n, n, rows, -1).transpose(1, 2).reshape(n * rows, -1)


def uniform(*shape: int, fan: int) -> Tensor:
    """As PyTorch starts a linear layer of so many inputs, and LoRA its A."""
    return torch.empty(*shape).uniform_(-1 / math.sqrt(fan), 1 / math.sqrt(fan))


@dataclass(frozen=True)
class LowRankMethod(WeightMethod):
    """A method whose changes are of low rank."""

    module_rank: int = at_least_1(8, "rank of the matrices")
