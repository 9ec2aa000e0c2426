"""What every task module is: settings, the parts of a layer that it touches, what becomes of them.

A method is a subclass of `Method` in a file of its own, with an entry in `registry.py`. It changes a
model in one of two ways, or both: the weights of linear layers are computed (mask, TARP, LoRA), or
something is applied to the outputs of the attention and the feed-forward (adapters, TAMS). In state
dicts, the tensors of a part are found under one of the names below, within the layer they belong to.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..errors import InputError
from .effective_weight import Change, EffectiveLinear

WEIGHT, OUTPUT, SHARED = "task_weight", "task_output", "task_shared"

NONE = "none"
ATTENTION, FEED_FORWARD = "self_attn", "fc2"  # after which something can be applied
GATE = "gate"  # of a feed-forward with one, a ModernBERT's or EuroBERT's
PATHS = {  # of the linear layers of a transformer layer, by their names in --module-targets
    **{name: f"{ATTENTION}.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")},
    **{name: name for name in ("fc1", GATE, "fc2")},
}
ALL_TARGETS = tuple(name for name in PATHS if name != GATE)  # where there is no gate


def setting(
    default: object,
    help: str,
    holds: Callable[[object], bool] = lambda value: True,
    allowed: str = "",
    choices: Sequence[str] = (),
    own_default: Callable[[type], object] | None = None,
) -> dataclasses.Field:
    """A field of a method: an option of fairseq-train under the same name.

    Args:
        holds: whether a value is allowed; `allowed` says which are, in words.
        choices: the values that there are.
        own_default: the default of a method, where each has its own.
    """
    if choices:
        holds, allowed = (lambda value: value in choices), ", ".join(choices)
    metadata = {"help": help, "holds": holds, "allowed": allowed}
    return dataclasses.field(
        default=default, metadata={**metadata, "choices": choices, "own_default": own_default}
    )


def at_least_1(default: int | None, help: str, **more: object) -> dataclasses.Field:
    """A `setting` for a whole number."""
    return setting(default, help, lambda value: value is None or value >= 1, "at least 1", **more)


@dataclass(frozen=True)
class Method:
    """A way to learn a task by a few parameters over a frozen body; this one learns nothing.

    The fields are its settings, by the names of their options. A method overrides the class
    attributes, and those of the first functions that it needs.

    Raises:
        InputError: a setting is out of its range.
    """

    name: ClassVar[str] = NONE  # in --task-module
    trained: ClassVar[str] = ""  # what is trained, as the documentation says it
    source: ClassVar[str] = ""  # where the method is from, in Markdown
    trains_layer_norms: ClassVar[bool] = True  # the body's
    # Whether a task's head is always the same random one, changed like the body's weights; else it is
    # trained.
    changes_heads: ClassVar[bool] = False
    has_structure: ClassVar[bool] = False  # chosen for the task (`tams.py`)
    # Names in PATHS of computed weights; a gate goes with fc1 (`over_gates`).
    default_targets: ClassVar[tuple[str, ...]] = ()
    outputs: ClassVar[tuple[str, ...]] = ()  # ATTENTION, FEED_FORWARD: what it is applied after
    bits: ClassVar[tuple[str, ...]] = ()  # names of saved tensors that are bytes and no weights

    module_layers: str = setting(
        "", 'layers with a task module, from 1: "3-12", "2,4" (empty: all)'
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, about = getattr(self, field.name), field.metadata
            if not about["holds"](value):
                name = option(field.name)
                raise InputError(f"{name} {value} is out of its range: it is {about['allowed']}")

    def change(self, target: str, outputs: int, inputs: int) -> Change:
        """The change to a linear layer of this size, as it starts.

        Args:
            target: a name in `PATHS`; of a head (`changes_heads`), its name there.

        Raises:
            InputError: the settings do not fit the sizes.
        """
        raise NotImplementedError

    def output_part(self, width: int, shared: nn.Module | None) -> nn.Module:
        """What is applied to an output (... x width, in and out), as it starts; errors as above."""
        raise NotImplementedError

    def shared_part(self, width: int) -> nn.Module | None:
        """What all layers of a model have in common."""
        return None

    @property
    def why_not_merged(self) -> str | None:
        """Why no weights of a plain model do what the module does; None: some do."""
        return (
            "adds layers, and no weight of the body can do what they do" if self.outputs else None
        )

    def resolved(self, layers: int) -> dict[str, object]:
        """The settings that a run must share with the one it goes on from, defaults spelled out."""
        return {**self.settings(), "module_layers": ",".join(map(str, self.layers(layers)))}

    def pack(self, tensors: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """What is saved of a module; `names`: of the layers whose weights are computed, in order."""
        return dict(tensors)

    def unpack(
        self, saved: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
    ) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """The state dict of each `Change`, with the name of its linear layer.

        Args:
            shapes: of the weights of these layers, in the order of `pack`.

        Raises:
            ValueError: what was saved is not of these shapes.
        """
        for name in shapes:
            prefix = f"{name}.{WEIGHT}."
            own = {key: tensor for key, tensor in saved.items() if key.startswith(prefix)}
            yield name, {key.removeprefix(prefix): tensor for key, tensor in own.items()}

    # What follows from these.

    @property
    def charged_as(self) -> str:
        """The value of --freeze whose cost (`cost/flops.py`) is that of training with the module.

        Changed weights need the gradients of all weights; adapters, those of activations alone.
        """
        return "language" if self.targets() else "body"

    def settings(self) -> dict[str, object]:
        """The settings, for a description or a configuration."""
        return {"task_module": self.name, **dataclasses.asdict(self)}

    def layers(self, count: int) -> list[int]:
        """The layers of a model of `count` layers that are changed, from 1, ascending.

        Raises:
            InputError: there are no such layers.
        """
        there = f"the model has the layers 1 to {count}"
        found = parse_layers("--module-layers", self.module_layers, count, there)
        return found or list(range(1, count + 1))

    def targets(self) -> list[str]:
        """The linear layers of a transformer layer whose weights are computed: names in `PATHS`."""
        return [name for name in PATHS if name in self.default_targets]

    def over_gates(self) -> "Method":
        """The method as it is over feed-forwards with a gate."""
        return self

    def changed(self, target: str, linear: nn.Linear) -> EffectiveLinear:
        """The linear layer with its change; arguments and errors as in `change`."""
        change = self.change(target, linear.out_features, linear.in_features)
        return EffectiveLinear(linear, change)

    def count_parameters(self, layers: int, width: int, ffn: int) -> int:
        """How many parameters a module adds to a body of these sizes, without heads and LayerNorms."""
        shapes = {"fc1": (ffn, width), GATE: (ffn, width), "fc2": (width, ffn)}
        with torch.device("meta"):  # sizes alone
            shared = self.shared_part(width)
            parts = [
                self.change(name, *shapes.get(name, (width, width))) for name in self.targets()
            ]
            parts += [self.output_part(width, shared) for _ in self.outputs]
        everywhere = len(self.layers(layers)) * parts + ([shared] if shared else [])
        return sum(parameter.numel() for part in everywhere for parameter in part.parameters())


@dataclass(frozen=True)
class WeightMethod(Method):
    """A method that computes weights, of which linear layers is a setting."""

    module_targets: str = setting(
        "",
        f"weights that are changed in each layer, of {', '.join(PATHS)}, separated by commas; a "
        f"{GATE} is in minimodel_modernbert and minimodel_eurobert alone, where it goes with fc1 by "
        "default",
        own_default=lambda method: ",".join(method.default_targets),
    )

    def targets(self) -> list[str]:
        """As in `Method`. Raises InputError: a name is not in `PATHS`."""
        named = [name for name in self.module_targets.replace(" ", "").split(",") if name]
        if unknown := [name for name in named if name not in PATHS]:
            raise InputError(
                f"--module-targets {self.module_targets}: there is no {unknown[0]}, only "
                f"{', '.join(PATHS)}"
            )
        return [name for name in PATHS if name in (named or self.default_targets)]

    def over_gates(self) -> "WeightMethod":
        """With the gate among the targets, where they are left to the default and fc1 is one."""
        if self.module_targets or "fc1" not in self.default_targets:
            return self
        targets = [name for name in PATHS if name in (*self.default_targets, GATE)]
        return dataclasses.replace(self, module_targets=",".join(targets))

    def resolved(self, layers: int) -> dict[str, object]:
        return {**super().resolved(layers), "module_targets": ",".join(self.targets())}


@dataclass(frozen=True)
class DividedMethod(Method):
    """A method with sums of Kronecker products."""

    module_divisions: int = at_least_1(4, "n of the Kronecker products, which divides the widths")


def parse_layers(option: str, text: str, highest: int, there: str) -> list[int]:
    """The layers in a value such as "3-12" or "2,4", ascending.

    Args:
        highest: layer that can be given; `there`: which can, in words.

    Raises:
        InputError: the text is something else, or names others.
    """
    chosen: set[int] = set()
    for part in filter(None, text.replace(" ", "").split(",")):
        first, _, last = part.partition("-")
        last = last or first
        if not (first.isdecimal() and last.isdecimal()):
            raise InputError(f'{option} "{text}" is not a list of layers such as "3-12" or "2,4"')
        if not 1 <= int(first) <= int(last) <= highest:
            raise InputError(f'{option} "{text}": {there}')
        chosen.update(range(int(first), int(last) + 1))
    return sorted(chosen)


def option(name: str) -> str:
    """The command-line option of a setting."""
    return "--" + name.replace("_", "-")


def is_module_part(name: str) -> bool:
    """Whether a tensor of this name in a state dict belongs to a part of a task module."""
    return not {WEIGHT, OUTPUT, SHARED}.isdisjoint(name.split("."))
