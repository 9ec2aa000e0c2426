"""Dropout that costs a fifth of PyTorch's on a CPU.

PyTorch's draws one number of 32 bits per element, one after the other; ours fills memory with random
bits, 64 at a time, compares 16 of them per element (so that the probability is right to 1 / 65536),
and zeroes elements by bits. On other devices it is PyTorch's own, which is fast there.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional

_RANGE = 2**16
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of an element


def dropout(x: Tensor, p: float) -> Tensor:
    """`x` with each element zeroed with probability `p`, the others divided by 1 - p.

    Args:
        x: any shape, floating point.
        p: from 0 to below 1; 0 gives `x` itself.
    """
    if p == 0 or x.device.type != "cpu":
        return functional.dropout(x, p) if p else x
    return _Zeroed.apply(x, p) * (1 / (1 - p))


def add_dropout(x: Tensor, y: Tensor, p: float) -> Tensor:
    """x + dropout(y, p), with a pass over memory less."""
    if p == 0 or y.device.type != "cpu":
        return x + dropout(y, p)
    return torch.add(x, _Zeroed.apply(y, p), alpha=1 / (1 - p))


class _Zeroed(torch.autograd.Function):
    """Dropout without the division."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, p: float) -> Tensor:
        kept = _kept(x.numel(), p).view(x.shape)
        ctx.save_for_backward(kept)
        return _where(kept, x)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return _where(kept, gradient), None


def _kept(elements: int, p: float) -> Tensor:
    """All bits set with probability 1 - p, else none; int16."""
    bits = torch.empty((elements + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    threshold = min(round(p * _RANGE), _RANGE - 1) - _RANGE // 2
    return bits.view(torch.int16)[:elements].ge_(threshold).neg_()


def _where(kept: Tensor, x: Tensor) -> Tensor:
    """The elements of `x` for which the bits of `kept` are set; 0 elsewhere."""
    integer = _INTEGERS[x.element_size()]
    return (x.contiguous().view(integer) & kept.to(integer)).view(x.dtype)
