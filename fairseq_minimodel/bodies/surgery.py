"""Making one model out of another: cut it, put layers on top, give it another language.

Every operation takes a checkpoint and returns a new one with a report; the tensors that it keeps are
the same tensors, by bits. Nothing here reads or writes files.
"""

from dataclasses import dataclass

import torch

from ..cost.freezing import BOTTOM, WITHOUT_HEAD
from ..errors import InputError
from ..modules.method import is_module_part
from .checkpoint import Checkpoint
from .family import Family
from .language_side import StateDict, is_language_side
from .parts import is_identity, listed, part_of, place_of
from .state import sizes_of_state
from .tensors import (
    AUXILIARY_HEAD,
    BODY,
    EMBEDDING,
    FINAL_NORM,
    HEAD,
    LAYERS,
    MIDDLE_NORM,
    OUTPUT_PROJECTION,
    layer_of,
    middle_head,
)

INITIAL_STANDARD_DEVIATION = 0.02  # BERT's, as in fairseq's init_bert_params
NEW, COPY, FROZEN = "new", "copy", "frozen"  # where what `extend` puts on top comes from


@dataclass(frozen=True)
class SurgeryReport:
    """The names of the tensors that an operation kept, made and dropped, and what else to say."""

    kept: tuple[str, ...]
    made: tuple[str, ...]
    dropped: tuple[str, ...]
    note: str = ""

    def __str__(self) -> str:
        lines = [self.note] if self.note else []
        for action in ("kept", "made", "dropped"):
            names = getattr(self, action)
            parts = {part_of(name) for name in names if not is_identity(name)}
            if parts:
                lines.append(f"{action}: {listed(sorted(parts, key=place_of))}")
        return "; ".join(lines)


def head_layers(checkpoint: Checkpoint) -> list[int]:
    """The layers (counted from 1) after which the checkpoint has an MLM head, in order."""
    middle = {int(match[1]) for name in checkpoint.state if (match := AUXILIARY_HEAD.match(name))}
    return sorted(middle | {checkpoint.layers})


def truncate(checkpoint: Checkpoint, depth: int) -> tuple[Checkpoint, SurgeryReport]:
    """The bottom `depth` layers with the MLM head that was trained after them (MiniJoint's step 2).

    The result is a plain model of `depth` layers: the middle head becomes its last-layer head.

    Raises:
        InputError: the checkpoint has no such layer, or no MLM head after it.
    """
    _check_depth(checkpoint, depth)
    heads = head_layers(checkpoint)
    if depth not in heads:
        raise InputError(
            f"{checkpoint.path} has no MLM head after layer {depth}, only after "
            f"{', '.join(map(str, heads))}: choose one of these, pretrain with "
            f"--auxiliary-head-layers {depth}, or put a head on with `fairseq-minimodel extend`"
        )
    head = HEAD if depth == checkpoint.layers else middle_head(depth)
    state = _bottom(checkpoint.state, depth)
    if head != HEAD:  # it has a final LayerNorm of its own, if any
        state = {name: tensor for name, tensor in state.items() if not name.startswith(FINAL_NORM)}
    kept = list(state)
    for name, tensor in checkpoint.state.items():
        if name.startswith(head):
            rest = name.removeprefix(head)
            is_norm = head != HEAD and rest.startswith(MIDDLE_NORM)
            state[FINAL_NORM + rest.removeprefix(MIDDLE_NORM) if is_norm else HEAD + rest] = tensor
            kept.append(name)
    dropped = tuple(name for name in checkpoint.state if name not in kept)
    truncated = _plain_model(checkpoint, state, depth)
    note = _of_the_last_layer(truncated) if depth < checkpoint.layers else ""
    return truncated, SurgeryReport(tuple(kept), (), dropped, note)


def _of_the_last_layer(checkpoint: Checkpoint) -> str:
    """What to say of a last layer that attends to a window; "": it attends to all tokens."""
    body = checkpoint.body_settings()
    every, depth = body.get("global_every", 1), checkpoint.layers
    if depth % every == 1 % every:
        return ""
    return (
        f"layer {depth}, the last now, attends to a window of {body['local_attention']} tokens, and "
        f"depths of {every} k + 1 (1, {1 + every}, {1 + 2 * every}, ...) end on a layer that attends "
        "to all"
    )


