"""Gradient steps that are taken and taken back (first-order MAML: Finn et al. 2017, 1703.03400)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# Gradients in half precision are computed of the loss times this, so that small ones are not lost;
# in other types a power of two changes nothing.
LOSS_SCALE = 128.0

OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


@contextmanager
def adapted(
    parameters: Sequence[nn.Parameter],
    losses: Callable[[], Tensor],
    steps: int,
    optimizer: str,
    rate: float,
) -> Iterator[None]:
    """Within the block, the parameters are where some steps take them; then back, to the bit.

    A gradient that is computed in the block is one at the adapted point. Taken for one at the start,
    as it is when the block is left, it is the first-order meta-gradient: the adaptation counts as a
    shift by a constant. The gradients of the inner steps themselves are not accumulated anywhere.

    Args:
        parameters: that the steps change.
        losses: gives the loss of the next step.
        steps: how many.
        optimizer: in `OPTIMIZERS`, with PyTorch's settings; its state begins anew in each block.
        rate: the learning rate.
    """
    start = [parameter.detach().clone() for parameter in parameters]
    # the optimiser's own copies, in float32 where the parameters are in half precision
    exact = [
        value.to(torch.promote_types(value.dtype, torch.float32), copy=True) for value in start
    ]
    inner = OPTIMIZERS[optimizer](exact, lr=rate) if exact else None
    try:
        for _ in range(steps if inner else 0):
            with torch.enable_grad():
                scaled = losses() * LOSS_SCALE
            gradients = torch.autograd.grad(scaled, parameters, allow_unused=True)
            for value, gradient in zip(exact, gradients, strict=True):
                value.grad = None if gradient is None else gradient.to(value) / LOSS_SCALE
            inner.step()
            _copy(exact, parameters)
        yield
    finally:
        _copy(start, parameters)


def _copy(values: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
