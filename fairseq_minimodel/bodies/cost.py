"""What the training run behind a checkpoint has cost, as far as the checkpoint tells."""

from dataclasses import dataclass

from ..cost.flops import Shape, masked_lm_flops
from .checkpoint import Checkpoint
from .language_side import language_side_of
from .surgery import head_layers
from .training_log import SUMS, TrainingLog

# Names of meters that fairseq saves with every checkpoint; the first is ours (models/accounting.py).
# fairseq leaves names with an underscore out of the log.
FLOPS, TOKENS, SECONDS = "_flops", "wpb", "train_wall"


@dataclass(frozen=True)
class TrainingCost:
    """Length and price of a run, over its resumes.

    Attributes:
        updates: optimiser steps.
        tokens: tokens of all batches, without padding; None if fairseq's meters are not in the
            checkpoint.
        seconds: spent in training steps; None as above.
        flops: floating-point operations (`cost/flops.py`) that were computed. For a model that does not
            count them, fairseq's `roberta`, those of masked language modelling over `tokens`; None
            for its other tasks.
    """

    updates: int
    tokens: int | None
    seconds: float | None
    flops: int | None


def training_cost(checkpoint: Checkpoint) -> TrainingCost:
    """The cost of the run that wrote a checkpoint, not of the runs before it."""
    tokens, seconds = _meter_sum(checkpoint, TOKENS), _meter_sum(checkpoint, SECONDS)
    flops = _meter_sum(checkpoint, FLOPS)
    if flops is None and tokens is not None:
        flops = _masked_lm_flops(checkpoint, int(tokens))
    return TrainingCost(
        updates=checkpoint.updates,
        tokens=None if tokens is None else int(tokens),
        seconds=seconds,
        flops=None if flops is None else round(flops),
    )


def cost_of_log(log: TrainingLog) -> TrainingCost:
    """The cost of the whole run behind a log, as its last lines have it."""
    last: dict[str, float] = {}
    for _, row in sorted(log.training.items()):
        last |= row
    flops, tokens, seconds = map(last.get, SUMS)
    return TrainingCost(log.updates, tokens, seconds, flops)


def shape_of(checkpoint: Checkpoint) -> Shape:
    """The sizes of a checkpoint's model that decide about its cost."""
    family, settings = checkpoint.family, checkpoint.body_settings()
    vocabulary = language_side_of(checkpoint.state).vocabulary_size
    return Shape.of(settings, vocabulary, modern=family.is_modern, tied=family.is_tied)


def _masked_lm_flops(checkpoint: Checkpoint, tokens: int) -> float | None:
    task = checkpoint.config.get("task", {})
    if "mask_prob" not in task:
        return None
    flops = masked_lm_flops(
        shape_of(checkpoint),
        tokens,
        task["tokens_per_sample"],
        freeze=checkpoint.model_config.get("freeze") or "none",
        auxiliary_head_layers=head_layers(checkpoint)[:-1],
        masked_fraction=task["mask_prob"],
    )
    return flops.total


def _meter_sum(checkpoint: Checkpoint, name: str) -> float | None:
    """The sum of a meter that fairseq keeps from the first update on, through all resumes."""
    metrics = checkpoint.extra_state.get("metrics") or {}
    for _, key, _, meter in metrics.get("default", []):
        if key == name:
            return float(meter["sum"])
    return None
