"""The parts of a model, in a reader's words, and which tensor belongs to which."""

from collections import Counter
from collections.abc import Iterable

import torch

from ...checkpoint.load import Checkpoint
from ...checkpoint.surgery import HEAD, _components
from ...language.side import EMBEDDING, OUTPUT_BIAS, TIED_PROJECTION, StateDict

LANGUAGE_SIDE, BODY, MLM_HEADS, TASK_HEADS, TASK_MODULE = (
    "language side",
    "body",
    "MLM heads",
    "task heads",
    "task module",
)
# The parts as an input meets them, by how their names begin.
ORDER = (
    "language side",
    "position embeddings",
    "embedding LayerNorm",
    "layer ",
    "MLM head",
    "classification head",
    "span head",
    "task module",
)
SHOWN_TENSORS = 3  # of those that hold NaN or infinities


def part_of(name: str) -> str:
    """The part that a tensor belongs to: "language side", "layer 2", "span head"."""
    return _components([name])[0]


def place_of(part: str) -> tuple[int, int]:
    """Where a part stands among the others of a model, to sort by."""
    kind = next((place for place, start in enumerate(ORDER) if part.startswith(start)), len(ORDER))
    number = part.rpartition(" ")[2]
    return kind, int(number) if number.isdigit() else 0


def listed(parts: Iterable[str]) -> str:
    """The names of parts, with layers that follow each other in one: "language side, layers 1-4"."""
    runs: list[tuple[str, int, int]] = []
    for part in parts:
        kind, _, number = part.partition(" ")
        layer = int(number) if kind == "layer" else 0
        if layer and runs and runs[-1][2] == layer - 1 > 0:
            runs[-1] = ("", runs[-1][1], layer)
        else:
            runs.append((part, layer, layer))
    return ", ".join(name or f"layers {first}-{last}" for name, first, last in runs)


def weights_of(checkpoint: Checkpoint) -> StateDict:
    """The weights of a checkpoint, each once, by names that mean the same in models of any depth.

    Left out are the buffers that say what the model is. A head that stands after the last layer is
    named as one after a middle layer is, so that it is found again in a model that is cut there.
    """
    state = checkpoint.state
    last_head = f"encoder.auxiliary_lm_heads.{checkpoint.layers}."
    weights: StateDict = {}
    for name, tensor in state.items():
        if is_identity(name) or (name == TIED_PROJECTION and is_tied(state)):
            continue
        if name.startswith(HEAD) and name not in (TIED_PROJECTION, OUTPUT_BIAS):
            name = last_head + name.removeprefix(HEAD)
        weights[name] = tensor
    return weights


def is_identity(name: str) -> bool:
    """Whether a tensor is a buffer that says what a model is, and no weight: lineage, vocabulary."""
    return name.count(".") == 1 and name.startswith("encoder.") or name.endswith(".version")


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
        if tensor.is_floating_point() and not tensor.isfinite().all():
            nan, infinite = int(tensor.isnan().sum()), int(tensor.isinf().sum())
            sentences.append(
                f"{name} ({part_of(name)}) has {nan:,} NaN and {infinite:,} infinite values of "
                f"{tensor.numel():,}"
            )
    more = len(sentences) - SHOWN_TENSORS
    if more > 0:
        sentences[SHOWN_TENSORS:] = [f"NaN or infinite values in {more} more tensors"]
    return sentences


def _group(part: str) -> str:
    if part.startswith("MLM head"):
        return MLM_HEADS
    if part == "span head" or part.startswith("classification head"):
        return TASK_HEADS
    if part in (LANGUAGE_SIDE, TASK_MODULE):
        return part
    if part in ("position embeddings", "embedding LayerNorm") or part.startswith("layer "):
        return BODY
    return "other"
