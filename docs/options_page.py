"""docs/options.md and the table of task modules, made from what they tell of.

`python docs/options_page.py` writes them again.
"""

import dataclasses
import enum
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from fairseq.criterions import CRITERION_REGISTRY
from fairseq.dataclass.utils import interpret_dc_type
from fairseq.optim import OPTIMIZER_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from omegaconf import MISSING

import fairseq_minimodel
from fairseq_minimodel.bodies.architectures import ARCHITECTURES
from fairseq_minimodel.models.minimodel_eurobert import MiniModelEuroBert
from fairseq_minimodel.models.minimodel_modernbert import MiniModelModernBert, ModernConfig
from fairseq_minimodel.models.minimodel_roberta import MiniModelRobertaConfig
from fairseq_minimodel.models.with_module import TaskModuleConfig
from fairseq_minimodel.modules.method import Method
from fairseq_minimodel.modules.registry import METHODS

PAGE, MODULES_PAGE = (Path(__file__).parent / name for name in ("options.md", "task_modules.md"))
TABLE = re.compile(r"(<!-- table: .*? -->\n).*?(<!-- end -->)", re.DOTALL)
BASE = {"layers": 12, "width": 768, "ffn": 3072}  # of RoBERTa-base
START = """\
# Training options

What this package adds to `fairseq-train` and `fairseq-hydra-train`. fairseq's own options stand beside
them: `--help` prints all that go with the model, the task, the criterion and the optimiser it is given:

```sh
fairseq-train data/de --user-dir $(fairseq-minimodel user-dir) --arch minimodel_roberta \\
    --task language_adaptation --criterion joint_masked_lm --optimizer fused_adam --help
```

In hydra an option has underscores and the name of its group: `--base-checkpoint` is
`task.base_checkpoint`, `--freeze` is `model.freeze`, `--head-weights` is `criterion.head_weights`.
"""


def page() -> str:
    """The whole page."""
    fairseq_minimodel.register()
    module = {field.name for field in dataclasses.fields(TaskModuleConfig)}
    parts = [START, "## The model: `--arch`\n", *_architectures()]
    own = [name for name in _names(MiniModelRobertaConfig) if name not in module]
    parts += ["## The model: group `model`\n", *_table(MiniModelRobertaConfig, own)]
    for model in (MiniModelModernBert, MiniModelEuroBert):
        config, name = model.config_class, model.name
        parts += [f"## Of `{name}`, in addition or with another default: group `model`\n"]
        parts += _table(config, [*_own_names(ModernConfig), *_own_names(config)])
    parts += [
        "## Task modules: group `model`\n",
        *_table(TaskModuleConfig, _names(TaskModuleConfig)),
    ]
    for kind, registry in (
        ("task", TASK_REGISTRY),
        ("criterion", CRITERION_REGISTRY),
        ("optimizer", OPTIMIZER_REGISTRY),
    ):
        for name, registered in registry.items():
            if registered.__module__.startswith(fairseq_minimodel.__name__):
                config = registered.__dataclass
                parts += [f"## `--{kind} {name}`: group `{kind}`\n", *_section(config)]
    return "\n".join(parts)


def modules_page() -> str:
    """docs/task_modules.md with its table of the methods."""
    lines = "".join(f"{line}\n" for line in _methods())
    return TABLE.sub(rf"\g<1>{lines}\2", MODULES_PAGE.read_text(encoding="utf-8"))


def _methods() -> Iterator[str]:
    yield "| `--task-module` | what is trained | merges | parameters | |"
    yield "|---|---|---|--:|---|"
    for name, method in METHODS.items():
        trained = method.trained + "; LayerNorms" * method.trains_layer_norms
        count = f"{method().count_parameters(**BASE):,}" + " bits" * bool(method.bits)
        yield f"| `{name}` | {trained} | {_merges(method)} | {count} | {method.source} |"


def _merges(method: type[Method]) -> str:
    """In which of its forms a method merges."""
    fields = [field for field in dataclasses.fields(method) if field.metadata["choices"]]
    forms = list(itertools.product(*(field.metadata["choices"] for field in fields)))
    named = [dict(zip((field.name for field in fields), form, strict=True)) for form in forms]
    other = [form for form, one in zip(forms, named, strict=True) if method(**one).why_not_merged]
    if len(other) in (0, len(forms)):
        return "no" if other else "yes"
    return "all but " + ", ".join(f"`{' '.join(form)}`" for form in other)


def _architectures() -> Iterator[str]:
    sizes = list(dict.fromkeys(itertools.chain.from_iterable(ARCHITECTURES.values())))
    yield "| `--arch` | " + " | ".join(f"`--{_dashed(size)}`" for size in sizes) + " |"
    yield "|---" * (len(sizes) + 1) + "|"
    for name, values in ARCHITECTURES.items():
        shown = (str(values[size]) if size in values else "" for size in sizes)
        yield f"| `{name}` | " + " | ".join(shown) + " |"
    yield ""


def _section(config: type) -> Iterator[str]:
    """The options of a config; of those of fairseq's config that it extends, or is, only the name."""
    base = next(one for one in config.__mro__ if one.__module__.startswith("fairseq."))
    own = [name for name in _names(config) if name not in _names(base)]
    if _names(base):
        name = base.__name__.removesuffix("Config").removeprefix("Fairseq")
        yield f"The options of fairseq's `{name}`" + (", and:\n" if own else ".\n")
    if own:
        yield from _table(config, own)
    elif not _names(base):
        yield "No options.\n"


def _names(config: type) -> list[str]:
    """Its options; not what repeats the option of another group."""
    return [
        field.name
        for field in dataclasses.fields(config)
        if field.name != "_name" and not str(field.default).startswith("${")
    ]


def _own_names(config: type) -> Iterator[str]:
    """The options that a config itself gives, and not one that it extends."""
    return (name for name in _names(config) if name in vars(config)["__annotations__"])


def _table(config: type, names: list[str]) -> Iterator[str]:
    yield "| option | value | default | |"
    yield "|---|---|---|---|"
    fields = {field.name: field for field in dataclasses.fields(config)}
    for name in names:
        field = fields[name]
        kind = interpret_dc_type(field.type)
        default = field.default
        option = name if default == MISSING and name == "data" else f"--{_dashed(name)}"
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            value = ", ".join(f"`{one.value}`" for one in kind)
        else:
            value = {"str": "text", "int": "number", "float": "number", "bool": "switch"}.get(
                getattr(kind, "__name__", ""), "text"
            )
        shown = (
            ""
            if default is None or default is False or default in ("", MISSING)
            else f"`{getattr(default, 'value', default)}`"
        )
        help = " ".join(str(field.metadata["help"]).split()).replace("|", "\\|")
        yield f"| `{option}` | {value} | {shown} | {_plain(help)} |"
    yield ""


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _plain(text: str) -> str:
    """Text as Markdown shows it."""
    for character in "*_<>":
        text = text.replace(character, f"\\{character}")
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    MODULES_PAGE.write_text(modules_page(), encoding="utf-8")
