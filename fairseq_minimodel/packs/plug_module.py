"""A task module in the body that it was trained over: beside its weights, or merged into them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..bodies.checkpoint import Checkpoint
from ..bodies.family import Family
from ..bodies.identity import encode, lineage_of
from ..bodies.language_side import StateDict
from ..bodies.surgery import SurgeryReport
from ..bodies.tensors import EMBEDDING, TASK_BODY, is_head
from ..errors import InputError
from ..modules.method import NONE, is_module_part
from .module import (
    DESCRIPTION,
    WEIGHTS,
    TaskModule,
    body_digest,
    changed_layers,
    fixed_heads,
    is_layer_norm,
    load_strictly,
    unfit,
)
from .trained_language import LAST_CHECKPOINT, was_language_trained


def plug_module(checkpoint: Checkpoint, module: TaskModule) -> tuple[Checkpoint, SurgeryReport]:
    """The body with the task of the module: by other weights where the method allows, else beside.

    Raises:
        InputError: the module was trained over another body.
    """
    if module.method.why_not_merged is None:
        return merge_module(checkpoint, module)
    check_fits(checkpoint, module)
    made = {**module.tensors, TASK_BODY: encode(module.description.body)}
    return _with_task(checkpoint, module, made, module.method.settings())


def merge_module(checkpoint: Checkpoint, module: TaskModule) -> tuple[Checkpoint, SurgeryReport]:
    """The body with the module's change made to its weights: a plain model of the same outputs.

    Raises:
        InputError: the module was trained over another body, or does not merge.
    """
    check_merges(module)
    check_fits(checkpoint, module)
    tensors = merged_tensors(checkpoint.state, module, checkpoint.family)
    return _with_task(checkpoint, module, dict(tensors), {})


def merged_tensors(
    state: StateDict, module: TaskModule, family: Family
) -> Iterator[tuple[str, Tensor]]:
    """The tensors, with their names, that differ from the body's once a module is merged into it.

    Weights of the body in the type that the body has; heads in float32. One at a time.
    """
    description, method = module.description, module.method
    fixed = fixed_heads(description, family) if method.changes_heads else {}
    targets = changed_layers(method, description.layers, description.heads, family)
    base = state | fixed
    shapes = {name: base[f"{name}.weight"].shape for name in targets}
    try:
        for name, own in method.unpack(module.tensors, shapes):
            weight, bias = base[f"{name}.weight"], base.get(f"{name}.bias")
            with torch.device("meta"):  # filled from the module
                change = method.change(targets[name], *weight.shape)
            load_strictly(change, own, module)
            exact = torch.promote_types(weight.dtype, torch.float32)
            with torch.no_grad():
                yield f"{name}.weight", change(weight.to(exact)).to(weight.dtype)
                if bias is not None:
                    yield f"{name}.bias", change.change_bias(bias.to(exact)).to(bias.dtype)
    except ValueError as error:
        reason = f"does not hold the {', '.join(method.bits)} that {DESCRIPTION} tells of ({error})"
        raise unfit(module.folder / WEIGHTS, reason) from None
    for name, tensor in fixed.items():
        if name.rpartition(".")[0] not in targets:  # a LayerNorm's
            yield name, tensor
    for name, tensor in module.tensors.items():
        if not is_module_part(name) and name not in method.bits:
            yield name, tensor


def _with_task(
    checkpoint: Checkpoint, module: TaskModule, made: StateDict, settings: dict[str, object]
) -> tuple[Checkpoint, SurgeryReport]:
    """The checkpoint with some tensors replaced, no other head, and the module's task."""
    kept = {
        name: tensor
        for name, tensor in checkpoint.state.items()
        if name not in made and not is_head(name)
    }
    report = SurgeryReport(
        kept=tuple(kept),
        made=tuple(made),
        dropped=tuple(name for name in checkpoint.state if name not in kept),
    )
    config = {
        **checkpoint.body_settings(),
        "task_module": NONE,
        "freeze": "none",
        **module.description.head_settings,
        **settings,
    }
    plugged = checkpoint.replaced({**kept, **made}, _name=checkpoint.family.model, **config)
    plugged.config["task"] = {**module.description.task, "data": str(module.folder.resolve())}
    if not was_language_trained(checkpoint):  # what the body began with says nothing of the task
        start = plugged.config.get("checkpoint") or {}
        none = {"finetune_from_model": None, "restore_file": LAST_CHECKPOINT}
        plugged.config["checkpoint"] = {**start, **none}
    return plugged, report


def changed_names(state: StateDict, module: TaskModule) -> set[str]:
    """The names of a body's tensors that differ once a module is merged into it."""
    layers = changed_layers(module.method, module.description.layers)
    weights = {f"{name}.{kind}" for name in layers for kind in ("weight", "bias")}
    return weights & state.keys() | {
        name for name in module.tensors if is_layer_norm(name) and not is_module_part(name)
    }


def check_merges(module: TaskModule) -> None:
    """Refuse a module whose effect no weight of a plain model has with an `InputError`."""
    if module.method.why_not_merged:
        raise InputError(
            f"{module.folder} cannot be merged: {module.method.name} {module.method.why_not_merged}; "
            "evaluate takes the module as it is (--module)"
        )


def check_fits(checkpoint: Checkpoint, module: TaskModule) -> None:
    """Refuse a module that was trained over another body with an `InputError`."""
    if TASK_BODY in checkpoint.state:
        raise InputError(
            f"{checkpoint.path} has a task module inside: give the body that it was trained over, "
            "or evaluate it without --module"
        )
    about, lineage = module.description, lineage_of(checkpoint.state)
    if about.lineage != lineage:
        raise InputError(
            f"the module {module.folder} belongs to the lineage {about.lineage} and the body "
            f"{checkpoint.path} to the lineage {lineage}: give the body that it was trained over"
        )
    body = body_digest(checkpoint.state)
    if about.body != body:
        raise InputError(
            f"the module {module.folder} was trained over the body {about.body} "
            f"({about.layers} layers), and {checkpoint.path} is the body {body} "
            f"({checkpoint.layers} layers): of one lineage, with other weights; give the checkpoint "
            "that was its --finetune-from-model"
        )
    sizes = checkpoint.layers, checkpoint.state[EMBEDDING].size(1)
    if (about.layers, about.width) != sizes:
        raise unfit(
            module.folder / DESCRIPTION,
            f"is damaged ({about.layers} layers of the width {about.width}, and its body has "
            f"{sizes[0]} of the width {sizes[1]})",
        )
