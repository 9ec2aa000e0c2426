"""Token sequences of any lengths as batches for a model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy
import torch
from torch import Tensor, nn

from ..terminal.progress import counted
from ..vocabulary.tokenizers import PAD

Result = TypeVar("Result")


def padded_batches(
    sequences: Sequence[numpy.ndarray], max_tokens: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield which sequences are in a batch, and the batch: their ids, padded at the right.

    Sequences of like length share a batch, so that little padding is computed.

    Args:
        max_tokens: in a batch, padding included. A longer sequence is a batch by itself.
    """
    by_length = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    batches: list[list[int]] = []
    for index in by_length:
        # the longest sequence of a batch is its last, and all others are padded to it
        if not batches or (len(batches[-1]) + 1) * len(sequences[index]) > max_tokens:
            batches.append([])
        batches[-1].append(index)
    for batch in batches:
        tokens = [torch.from_numpy(sequences[index]) for index in batch]
        yield batch, nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=PAD)


@dataclass(frozen=True)
class Batches:
    """How much is computed at a time, where, and how exactly.

    Attributes:
        max_tokens: see `padded_batches`.
        device: of PyTorch.
        quiet: show no progress.
        bfloat16: weights and computation in bfloat16, not in float32.
    """

    max_tokens: int
    device: str = "cpu"
    quiet: bool = False
    bfloat16: bool = False

    @property
    def rounding(self) -> dict[str, bool]:
        """What a row of scores says of that: nothing where they are exact."""
        return {"bfloat16": True} if self.bfloat16 else {}

    def compute(
        self,
        sequences: Sequence[numpy.ndarray],
        function: Callable[[Tensor, list[int]], Iterable[Result]],
        unit: str,
    ) -> list[Result]:
        """What is computed for each sequence, without gradients, in the order of the sequences.

        Args:
            function: from a batch, and the numbers of its sequences, to a result for each.
            unit: what a sequence is, to show progress.
        """
        results: list[Result] = [None] * len(sequences)
        shown = None if self.quiet else unit
        with torch.inference_mode(), counted("predicting", len(sequences), shown) as done:
            for batch, tokens in padded_batches(sequences, self.max_tokens):
                computed = function(tokens.to(self.device), batch)
                for index, result in zip(batch, computed, strict=True):
                    results[index] = result
                done(len(batch))
        return results
