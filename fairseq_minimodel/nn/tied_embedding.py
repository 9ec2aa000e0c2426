"""One matrix, read at the bottom of a model and at the top, with one gradient."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def tied_embedding(weight: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of `tokens`, and the matrix for the output projection.

    The gradient of the rows is added into that of the matrix, in place. Two separate uses of
    `weight` would make a second gradient of its size, nearly all zeros, and add the two.

    Args:
        weight: vocabulary x width.
        tokens: a list of ids.

    Returns: rows (tokens x width) and the matrix (vocabulary x width).
    """
    return _TiedEmbedding.apply(weight, tokens)


class _TiedEmbedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(tokens)
        return weight[tokens], weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, rows: Tensor, matrix: Tensor) -> tuple[Tensor, None]:
        (tokens,) = ctx.saved_tensors
        return matrix.index_add_(0, tokens, rows), None
