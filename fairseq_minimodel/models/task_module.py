"""Task modules in fairseq's model: a few parameters that learn a task over a frozen body."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.distributed import utils as distributed
from fairseq.models.roberta.model import RobertaClassificationHead
from fairseq.models.transformer import TransformerEncoder
from omegaconf import DictConfig
from torch import Tensor, nn

from ..bodies.identity import encode
from ..bodies.language_side import StateDict
from ..errors import InputError
from ..modules.binary_mask import fixed_weights
from ..modules.low_rank import FORMS
from ..modules.structure import Structure, describe
from ..modules.task_module import (
    ADAPTERS,
    KINDS,
    NONE,
    OUTPUT,
    SHARED,
    Settings,
    is_module_part,
)
from ..packs.module import (
    NO_BODY,
    TASK_BODY,
    TASK_SETTINGS,
    body_digest,
    check_settings,
    encode_settings,
    is_head,
    is_layer_norm,
)

logger = logging.getLogger(__name__)


@dataclass
class TaskModuleConfig(FairseqDataclass):
    task_module: ChoiceEnum(KINDS) = field(
        default=Settings.task_module,
        metadata={
            "help": "learn the task by a few parameters over the body, which stays as it is, with its "
            "language: adapter (bottleneck), compacter, compacter++, mask (binary masks), tarp, lora, "
            "tams (cells whose structure is chosen for the task), tarp+tams"
        },
    )
    module_layers: str = field(
        default=Settings.module_layers,
        metadata={"help": 'layers with a task module, from 1: "3-12", "2,4" (default: all)'},
    )
    module_targets: str = field(
        default=Settings.module_targets,
        metadata={
            "help": "weights that mask, tarp and lora change in each layer, of q_proj, k_proj, "
            "v_proj, out_proj, fc1, fc2, separated by commas (default: mask all; tarp and lora "
            "q_proj,v_proj)"
        },
    )
    module_rank: int = field(
        default=Settings.module_rank, metadata={"help": "rank of tarp and lora"}
    )
    module_reduction: Optional[int] = field(
        default=Settings.module_reduction,
        metadata={
            "help": "the model's width over the width of an adapter's bottleneck (default: 32 for "
            "compacter and compacter++, 16 for adapter)"
        },
    )
    module_divisions: int = field(
        default=Settings.module_divisions,
        metadata={"help": "n of compacter and compacter++, and of tarp's Kronecker form"},
    )
    mask_sparsity: float = field(
        default=Settings.mask_sparsity,
        metadata={"help": "share of the weights that a mask leaves out at the start"},
    )
    mask_threshold: float = field(
        default=Settings.mask_threshold,
        metadata={"help": "a mask keeps a weight whose score is above this"},
    )
    lora_alpha: float = field(
        default=Settings.lora_alpha,
        metadata={"help": "lora's change is multiplied by this, over the rank"},
    )
    tarp_form: ChoiceEnum(FORMS) = field(
        default=Settings.tarp_form,
        metadata={
            "help": "tarp's change of a weight: bilinear or kronecker (both merge into the weight), "
            "or dynamic (depends on the token)"
        },
    )
    structure_width: int = field(
        default=Settings.structure_width, metadata={"help": "width of the nodes in tams's cells"}
    )


def check(cfg: DictConfig, settings: Settings) -> None:
    """Refuse settings that contradict those of the rest of the model with an `InputError`."""
    if settings.task_module != NONE and cfg.freeze not in ("none", "language"):
        raise InputError(
            f"--freeze {cfg.freeze} does not go with --task-module {settings.task_module}, which "
            "freezes body and language itself: leave --freeze out"
        )


def install(model: nn.Module, settings: Settings) -> None:
    """Put the parts of a task module into the layers of a model, and freeze all the rest.

    Heads are not there yet: see `prepare_head`. The state dict keeps its names and gets more.

    Raises:
        InputError: the settings do not fit the model's sizes.
    """
    for name, parameter in model.named_parameters():
        is_trained = settings.trains_layer_norms and is_layer_norm(name)
        parameter.requires_grad_(is_trained)
    encoder: TransformerEncoder = model.encoder.sentence_encoder
    about = {
        TASK_BODY: encode(NO_BODY),
        TASK_SETTINGS: encode_settings(settings, encoder.num_layers),
    }
    for name, buffer in about.items():
        model.encoder.register_buffer(name.rpartition(".")[2], buffer)
    slow = settings.slow_weights()
    if slow is not None:
        encoder.add_module(SHARED, slow)
    structure = Structure(encoder.layers[0].embed_dim) if settings.has_structure else None
    if structure is not None:
        encoder.add_module(SHARED, structure)
        encoder.register_forward_pre_hook(_begin_structure)
        encoder.register_forward_hook(_end_structure, always_call=True)
        structure.register_state_dict_post_hook(_log_structure)
    encoder.layers[0].register_forward_pre_hook(_lay_out)
    for number in settings.layers(encoder.num_layers):
        layer = encoder.layers[number - 1]
        for target in settings.targets():
            parent, _, name = target.rpartition(".")
            parent = layer.get_submodule(parent)
            setattr(parent, name, settings.changed(getattr(parent, name)))
        if settings.is_dynamic:
            # fairseq then calls the projections, in the place of taking their weights away
            layer.self_attn._set_skip_embed_dim_check()
        width = layer.embed_dim
        if settings.task_module in ("adapter", "compacter"):
            _add_to_output(layer.self_attn, settings.adapter(width, slow), _after_attention)
        if settings.task_module in ADAPTERS:
            _add_to_output(layer.fc2, settings.adapter(width, slow), _after_linear)
        if structure is not None:
            _add_to_output(layer.fc2, settings.cell(width, structure), _after_linear)


def prepare_head(
    head: RobertaClassificationHead | nn.Linear, settings: Settings
) -> RobertaClassificationHead | nn.Linear:
    """A new head of the task as the method wants it: to be trained, or random and masked.

    Zhao et al. 2020, section 3: the pooler (a classification head's first layer) and the classifier
    are masked like the body's layers. Returns the head; one of a single layer is replaced.
    """
    if not settings.masks_heads:
        return head
    single = isinstance(head, nn.Linear)
    linears = [head] if single else [head.dense, head.out_proj]
    weights = fixed_weights([linear.weight.shape for linear in linears])
    for linear, weight in zip(linears, weights, strict=True):
        linear.requires_grad_(False)
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.zero_()
    changed = [settings.changed(linear) for linear in linears]
    if single:
        return changed[0]
    head.dense, head.out_proj = changed
    return head


def fit_state(model: nn.Module, state: StateDict, settings: Settings) -> None:
    """Fit a checkpoint to a model: a plain body gets the model's own task module, as it stands.

    Raises:
        InputError: the checkpoint has a task module and the model none, or another one.
    """
    whole = model.state_dict()
    own = {name: tensor for name, tensor in whole.items() if _is_carried(name)}
    if TASK_BODY not in state:
        if own:
            state.update({**own, TASK_BODY: encode(body_digest(state))})
        if settings.masks_heads:  # the body's own head, of another task, is not the random one
            state.update({name: tensor for name, tensor in whole.items() if is_head(name)})
        return
    if own:
        if TASK_SETTINGS in state:
            check_settings(state[TASK_SETTINGS], own[TASK_SETTINGS])
        state[TASK_SETTINGS] = own[TASK_SETTINGS]
    found = {name: tensor for name, tensor in state.items() if _is_carried(name)}
    if _shapes(found) != _shapes(own):
        raise InputError(
            "the checkpoint was trained with a task module, and this model has "
            + (
                "another: give the settings of that run"
                if own
                else "none: give --task-module as that run did"
            )
            + ", or take a plain body (fairseq-minimodel merge writes one, where the method allows)"
        )


def embed_task(encoder: TransformerEncoder, tokens: Tensor) -> None:
    """Give the controller of a structure the embedding of a task; without a structure, do nothing.

    It is the mean last hidden state over the tokens, in evaluation mode and without the cells: at the
    start of training the frozen body's.

    Args:
        tokens: ids of the task's training inputs, batch x length.
    """
    structure = _structure(encoder)
    if structure is None:
        return
    was_training = encoder.training
    encoder.eval()
    with torch.no_grad():
        hidden = encoder.forward(tokens)["encoder_out"][0]  # no call: without the hooks
        real = tokens.ne(encoder.padding_idx).t()
        structure.embedding.copy_(hidden[real].mean(dim=0))
    encoder.train(was_training)


def forget_task(encoder: TransformerEncoder) -> None:
    """Let the next training pass find the embedding of its own task."""
    structure = _structure(encoder)
    if structure is not None:
        structure.embedding.zero_()


def _structure(encoder: TransformerEncoder) -> Structure | None:
    shared = getattr(encoder, SHARED, None)
    return shared if isinstance(shared, Structure) else None


def _is_carried(name: str) -> bool:
    """Whether a tensor in a checkpoint is of its task module and of no head."""
    return name in (TASK_BODY, TASK_SETTINGS) or (is_module_part(name) and not is_head(name))


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _add_to_output(module: nn.Module, adapter: nn.Module, hook: object) -> None:
    module.add_module(OUTPUT, adapter)
    module.register_forward_hook(hook)


# Hooks and no layers of our own: the body's modules stay where they are, and so do their names. They
# are functions of the module, so that a copy of the model calls its own adapters.
def _after_attention(
    module: nn.Module, inputs: tuple, output: tuple[Tensor, Tensor | None]
) -> tuple[Tensor, Tensor | None]:
    attended, weights = output
    return getattr(module, OUTPUT)(attended), weights


def _lay_out(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    # fairseq hands the first layer a transposed view. By weights without a gradient PyTorch multiplies
    # that in batches, over a copy of the weights for each.
    return (inputs[0].contiguous(),)


def _after_linear(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    return getattr(module, OUTPUT)(output)


def _begin_structure(encoder: nn.Module, inputs: tuple) -> None:
    structure: Structure = getattr(encoder, SHARED)
    tokens = inputs[0]
    if encoder.training and not structure.embedding.any():
        embed_task(encoder, tokens)
        processes = distributed.get_data_parallel_world_size()
        if processes > 1:  # each has seen another batch
            group = distributed.get_data_parallel_group()
            distributed.all_reduce(structure.embedding, group)
            structure.embedding.div_(processes)
    structure.begin(tokens.ne(encoder.padding_idx).t())


def _end_structure(encoder: nn.Module, inputs: tuple, output: object) -> None:
    getattr(encoder, SHARED).end()


def _log_structure(structure: Structure, state: StateDict, prefix: str, metadata: object) -> None:
    """With every checkpoint, so with that of the end of training, once there is a task."""
    if structure.embedding.any():
        logger.info("structure chosen for the task:\n%s", describe(structure.chosen()))
