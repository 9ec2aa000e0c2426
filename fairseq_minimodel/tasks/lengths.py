"""What a run says of text that is longer than it takes, once, before training begins.

fairseq leaves such items out of the training data with a warning, and ends with an exception where
they are in the validation data; neither says how much of the text that is. This holds for its own
tasks as well as for ours, so it stands in the base class of all tasks.
"""

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from fairseq.data import FairseqDataset
from fairseq.tasks import FairseqTask

from ..errors import InputError
from ..plugin.compat.around import Former, around

logger = logging.getLogger(__name__)

SKIP = "--skip-invalid-size-inputs-valid-test"


@dataclass(frozen=True)
class TooLong:
    """What of a split is longer than a run takes.

    Attributes:
        tokens: share of the split's tokens that is in such items.
        items: how many there are.
        longest: of them, in tokens.
        limit: the most tokens that an item may have.
    """

    split: str
    tokens: float
    items: int
    longest: int
    limit: int

    def __str__(self) -> str:
        share = f"{100 * self.tokens:.1f}" if self.tokens >= 0.001 else "less than 0.1"
        items = "1 item" if self.items == 1 else f"{self.items:,} items"
        return f"{share} % of the tokens of {self.split} ({items})"


def lengths(dataset: FairseqDataset, indices: np.ndarray) -> np.ndarray:
    """The numbers of tokens of some items."""
    sizes = getattr(dataset, "sizes", None)
    if isinstance(sizes, list) and len(sizes) == 1:
        (sizes,) = sizes
    if isinstance(sizes, np.ndarray) and sizes.ndim == 1:
        return sizes[indices].astype(np.int64)
    return np.array([np.max(dataset.size(index)) for index in indices], dtype=np.int64)


def too_long(
    split: str, dataset: FairseqDataset, indices: np.ndarray, limit: float
) -> TooLong | None:
    """What of the items is longer than `limit` tokens; None: nothing."""
    sizes = lengths(dataset, indices)
    over = sizes[sizes > limit]
    if not len(over):
        return None
    return TooLong(split, over.sum() / sizes.sum(), len(over), int(over.max()), int(limit))


def ways_out(task: FairseqTask, found: list[TooLong]) -> str:
    """The options that help."""
    limit, longest = min(one.limit for one in found), max(one.longest for one in found)
    if limit < np.min(task.max_positions() or math.inf):
        return (
            f"give --max-tokens {longest} or more, or a model of as many positions, or prepare the "
            f"text with fairseq-minimodel prepare --sequence-length {limit}"
        )
    if hasattr(task.cfg, "tokens_per_sample"):
        return (
            f"give --tokens-per-sample {longest}, if the model has as many positions, or prepare the "
            f"text with fairseq-minimodel prepare --sequence-length {limit}"
        )
    shorten = "--shorten-method truncate, or " if hasattr(task.cfg, "shorten_method") else ""
    return f"give {shorten}--max-positions {longest}, if the model has as many positions"


@around(FairseqTask, "filter_indices_by_size")
def filter_indices_by_size(
    filter_indices: Former,
    task: FairseqTask,
    indices: np.ndarray,
    dataset: FairseqDataset,
    max_positions: float | None = None,
    ignore_invalid_inputs: bool = False,
) -> np.ndarray:
    """The items that are not too long, as fairseq's method of this name.

    Raises:
        InputError: none is left; or some are too long, and the run may not leave them out.
    """
    if not isinstance(max_positions, int | float):
        return filter_indices(task, indices, dataset, max_positions, ignore_invalid_inputs)
    split = next((name for name, one in task.datasets.items() if one is dataset), "the data")
    one = too_long(split, dataset, indices, max_positions)
    if one is None:
        return indices
    found = task.__dict__.setdefault("_too_long", {})
    found.setdefault(split, one)
    everything = one.items == len(indices)
    if everything or not ignore_invalid_inputs:
        raise InputError(
            f"{_listed(found.values())} are in items longer than the {one.limit} tokens that "
            f"this run takes (the longest has {max(each.longest for each in found.values())}): "
            f"{ways_out(task, list(found.values()))}"
            + ("" if everything else f", or leave them out with {SKIP}")
        )
    if len(task.datasets) == 1:  # no training, which says it of all its data at once
        say_what_is_left_out(task)
    return indices[lengths(dataset, indices) <= max_positions]


def say_what_is_left_out(task: FairseqTask) -> None:
    """One sentence, once."""
    found = list(task.__dict__.get("_too_long", {}).values())
    if not found or task.__dict__.get("_has_said_too_long"):
        return
    task.__dict__["_has_said_too_long"] = True
    logger.warning(
        "left out: %s, in items longer than %d tokens (the longest has %d); to keep them, %s",
        _listed(found),
        min(one.limit for one in found),
        max(one.longest for one in found),
        ways_out(task, found),
    )


def _listed(found: Iterable[TooLong]) -> str:
    return " and ".join(map(str, found))
