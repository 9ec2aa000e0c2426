"""Cross-entropy of a projection to a large vocabulary, without keeping its logits."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

# Logits of one block of rows: 335 rows of a vocabulary of 50,000. More rows do not make the products
# faster; fewer pass more often over the gradient of the whole matrix.
BLOCK_ELEMENTS = 2**24


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    block_elements: int = BLOCK_ELEMENTS,
) -> Tensor:
    """Sum over rows of the cross-entropy of softmax(hidden weight^T + bias).

    The same as `cross_entropy(linear(hidden, weight, bias), target, reduction="sum")`. The gradient
    of the logits, softmax minus one-hot, is known as soon as they are; so loss and gradients are
    made together, for a block of rows at a time, and nothing of the size rows x vocabulary is left
    for the backward pass, which can run once. Products and softmax have the type of `hidden`.

    Args:
        hidden: rows x width.
        weight: vocabulary x width, of any floating-point type.
        bias: vocabulary; None: there is none.
        target: rows, ids below the vocabulary's size.
        block_elements: logits in memory at a time.

    Returns: a float32 scalar; 0 without rows.
    """
    return _LinearCrossEntropy.apply(hidden, weight, bias, target, block_elements)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        block_elements: int,
    ) -> Tensor:
        matrix = weight.to(hidden.dtype)
        offset = None if bias is None else bias.to(hidden.dtype)
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        gradients: list[Tensor | None] = [None, None, None]
        loss = hidden.new_zeros((), dtype=torch.float32)
        rows = max(1, block_elements // len(matrix))
        if need_hidden:
            gradients[0] = torch.zeros_like(hidden)
        for start in range(0, len(hidden), rows):
            block = slice(start, start + rows)
            logits = functional.linear(hidden[block], matrix, offset)
            block_loss, difference = _loss_and_gradient(logits, target[block])
            loss += block_loss
            if need_hidden:
                torch.mm(difference, matrix, out=gradients[0][block])
            if need_weight:
                product = difference.t() @ hidden[block]
                gradients[1] = _sum(gradients[1], product, weight.dtype)
            if need_bias:
                gradients[2] = _sum(gradients[2], difference.sum(0), bias.dtype)
        if not len(hidden):
            gradients[1] = torch.zeros_like(weight)
            gradients[2] = None if bias is None else torch.zeros_like(bias)
        ctx.gradients = gradients
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Given away, so that the optimiser takes the matrix's gradient over instead of copying it.
        given, ctx.gradients = ctx.gradients, None
        if gradient.device.type != "cpu" or gradient != 1:
            given = [None if tensor is None else tensor.mul_(gradient) for tensor in given]
        return *given, None, None


def _loss_and_gradient(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The summed loss, and its gradient: softmax minus one-hot (rows x vocabulary)."""
    answer = target.unsqueeze(1)
    highest, right = logits.amax(1), logits.gather(1, answer).squeeze(1)
    difference = logits.softmax(1)
    # log of the sum of exponentials: the highest logit less the log of the highest probability,
    # which is 1 / vocabulary or more and so representable in any type
    normaliser = highest.float() - difference.amax(1).float().log()
    difference.scatter_add_(1, answer, difference.new_full(answer.shape, -1))
    return (normaliser - right.float()).sum(), difference


def _sum(total: Tensor | None, product: Tensor, dtype: torch.dtype) -> Tensor:
    return product.to(dtype) if total is None else total.add_(product)
