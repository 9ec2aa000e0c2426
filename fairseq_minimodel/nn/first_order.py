"""Gradient steps that are taken and taken back (first-order MAML: Finn et al. 2017, 1703.03400)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# Gradients in half precision are computed of the loss times this, so that small ones are not lost;
# in other types a power of two changes nothing.
LOSS_SCALE = 128.0


@contextmanager
def adapted(
    parameters: Sequence[nn.Parameter], losses: Callable[[], Tensor], steps: int, rate: float
) -> Iterator[None]:
    """Within the block, the parameters are where gradient descent takes them; then back, to the bit.

    A gradient that is computed in the block is one at the adapted point. Taken for one at the start,
    as it is when the block is left, it is the first-order meta-gradient: the adaptation counts as a
    shift by a constant. The gradients of the inner steps themselves are not accumulated anywhere.

    Args:
        parameters: that the steps change.
        losses: gives the loss of the next step.
        steps: how many.
        rate: the learning rate.
    """
    start = [parameter.detach().clone() for parameter in parameters]
    try:
        for _ in range(steps):
            with torch.enable_grad():
                scaled = losses() * LOSS_SCALE
            gradients = torch.autograd.grad(scaled, parameters, allow_unused=True)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    if gradient is not None:
                        wide = torch.promote_types(parameter.dtype, torch.float32)
                        step = rate * (gradient.to(wide) / LOSS_SCALE)
                        parameter.copy_(parameter.to(wide) - step)
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, start, strict=True):
                parameter.copy_(value)
