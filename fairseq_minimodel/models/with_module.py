"""Task modules in fairseq's model: a few parameters that learn a task over a frozen body."""

import dataclasses
import logging
from collections.abc import Iterable

import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.models.transformer import TransformerEncoder
from torch import Tensor, nn

from ..bodies.identity import encode
from ..bodies.language_side import StateDict
from ..bodies.tensors import ENCODER
from ..cost.freezing import LANGUAGE, NONE, parse_freeze
from ..errors import InputError
from ..modules.mask import fixed_weights
from ..modules.method import OUTPUT, PATHS, SHARED, Method, is_module_part
from ..modules.registry import SETTINGS
from ..modules.tams import Structure, describe
from ..packs.module import (
    HEAD_LAYERS,
    NO_BODY,
    TASK_BODY,
    TASK_SETTINGS,
    body_digest,
    check_settings,
    encode_settings,
    is_head,
    is_layer_norm,
    refuse_old_cells,
)

logger = logging.getLogger(__name__)

PREPARED = f"{ENCODER}{SHARED}.prepared"

# The options of all methods, flat, as fairseq wants them.
TaskModuleConfig = dataclasses.make_dataclass(
    "TaskModuleConfig",
    [
        (
            one.name,
            ChoiceEnum(one.choices) if one.choices else one.type,
            dataclasses.field(default=one.default, metadata={"help": one.help}),
        )
        for one in SETTINGS
    ],
    bases=(FairseqDataclass,),
    namespace={"__module__": __name__},
)


