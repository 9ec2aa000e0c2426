"""The kinds of tasks, and which one a checkpoint is of."""

from collections.abc import Mapping
from typing import Any

from . import MASKED, classification, masked, spans, tags, vectors
from .kind import Kind

KINDS: dict[str, Kind] = {
    one.KIND.name: one.KIND for one in (spans, classification, tags, masked, vectors)
}
# What may lie beside the training data of a task, or beside its body or module.
RECORDS = tuple(dict.fromkeys(kind.record for kind in KINDS.values() if kind.record))


def kind_of_task(task: str | None) -> Kind | None:
    """The kind that fairseq's task of this name trains; None: there is none."""
    return next((kind for kind in KINDS.values() if task in kind.tasks), None)


def kind_of(config: Mapping[str, Any]) -> Kind:
    """The kind that a checkpoint of this configuration was trained for; masked words if unknown."""
    return kind_of_task((config.get("task") or {}).get("_name")) or KINDS[MASKED]
