"""What a task module is made of: its settings, and its parts for a layer of given sizes.

A method changes a model in one of two places: weights of linear layers (mask, TARP, LoRA), or
outputs of the attention and the feed-forward (adapters, TAMS). In state dicts, the parameters of a
part are found under one of the names below, within the layer that they belong to.
"""

from dataclasses import dataclass

from torch import nn

from ..errors import InputError
from .adapter import Adapter, hypercomplex_adapter, plain_adapter
from .binary_mask import BinaryMask
from .effective_weight import EffectiveLinear, ShiftedLinear
from .hypercomplex import SlowWeights
from .low_rank import FORMS, Bilinear, DynamicTARP, Kronecker, LoRA, StaticTARP
from .structure import WIDTH, Cell, Structure

WEIGHT, OUTPUT, SHARED = "task_weight", "task_output", "task_shared"

NONE = "none"
ADAPTERS = ("adapter", "compacter", "compacter++")
WEIGHT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
# The linear layers that a method changes by default. Zhao et al. mask all. For TARP the paper names
# none; its released code grew out of LoRA's, which changes these two.
DEFAULT_TARGETS = {
    "mask": WEIGHT_TARGETS,
    "tarp": ("q_proj", "v_proj"),
    "tarp+tams": ("q_proj", "v_proj"),
    "lora": ("q_proj", "v_proj"),
}
KINDS = (NONE, *ADAPTERS, *DEFAULT_TARGETS, "tams")
DEFAULT_REDUCTION = {"adapter": 16, "compacter": 32, "compacter++": 32}
# The settings that each kind reads, besides its name and module_layers.
USED = {
    "adapter": ("module_reduction",),
    "compacter": ("module_reduction", "module_divisions"),
    "compacter++": ("module_reduction", "module_divisions"),
    "mask": ("module_targets", "mask_sparsity", "mask_threshold"),
    "tarp": ("module_targets", "module_rank", "module_divisions", "tarp_form"),
    "tams": ("structure_width",),
    "tarp+tams": (
        "module_targets",
        "module_rank",
        "module_divisions",
        "tarp_form",
        "structure_width",
    ),
    "lora": ("module_targets", "module_rank", "lora_alpha"),
}


