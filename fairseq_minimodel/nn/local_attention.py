"""Attention to the tokens around each alone: its time and memory grow with the length, not its square.

A sequence is cut into blocks as long as the window reaches to one side; the tokens of a block attend to
those of three: the block before, their own, and the next (Beltagy et al. 2020, arXiv 2004.05150,
section 3.1, has the pattern).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Blocks:
    """The sequences of a batch, cut into blocks.

    Attributes:
        side: how far a token attends to either side, and the length of a block.
        length: of the sequences, with padding.
        mask: true where there is attention, (sequences x blocks) x 1 x side x 3 side.
    """

    side: int
    length: int
    mask: Tensor

    @classmethod
    def of(cls, real: Tensor, side: int) -> "Blocks":
        """Of a batch.

        Args:
            real: sequences x length, false at padding.
            side: from 1.
        """
        queries = torch.arange(side, device=real.device)
        distances = torch.arange(-side, 2 * side, device=real.device) - queries[:, None]
        outside = _missing(real.size(1), side)
        keys = functional.pad(real, (side, side + outside)).unfold(1, 3 * side, side)
        near = keys[:, :, None, :] & (distances.abs() <= side)
        # Padding attends to itself: over nothing, softmax is not a number.
        return cls(side, real.size(1), (near | (distances == 0)).flatten(0, 1).unsqueeze(1))

    def split(self, x: Tensor) -> Tensor:
        """Queries, sequences x heads x length x width, to those of a block each: (sequences x blocks) x
        heads x side x width.
        """
        x = functional.pad(x, (0, 0, 0, _missing(self.length, self.side)))
        return x.unflatten(2, (-1, self.side)).transpose(1, 2).flatten(0, 1)

    def around(self, x: Tensor) -> Tensor:
        """Keys or values, to those of three blocks each: (...) x heads x 3 side x width."""
        x = functional.pad(x, (0, 0, self.side, self.side + _missing(self.length, self.side)))
        return x.unfold(2, 3 * self.side, self.side).permute(0, 2, 1, 4, 3).flatten(0, 1)

    def join(self, x: Tensor) -> Tensor:
        """The inverse of `split`."""
        blocks = -(-self.length // self.side)
        return x.unflatten(0, (-1, blocks)).transpose(1, 2).flatten(2, 3)[:, :, : self.length]


def _missing(length: int, side: int) -> int:
    """How many tokens the last block has not."""
    return -length % side
