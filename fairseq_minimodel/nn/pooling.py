"""One vector for each sequence of hidden states."""

import torch
from torch import Tensor

MEAN, CLS, MAX = POOLINGS = ("mean", "cls", "max")
LATE = "late"  # in a classification head: the mean of the outputs of all tokens


def pooled_positions(real: Tensor, pooling: str) -> Tensor:
    """The positions that `pool` reads (batch x length, true there); arguments as there."""
    if pooling != CLS:
        return real
    first = torch.zeros_like(real)
    first[:, 0] = real[:, 0]
    return first


def pool(hidden: Tensor, real: Tensor, pooling: str) -> Tensor:
    """A vector for each sequence, batch x width.

    Reimers and Gurevych 2019 (arXiv 1908.10084), section 3: the hidden state of the first token, or
    the mean or, in each dimension, the largest value of all tokens, <s> and </s> among them.

    Args:
        hidden: batch x length x width; what it holds at padding does not matter, if it is finite.
        real: batch x length, false at padding, which is at the right. A row has one true at least.
        pooling: of `POOLINGS`.
    """
    if pooling == CLS:
        return hidden[:, 0]
    places = real.unsqueeze(-1)
    if pooling == MAX:
        return hidden.masked_fill(~places, -torch.inf).amax(dim=1)
    return (hidden * places).sum(dim=1) / places.sum(dim=1)
