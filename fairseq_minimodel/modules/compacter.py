"""Compacter: adapters of hypercomplex layers, whose weight is a sum of Kronecker products.

Karimi Mahabadi, Henderson and Ruder 2021 (arXiv 2106.04647), sections 3.1 and 3.2.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from .adapter import Adapter, Adapters
from .method import FEED_FORWARD, DividedMethod

SLOW_STANDARD_DEVIATION = 1e-4


class SlowWeights(nn.Module):
    """The matrices A_1 to A_n, n x n each, which all hypercomplex layers of a model share."""

    def __init__(self, divisions: int) -> None:
        super().__init__()
        drawn = torch.randn(divisions, divisions, divisions) * SLOW_STANDARD_DEVIATION
        self.matrices = nn.Parameter(drawn)


class HypercomplexLinear(nn.Module):
    """y = x W + b with W = sum over i of A_i (x) (s_i t_i^T); (x) is the Kronecker product.

    A_i is n x n and shared (`SlowWeights`), s_i has inputs / n numbers and t_i outputs / n: they are
    the layer's own "fast weights", a matrix of rank 1. With x cut into n pieces x_a, piece c of the
    output is the sum over i of t_i times the sum over a of A_i[a, c] (x_a . s_i). So W is never
    formed: n (inputs + n^3 + outputs) multiplications per token in the place of inputs * outputs.

    Args:
        inputs, outputs: widths, multiples of n.
        slow: the shared matrices.

    Raises:
        InputError: n does not divide a width.
    """

    def __init__(self, inputs: int, outputs: int, slow: SlowWeights) -> None:
        super().__init__()
        n = len(slow.matrices)
        for width in (inputs, outputs):
            if width % n:
                raise InputError(
                    f"a hypercomplex layer from {inputs} to {outputs} does not divide into {n} "
                    "parts: give another --module-divisions or --module-reduction"
                )
        # In a tuple, so that it is not this layer's own child: it has one place in the state dict.
        self.slow = (slow,)
        self.input_factors = nn.Parameter(_xavier(n, inputs // n))
        self.output_factors = nn.Parameter(_xavier(n, outputs // n))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """... x inputs to ... x outputs."""
        matrices = self.slow[0].matrices  # i x a x c
        n = len(matrices)
        products = x.unflatten(-1, (n, -1)) @ self.input_factors.t()  # ... x a x i
        # the sum over a as one product: a row for each (a, i), a column for each (c, i)
        mixing = torch.diag_embed(matrices.permute(1, 2, 0)).transpose(1, 2).reshape(n * n, n * n)
        mixed = (products.flatten(-2) @ mixing).unflatten(-1, (n, n))  # ... x c x i
        return (mixed @ self.output_factors).flatten(-2) + self.bias


def _xavier(divisions: int, length: int) -> Tensor:
    """Xavier-uniform rows for matrices `length` x 1, with the gain of ReLU (Glorot & Bengio 2010)."""
    bound = math.sqrt(2) * math.sqrt(6 / (length + 1))
    return torch.empty(divisions, length).uniform_(-bound, bound)


@dataclass(frozen=True)
class Compacter(DividedMethod, Adapters):
    """Hypercomplex adapters; at the start nearly the identity: the slow weights are small."""

    name = "compacter"
    trained = "such bottlenecks, each projection a sum of Kronecker products with shared factors"
    source = "[Karimi Mahabadi et al. 2021](https://arxiv.org/abs/2106.04647)"
    default_reduction = 32

    def shared_part(self, width: int) -> SlowWeights:
        return SlowWeights(self.module_divisions)

    def adapter(self, width: int, bottleneck: int, shared: SlowWeights) -> Adapter:
        down = HypercomplexLinear(width, bottleneck, shared)
        return Adapter(down, HypercomplexLinear(bottleneck, width, shared))


@dataclass(frozen=True)
class CompacterPlusPlus(Compacter):
    name = "compacter++"
    trained = "compacter's after the feed-forward only"
    source = ""
    outputs = (FEED_FORWARD,)
