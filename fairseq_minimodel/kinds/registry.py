"""The kinds of tasks, and which one a checkpoint is of."""

from collections.abc import Mapping
from typing import Any

from ..nn.pooling import POOLINGS
from . import MASKED, VECTORS, classification, masked, similarity, spans, tags, vectors
from .kind import Kind

KINDS: dict[str, Kind] = {
    one.KIND.name: one.KIND for one in (spans, classification, tags, masked, similarity, vectors)
}
# What may lie beside the training data of a task, or beside its body or module.
RECORDS = tuple(dict.fromkeys(kind.record for kind in KINDS.values() if kind.record))


def kind_of_task(task: str | None) -> Kind | None:
    """The kind that fairseq's task of this name trains; None: there is none."""
    return next((kind for kind in KINDS.values() if task in kind.tasks), None)


def kind_of(config: Mapping[str, Any]) -> Kind:
    """The kind that a checkpoint of this configuration was trained for; masked words if unknown.

    A body with settings for sentence vectors is of that kind until it is fine-tuned for another.
    """
    kind = kind_of_task((config.get("task") or {}).get("_name")) or KINDS[MASKED]
    pooling = (config.get("model") or {}).get("sentence_pooling")
    return KINDS[VECTORS] if kind.name == MASKED and pooling in POOLINGS else kind