def extend(
    checkpoint: Checkpoint,
    depth: int,
    new_layers: int,
    seed: int = 1,
    *,
    head: str = COPY,
    layers: str = COPY,
) -> tuple[Checkpoint, SurgeryReport]:
    """The bottom `depth` layers with `new_layers` more and a head to be trained (MiniPost's step 1b).

    The language side stays; train the rest with `--freeze`, as `step_1b` says.

    Args:
        checkpoint: the body.
        depth: layers that stay as they are.
        new_layers: layers on top of them; 0: the head alone.
        seed: of what is new: weights as BERT's are, N(0, 0.02), biases 0, LayerNorms the identity.
        head: NEW; COPY: the body's last MLM head, to be trained on; FROZEN: the same, to stay as it is.
        layers: NEW; COPY: the body's own next layers, to be trained on.

    Raises:
        InputError: the checkpoint has fewer layers than `depth`, none to copy, or no MLM head to copy;
            or nothing is left to train.
    """
    _check_depth(checkpoint, depth)
    total = depth + new_layers
    if new_layers < 0:
        raise InputError(f"{new_layers} new layers: give 0 or more")
    if not new_layers and head == FROZEN:
        raise InputError("no new layers and a frozen head: there is nothing to train")
    if layers == COPY and total > checkpoint.layers:
        raise InputError(
            f"{checkpoint.path} has {checkpoint.layers} layers, and none to copy as layers {depth + 1} "
            f"to {total}: choose a lower depth, fewer new layers, or --layers {NEW}"
        )
    own_head = [name for name in checkpoint.state if name.startswith(HEAD)]
    if head != NEW and not own_head:
        raise InputError(f"{checkpoint.path} has no MLM head to copy: give --head {NEW}")
    if head == NEW and not checkpoint.family.head:
        raise InputError(
            f"the MLM head of {checkpoint.path}, a {checkpoint.family.name}, is its output projection, "
            f"which belongs to the language: give --head {COPY}"
        )
    generator = torch.Generator().manual_seed(seed)
    state = _bottom(checkpoint.state, total if layers == COPY else depth)
    if head != NEW:
        state |= {name: checkpoint.state[name] for name in own_head}
    kept = tuple(state)
    dropped = tuple(name for name in checkpoint.state if name not in state)
    if head == NEW:
        for name, tensor in fresh_head(state[EMBEDDING], checkpoint.family, generator).items():
            state.setdefault(name, tensor)  # the output bias stays
    state.setdefault(OUTPUT_PROJECTION, state[EMBEDDING])
    first_layer = [name for name in kept if layer_of(name) == 0]
    sizes = sizes_of_state(state, checkpoint.family)
    for index in range(depth, total):
        for name in first_layer:
            new = f"{LAYERS}{index}.{name.removeprefix(f'{LAYERS}0.')}"
            if new not in state:
                state[new] = fresh(name, state[name], generator)
        for new, shape in checkpoint.family.shapes([index], sizes, []).items():
            if new not in state:  # what the first layer lacks
                state[new] = fresh(new, state[EMBEDDING].new_empty(shape), generator)
    made = tuple(name for name in state if name not in kept)
    extended = _plain_model(checkpoint, state, total)
    note = _of_the_last_layer(extended) if total != checkpoint.layers else ""
    return extended, SurgeryReport(kept, made, dropped, note)


def step_1b(depth: int, head: str) -> str:
    """The value of --freeze with which a model of `extend` is trained."""
    return f"{BOTTOM}:{depth}{WITHOUT_HEAD if head == FROZEN else ''}"


def fresh_head(embedding: torch.Tensor, family: Family, generator: torch.Generator) -> StateDict:
    """An MLM head for an embedding (V, d), drawn as BERT's, with its output bias, which is 0. Where the
    output projection is not the embedding, it begins as a copy: step 1b does not train it, and drawn
    rows would say nothing of their tokens."""
    vocabulary, width = embedding.shape
    shapes = family.shapes([], {"V": vocabulary, "P": 0, "d": width, "f": 0})
    head = {
        name: fresh(name, embedding.new_empty(shape), generator)
        for name, shape in shapes.items()
        if name.startswith(HEAD) and name != OUTPUT_PROJECTION
    }
    return head if family.is_tied else head | {OUTPUT_PROJECTION: embedding.clone()}


def _plain_model(checkpoint: Checkpoint, state: StateDict, layers: int) -> Checkpoint:
    """A plain model of the family, of so many layers and the last layer's head alone.

    Raises:
        InputError: the checkpoint has a task module, which belongs to the whole body.
    """
    if any(is_module_part(name) for name in checkpoint.state):
        raise InputError(
            f"{checkpoint.path} has a task module inside: take the body that it was trained over"
        )
    settings = {**checkpoint.body_settings(), "encoder_layers": layers}
    return checkpoint.replaced(
        state, _name=checkpoint.family.model, auxiliary_head_layers="", freeze="none", **settings
    )


def _check_depth(checkpoint: Checkpoint, depth: int) -> None:
    if not 1 <= depth <= checkpoint.layers:
        raise InputError(
            f"depth {depth} is not between 1 and {checkpoint.layers}, the layers of {checkpoint.path}"
        )


def _bottom(state: StateDict, depth: int) -> StateDict:
    """Language side, positions, embedding LayerNorm, identity and the bottom `depth` layers."""

    def belongs(name: str) -> bool:
        if (layer := layer_of(name)) is not None:
            return layer < depth
        if is_language_side(name):
            return True
        return (
            name.startswith(BODY) and not name.startswith(HEAD) and not AUXILIARY_HEAD.match(name)
        )

    return {name: tensor for name, tensor in state.items() if belongs(name)}


def fresh(name: str, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A new weight of the name and shape of another, drawn as BERT's are."""
    if name.endswith("bias"):
        return torch.zeros_like(like)
    if like.dim() == 1:  # the gain of a LayerNorm
        return torch.ones_like(like)
    drawn = torch.empty(like.shape).normal_(0.0, INITIAL_STANDARD_DEVIATION, generator=generator)
    return drawn.to(like.dtype)