@dataclass(frozen=True)
class Settings:
    """The settings of a task module, by the names of their options.

    Attributes:
        task_module: one of `KINDS`.
        module_layers: which layers of the model, counted from 1: "3-12", "2,4"; "": all.
        module_targets: which linear layers of each, of `WEIGHT_TARGETS`: "q_proj,v_proj"; "": the
            method's own.
        module_rank: of the low-rank matrices.
        module_reduction: the model's width over that of the bottleneck; None: the method's own.
        module_divisions: n of hypercomplex layers and of TARP's Kronecker form.
        mask_sparsity: share of zeros in the masks at the start.
        mask_threshold: a weight is kept where its score is above it.
        lora_alpha: the change is multiplied by alpha / rank.
        tarp_form: one of `FORMS`.
        structure_width: of the nodes in TAMS's cells.
    """

    task_module: str = NONE
    module_layers: str = ""
    module_targets: str = ""
    module_rank: int = 8
    module_reduction: int | None = None
    module_divisions: int = 4
    mask_sparsity: float = 0.05
    mask_threshold: float = 0.01
    lora_alpha: float = 16.0
    tarp_form: str = "dynamic"
    structure_width: int = WIDTH

    def __post_init__(self) -> None:
        bounds = {
            "module_rank": self.module_rank >= 1,
            "module_reduction": self.module_reduction is None or self.module_reduction >= 1,
            "module_divisions": self.module_divisions >= 1,
            "mask_sparsity": 0 <= self.mask_sparsity < 1,
            "mask_threshold": self.mask_threshold > -0.02,
            "tarp_form": self.tarp_form in FORMS,
            "structure_width": self.structure_width >= 1,
            "task_module": self.task_module in KINDS,
        }
        for name, holds in bounds.items():
            if not holds:
                raise InputError(f"{option(name)} {getattr(self, name)} is out of its range")

    def used(self) -> dict[str, object]:
        """The settings that the kind reads, for a description or a configuration."""
        names = ("task_module", "module_layers", *USED.get(self.task_module, ()))
        return {name: getattr(self, name) for name in names}

    @property
    def trains_layer_norms(self) -> bool:
        """As the papers of the adapters and of TARP have it; LoRA's and the masks' do not."""
        return self.task_module in ADAPTERS or self.has_tarp or self.has_structure

    @property
    def has_tarp(self) -> bool:
        return self.task_module in ("tarp", "tarp+tams")

    @property
    def has_structure(self) -> bool:
        """Whether there are cells whose structure is chosen for the task (TAMS)."""
        return self.task_module in ("tams", "tarp+tams")

    @property
    def changes_weights(self) -> bool:
        return self.task_module in DEFAULT_TARGETS

    @property
    def masks_heads(self) -> bool:
        """Whether the task's head is random and masked, where other methods train it."""
        return self.task_module == "mask"

    @property
    def is_dynamic(self) -> bool:
        """Whether a changed layer must be called, because its change depends on its input."""
        return self.has_tarp and self.tarp_form == "dynamic"

    @property
    def merges(self) -> bool:
        """Whether a plain model with other weights computes the same."""
        return self.changes_weights and not self.is_dynamic and not self.has_structure

    @property
    def charged_as(self) -> str | None:
        """The value of --freeze whose cost (`cost/flops.py`) is that of training with the module.

        Changed weights need the gradients of all weights; adapters, those of activations alone.
        None without a module.
        """
        if self.task_module == NONE:
            return None
        return "language" if self.changes_weights else "body"

    def layers(self, count: int) -> list[int]:
        """The layers of a model of `count` layers that are changed, from 1, ascending.

        Raises:
            InputError: there are no such layers.
        """
        chosen: set[int] = set()
        try:
            for part in filter(None, self.module_layers.replace(" ", "").split(",")):
                first, _, last = part.partition("-")
                chosen.update(range(int(first), int(last or first) + 1))
        except ValueError:
            raise InputError(
                f'--module-layers "{self.module_layers}" is not a list of layers such as "3-12" or '
                '"2,4"'
            ) from None
        if self.module_layers and not (chosen and min(chosen) >= 1 and max(chosen) <= count):
            raise InputError(
                f'--module-layers "{self.module_layers}": the model has the layers 1 to {count}'
            )
        return sorted(chosen) or list(range(1, count + 1))

    def targets(self) -> list[str]:
        """The paths, within a transformer layer, of the linear layers that are changed.

        Raises:
            InputError: there are no such layers.
        """
        if not self.changes_weights:
            return []
        named = [name for name in self.module_targets.replace(" ", "").split(",") if name]
        for name in named:
            if name not in WEIGHT_TARGETS:
                raise InputError(
                    f"--module-targets {self.module_targets}: there is no {name}, only "
                    f"{', '.join(WEIGHT_TARGETS)}"
                )
        chosen = named or DEFAULT_TARGETS[self.task_module]
        return [
            name if name.startswith("fc") else f"self_attn.{name}"
            for name in WEIGHT_TARGETS
            if name in chosen
        ]

    def weight_change(self, outputs: int, inputs: int) -> nn.Module:
        """The change to a weight of this size, as the method starts it; see `EffectiveLinear`.

        Raises:
            InputError: the settings do not fit the size.
        """
        if self.task_module == "mask":
            return BinaryMask((outputs, inputs), self.mask_sparsity, self.mask_threshold)
        if self.task_module == "lora":
            return LoRA(outputs, inputs, self.module_rank, self.lora_alpha)
        if self.tarp_form == "dynamic":
            return DynamicTARP(outputs, inputs, self.module_rank)
        if self.tarp_form == "bilinear":
            return StaticTARP(*(Bilinear(outputs, inputs, self.module_rank) for _ in range(2)))
        size = (outputs, inputs, self.module_rank, self.module_divisions)
        return StaticTARP(*(Kronecker(*size) for _ in range(2)))

    def changed(self, linear: nn.Linear) -> EffectiveLinear:
        """The linear layer with its change."""
        layer = ShiftedLinear if self.is_dynamic else EffectiveLinear
        return layer(linear, self.weight_change(linear.out_features, linear.in_features))

    def adapter(self, width: int, slow: SlowWeights | None) -> Adapter:
        """An adapter for a model of this width.

        Raises:
            InputError: the reduction does not divide the width.
        """
        reduction = self.module_reduction or DEFAULT_REDUCTION[self.task_module]
        if width % reduction:
            raise InputError(
                f"--module-reduction {reduction} does not divide the model's width of {width}"
            )
        bottleneck = width // reduction
        if slow is None:
            return plain_adapter(width, bottleneck)
        return hypercomplex_adapter(width, bottleneck, slow)

    def cell(self, width: int, structure: Structure) -> Cell:
        """A cell for a model of this width."""
        return Cell(width, self.structure_width, structure)

    def slow_weights(self) -> SlowWeights | None:
        """What all hypercomplex layers of a model share; None for the other methods."""
        is_hypercomplex = self.task_module in ("compacter", "compacter++")
        return SlowWeights(self.module_divisions) if is_hypercomplex else None


def option(name: str) -> str:
    """The command-line option of a setting."""
    return "--" + name.replace("_", "-")


def is_module_part(name: str) -> bool:
    """Whether a tensor of this name in a state dict belongs to a part of a task module."""
    return not {WEIGHT, OUTPUT, SHARED}.isdisjoint(name.split("."))