def install(model: nn.Module, method: Method, freeze: str) -> None:
    """Put the parts of a task module into the layers of a model, and freeze all the rest.

    Heads are not there yet: see `prepare_head`. The state dict keeps its names and gets more.

    Raises:
        InputError: the settings do not fit the model's sizes, or --freeze.
    """
    if parse_freeze(freeze).kind not in (NONE, LANGUAGE):
        raise InputError(
            f"--freeze {freeze} does not go with --task-module {method.name}, which freezes body and "
            "language itself: leave --freeze out"
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(method.trains_layer_norms and is_layer_norm(name))
    encoder: TransformerEncoder = model.encoder.sentence_encoder
    width = encoder.embed_tokens.embedding_dim
    for name, buffer in (
        (TASK_BODY, encode(NO_BODY)),
        (TASK_SETTINGS, encode_settings(method, encoder.num_layers)),
    ):
        model.encoder.register_buffer(name.rpartition(".")[2], buffer)
    shared = method.shared_part(width)
    if shared is not None:
        encoder.add_module(SHARED, shared)
    if isinstance(shared, Structure):
        encoder.register_forward_pre_hook(_begin_structure)
        encoder.register_forward_hook(_end_structure, always_call=True)
        shared.register_state_dict_post_hook(_log_structure)
    encoder.layers[0].register_forward_pre_hook(_lay_out)
    for number in method.layers(encoder.num_layers):
        layer = encoder.layers[number - 1]
        for target in method.targets():
            parent, _, name = PATHS[target].rpartition(".")
            parent = layer.get_submodule(parent)
            if not hasattr(parent, name):
                raise InputError(
                    f"--module-targets {','.join(method.targets())}: the layers of {model.name} have "
                    f"no {target}; leave it out"
                )
            changed = method.changed(target, getattr(parent, name))
            setattr(parent, name, changed)
            if changed.task_weight.reads_input and not model.is_modern:
                # fairseq then calls the projections, in the place of taking their weights away
                layer.self_attn._set_skip_embed_dim_check()
        for name in method.outputs:
            place = layer.get_submodule(name)
            place.add_module(OUTPUT, method.output_part(width, shared))
            by_length = model.is_modern and isinstance(shared, Structure)
            place.register_forward_hook(_apply_by_length if by_length else _apply)


def prepare_head(head: nn.Module, method: Method) -> nn.Module:
    """A new head of the task as the method wants it: to be trained, or random and changed.

    Returns the head; one of a single layer is replaced.
    """
    if not method.changes_heads:
        return head
    head.requires_grad_(False)
    single = isinstance(head, nn.Linear)
    linears = {"": head} if single else {name: getattr(head, name) for name in HEAD_LAYERS}
    weights = fixed_weights([linear.weight.shape for linear in linears.values()])
    for (name, linear), weight in zip(linears.items(), weights, strict=True):
        with torch.no_grad():
            linear.weight.copy_(weight)
            if linear.bias is not None:
                linear.bias.zero_()
        changed = method.changed(name, linear)
        if single:
            return changed
        setattr(head, name, changed)
    return head


def fit_state(model: nn.Module, state: StateDict, method: Method) -> None:
    """Fit a checkpoint to a model: a plain body gets the model's own task module, as it stands.

    A controller that meta-training has prepared learns no more: its choice stays.

    Raises:
        InputError: the checkpoint has a task module and the model none, or another one; or cells of
            version 0.1.0.
    """
    whole = model.state_dict()
    own = {name: tensor for name, tensor in whole.items() if _is_carried(name)}
    refuse_old_cells("the checkpoint", method, state)
    structure = structure_in(model.encoder.sentence_encoder)
    if structure is not None and not structure.in_meta_training:
        # by now no optimiser has been made
        learns = not state.get(PREPARED, own[PREPARED]).any()
        structure.controller.requires_grad_(learns)
    if TASK_BODY not in state:
        if own:
            state.update({**own, TASK_BODY: encode(body_digest(state))})
        if method.changes_heads:  # the body's own head, of another task, is not the random one
            state.update({name: tensor for name, tensor in whole.items() if is_head(name)})
        return
    if own:
        if TASK_SETTINGS in state:
            layers = model.encoder.sentence_encoder.num_layers
            check_settings(state[TASK_SETTINGS], method.resolved(layers))
        state[TASK_SETTINGS] = own[TASK_SETTINGS]
    found = {name: tensor for name, tensor in state.items() if _is_carried(name)}
    if _shapes(found) != _shapes(own):
        has = (
            "another: give the settings of that run"
            if own
            else "none: give --task-module as that run did"
        )
        raise InputError(
            f"the checkpoint was trained with a task module, and this model has {has}, or take a plain "
            "body (fairseq-minimodel merge writes one, where the method allows)"
        )


def embed_task(encoder: TransformerEncoder, batches: Iterable[Tensor]) -> None:
    """Give the controller of a structure the embedding of a task; without a structure, do nothing.

    It is the mean, over all tokens of the task's training inputs, of their rows in the token embedding
    layer (Hou et al. 2022, equation 4).

    Args:
        batches: ids of the inputs, each batch x length.
    """
    if (structure := structure_in(encoder)) is None:
        return
    rows = encoder.embed_tokens.weight.detach()
    counts = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
    for tokens in batches:
        counts += torch.bincount(tokens.to(rows.device).flatten(), minlength=len(rows))
    counts[encoder.padding_idx] = 0
    shares = counts.double() / counts.sum().clamp(min=1)
    wide = torch.promote_types(rows.dtype, torch.float32)
    structure.embedding.copy_(shares.to(wide) @ rows.to(wide))


def structure_in(encoder: TransformerEncoder) -> Structure | None:
    """What the cells of a model have in common; None: it has no cells."""
    shared = getattr(encoder, SHARED, None)
    return shared if isinstance(shared, Structure) else None


def _is_carried(name: str) -> bool:
    """Whether a tensor in a checkpoint is of its task module and of no head."""
    return name in (TASK_BODY, TASK_SETTINGS) or (is_module_part(name) and not is_head(name))


def _shapes(tensors: StateDict) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


# Hooks and no layers of our own: the body's modules stay where they are, and so do their names. They
# are functions of the module, so that a copy of the model calls its own adapters.
def _apply(module: nn.Module, inputs: tuple, output: Tensor | tuple) -> Tensor | tuple:
    part = getattr(module, OUTPUT)
    # fairseq's attention returns its weights, too
    return (part(output[0]), *output[1:]) if isinstance(output, tuple) else part(output)


def _apply_by_length(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    """To batches first, in layers as a ModernBERT's, what takes length x batch x width: cells."""
    return getattr(module, OUTPUT)(output.transpose(0, 1)).transpose(0, 1)


def _lay_out(layer: nn.Module, inputs: tuple) -> tuple:
    # fairseq hands the first layer a transposed view. By weights without a gradient PyTorch multiplies
    # that in batches, over a copy of the weights for each.
    return (inputs[0].contiguous(), *inputs[1:])


def _begin_structure(encoder: nn.Module, inputs: tuple) -> None:
    getattr(encoder, SHARED).begin(inputs[0].ne(encoder.padding_idx).t())


def _end_structure(encoder: nn.Module, inputs: tuple, output: object) -> None:
    getattr(encoder, SHARED).end()


def _log_structure(structure: Structure, state: StateDict, prefix: str, metadata: object) -> None:
    """With every checkpoint, so with that of the end of training, once there is a task."""
    if structure.embedding.any():
        logger.info("structure chosen for the task:\n%s", describe(structure.chosen()))
