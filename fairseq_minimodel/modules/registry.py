"""The methods that there are, and all their settings as one record: each entry is a file here."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ..errors import InputError
from .adapter import Adapters
from .compacter import Compacter, CompacterPlusPlus
from .lora import LoRA
from .mask import Mask
from .method import NONE, PATHS, WEIGHT, Method
from .tams import TAMS, TARPAndTAMS
from .tarp import TARP

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Adapters, Compacter, CompacterPlusPlus, Mask, TARP, TAMS, TARPAndTAMS, LoRA,
    )
}  # fmt: skip


def find_method(settings: Mapping[str, object], *, has_gate: bool = False) -> Method:
    """The method that a model's settings name, with its own settings among them.

    Without a name it is `Method`, which does nothing. Settings that are absent or None have their
    defaults.

    Args:
        has_gate: whether the model's feed-forwards have a gate.

    Raises:
        InputError: there is no such method, or one of its settings is out of its range.
    """
    name = settings.get("task_module") or NONE
    if name not in (kinds := {NONE: Method, **METHODS}):
        raise InputError(f"--task-module {name} is out of its range: it is {', '.join(kinds)}")
    given = {
        field.name: settings[field.name]
        for field in dataclasses.fields(kinds[name])
        if settings.get(field.name) is not None
    }
    method = kinds[name](**given)
    return method.over_gates() if has_gate else method


def with_saved_targets(settings: Mapping[str, object], tensors: Iterable[str]) -> dict[str, object]:
    """The settings of a module that was saved, with the targets that its tensors tell of.

    Where the settings leave them to the default, that may have been another: TARP's was
    "q_proj,v_proj" in version 0.1.0. Of saved masks there are bits alone, and the default stays.
    """
    inside = [name for name in tensors if f".{WEIGHT}." in name]
    found = [
        name for name, path in PATHS.items() if any(f".{path}.{WEIGHT}." in one for one in inside)
    ]
    if not found or settings.get("module_targets") or found == find_method(settings).targets():
        return dict(settings)
    return {**settings, "module_targets": ",".join(found)}


class Setting(NamedTuple):
    """A setting of one method or several, as an option of fairseq-train."""

    name: str
    type: object  # float, int, str, or one of them or None
    default: object
    choices: tuple[str, ...]  # (): any value of the type
    help: str


def _collect() -> Iterator[Setting]:
    trained = "; ".join(f"{name}: {method.trained}" for name, method in METHODS.items())
    help = "learn the task by a few parameters over a body that stays as it is, with its language. "
    yield Setting("task_module", str, NONE, (NONE, *METHODS), help + trained)
    fields = {field.name: field for one in METHODS.values() for field in dataclasses.fields(one)}
    for name, field in fields.items():
        yield Setting(name, field.type, field.default, field.metadata["choices"], _help(field))


def _help(field: dataclasses.Field) -> str:
    """What the setting is, with the methods that read it, and the default of each."""
    readers = [one for one in METHODS.values() if hasattr(one, field.name)]
    text, own_default = field.metadata["help"], field.metadata["own_default"]
    if len(readers) < len(METHODS):
        text = f"{', '.join(one.name for one in readers)}: {text}"
    if own_default:
        text += f" (default: {'; '.join(f'{one.name} {own_default(one)}' for one in readers)})"
    return text


SETTINGS = tuple(_collect())
# All settings as a record, for files that hold those of any method.
Settings = dataclasses.make_dataclass(
    "Settings",
    [(one.name, one.type, one.default) for one in SETTINGS],
    frozen=True,
    namespace={"__post_init__": lambda self: find_method(vars(self)) and None},
)
