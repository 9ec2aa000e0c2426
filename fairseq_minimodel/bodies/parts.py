"""The parts of a model, in a reader's words, and which tensor belongs to which."""

from collections.abc import Iterable

from ..kinds import TOKEN_HEADS
from ..modules.method import is_module_part
from . import tensors
from .language_side import is_language_side
from .tensors import AUXILIARY_HEAD, CLASSIFICATION_HEAD, HEAD, layer_of

LANGUAGE_SIDE, TASK_MODULE, UNKNOWN = "language side", "task module", "unknown tensor"
POSITIONS, EMBEDDING_NORM = "position embeddings", "embedding LayerNorm"
FINAL_NORM = "final LayerNorm"
LAST_HEAD, MIDDLE_HEAD = "last MLM head", "MLM head"
CLASSIFIER = "classification head"
OF_TOKENS = {head: head.replace("_", " ") for head in TOKEN_HEADS}  # "span head"
# As an input meets them, by how their names begin.
ORDER = (LANGUAGE_SIDE, POSITIONS, EMBEDDING_NORM, "layer ", FINAL_NORM, MIDDLE_HEAD, LAST_HEAD)
ORDER += (CLASSIFIER, *OF_TOKENS.values(), TASK_MODULE)


def part_of(name: str) -> str:
    """The part that a tensor belongs to: "language side", "layer 2"; to none: "unknown tensor NAME"."""
    if is_language_side(name):
        return LANGUAGE_SIDE
    if match := AUXILIARY_HEAD.match(name):
        return f"{MIDDLE_HEAD} after layer {match[1]}"
    if match := CLASSIFICATION_HEAD.match(name):
        return f"{CLASSIFIER} {match[1]}"
    if name.startswith(HEAD):
        return LAST_HEAD
    if (head := name.partition(".")[0]) in OF_TOKENS:
        return OF_TOKENS[head]
    if is_module_part(name):
        return TASK_MODULE
    if (layer := layer_of(name)) is not None:
        return f"layer {layer + 1}"
    if name == tensors.POSITIONS:
        return POSITIONS
    if name.startswith(tensors.FINAL_NORM):
        return FINAL_NORM
    return EMBEDDING_NORM if name.startswith(tensors.EMBEDDING_NORM) else f"{UNKNOWN} {name}"


def is_identity(name: str) -> bool:
    """Whether a tensor is a buffer that says what a model is, and no weight: lineage, vocabulary."""
    in_no_module = name.startswith(tensors.BODY) and name.count(".") == 1
    return in_no_module or name.endswith(".version")


def place_of(part: str) -> tuple[int, int]:
    """Where a part stands among the others of a model, to sort by."""
    kind = next((place for place, start in enumerate(ORDER) if part.startswith(start)), len(ORDER))
    number = part.rpartition(" ")[2]
    return kind, int(number) if number.isdigit() else 0


def group_of(part: str) -> str:
    """The group of a part: language side, body, MLM heads, task heads, task module; or other."""
    if part in (LANGUAGE_SIDE, TASK_MODULE):
        return part
    if part.startswith((POSITIONS, EMBEDDING_NORM, "layer ", FINAL_NORM)):
        return "body"
    if part.startswith((MIDDLE_HEAD, LAST_HEAD)):
        return "MLM heads"
    return "task heads" if part.startswith((CLASSIFIER, *OF_TOKENS.values())) else "other"


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
