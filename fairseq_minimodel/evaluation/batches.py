"""Token sequences of any lengths as batches for a model."""

from collections.abc import Iterator, Sequence

import numpy
import torch
from torch import Tensor, nn

from ..corpus.vocabulary import PAD


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
