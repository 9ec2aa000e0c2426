"""The options of the verbs that make checkpoints, packs and task modules out of each other."""

from dataclasses import dataclass
from pathlib import Path

from ..options import REQUIRED, body, dictionary, labels, module, option, output
from .settings import AlignedSettings, ClpSettings

RULES = (
    "random",
    "overlap",
    "mean",
    "script",
    "clp",
    "focus",
    "aligned",
)  # without a wait for torch


@dataclass(frozen=True, kw_only=True)
class TruncateOptions:
    body: Path = body()
    dictionary: Path | None = dictionary()
    depth: int = option(REQUIRED, "layers to keep")
    output: Path = output("FILE", "checkpoint")


@dataclass(frozen=True, kw_only=True)
class ExtendOptions:
    body: Path = body()
    dictionary: Path | None = dictionary()
    depth: int = option(REQUIRED, "layers to keep")
    new_layers: int = option(2, "layers on top of them; 0: the head alone", metavar="M")
    head: str = option(
        "copy",
        "MLM head: a copy of the body's last one, new, or the last one to be frozen in training",
        choices=("copy", "new", "frozen"),
    )
    layers: str = option(
        "copy",
        "layers on top: copies of the body's own next ones, or new",
        choices=("copy", "new"),
    )
    seed: int = option(1, "of what is new")
    output: Path = output("FILE", "checkpoint")


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    checkpoints: list[Path] = option(REQUIRED, name="checkpoint")
    language: str = option(REQUIRED, 'its name, as you call it ("de")')
    output: Path = output(help="the pack (of several checkpoints: the folder of their packs)")
    dictionary: Path | None = dictionary()
    sentencepiece_model: Path | None = option(
        None, "tokenizer (default: the one in the checkpoint's data folder)"
    )


@dataclass(kw_only=True)
class _Start:
    body: Path = body()
    data: Path = option(REQUIRED, "of `prepare`, in the new language", metavar="FOLDER")
    language: str = option(REQUIRED, 'its name, as you call it ("de")')
    output: Path = output(help="the pack")
    initialise: str = option(
        "mean",
        "where the rows come from; clp and aligned have settings of their own",
        choices=RULES,
    )
    depth: int | None = option(
        None, "layers that the language is for (default: all of the body)", at_least=1
    )
    source_dict: Path | None = option(
        None, "dict.txt of the body (default: beside it, or in its data folder)"
    )
    seed: int = option(1, "of what is drawn", at_least=0)


@dataclass(kw_only=True)  # not frozen: fairseq fills in the settings
class StartOptions(ClpSettings, AlignedSettings, _Start):
    pass


@dataclass(frozen=True, kw_only=True)
class PlugOptions:
    body: Path = body()
    pack: Path = option(REQUIRED, metavar="FOLDER")
    module: Path | None = module()
    output: Path = output()


@dataclass(frozen=True, kw_only=True)
class ModuleOptions:
    checkpoint: Path = option(REQUIRED, "trained with --task-module")
    output: Path = output()
    labels: Path | None = labels()


@dataclass(frozen=True, kw_only=True)
class MergeOptions:
    body: Path = body("that the module was trained over")
    module: Path = option(REQUIRED, metavar="FOLDER")
    output: Path = output("FILE", "checkpoint")


@dataclass(frozen=True, kw_only=True)
class StructureOptions:
    module: Path = option(REQUIRED, metavar="FOLDER")
    drawing: Path | None = option(None, "PNG to draw it in")
