"""The weights of a model: how many, of which part and type, and whether they are numbers."""

from collections import Counter

import torch

from ...bodies.checkpoint import Checkpoint
from ...bodies.family import EMBEDDING, HEAD, OUTPUT_BIAS, TIED_PROJECTION, middle_head
from ...bodies.language_side import StateDict
from ...bodies.parts import (
    ANSWERER,
    CLASSIFIER,
    EMBEDDING_NORM,
    LANGUAGE_SIDE,
    LAST_HEAD,
    MIDDLE_HEAD,
    POSITIONS,
    TASK_MODULE,
    is_identity,
    part_of,
)
from ...bodies.weights import FLOATS, count_not_finite

BODY, MLM_HEADS, TASK_HEADS = "body", "MLM heads", "task heads"
SHOWN_TENSORS = 3  # of those that hold NaN or infinities


def weights_of(checkpoint: Checkpoint) -> StateDict:
    """The weights of a checkpoint, each once, by names that mean the same in models of any depth.

    Left out are the buffers that say what the model is. A head that stands after the last layer is
    named as one after a middle layer is, so that it is found again in a model that is cut there.
    """
    state = checkpoint.state
    last_head = middle_head(checkpoint.layers)
    weights: StateDict = {}
    for name, tensor in state.items():
        if is_identity(name) or (name == TIED_PROJECTION and is_tied(state)):
            continue
        if name.startswith(HEAD) and name not in (TIED_PROJECTION, OUTPUT_BIAS):
            name = last_head + name.removeprefix(HEAD)
        weights[name] = tensor
    return weights


def is_tied(state: StateDict) -> bool:
    """Whether the output projection is the token embedding."""
    return TIED_PROJECTION in state and torch.equal(state[TIED_PROJECTION], state[EMBEDDING])


def parameters(weights: StateDict) -> dict[str, int]:
    """How many parameters the language side, the body, the heads and the task module have."""
    counts: Counter[str] = Counter()
    for name, tensor in weights.items():
        counts[_group(part_of(name))] += tensor.numel()
    return dict(counts)


def precisions(weights: StateDict) -> dict[str, int]:
    """How many parameters there are of each type: {"float32": 1000}."""
    counts: Counter[str] = Counter()
    for tensor in weights.values():
        counts[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    return dict(counts)


def not_finite(weights: StateDict) -> list[str]:
    """A sentence for each tensor that holds NaN or infinities, the first few by name."""
    sentences = []
    for name, tensor in weights.items():
        if tensor.dtype not in FLOATS:  # masks
            continue
        nan, infinite = count_not_finite(tensor)
        if nan or infinite:
            sentences.append(
                f"{name} ({part_of(name)}) has {nan:,} NaN and {infinite:,} infinite values of "
                f"{tensor.numel():,}"
            )
    more = len(sentences) - SHOWN_TENSORS
    if more > 0:
        sentences[SHOWN_TENSORS:] = [f"NaN or infinite values in {more} more tensors"]
    return sentences


def _group(part: str) -> str:
    if part == LAST_HEAD or part.startswith(MIDDLE_HEAD):
        return MLM_HEADS
    if part == ANSWERER or part.startswith(CLASSIFIER):
        return TASK_HEADS
    if part in (POSITIONS, EMBEDDING_NORM) or part.startswith("layer "):
        return BODY
    return part if part in (LANGUAGE_SIDE, TASK_MODULE) else "other"
