"""The options of `inspect`."""

from dataclasses import dataclass
from pathlib import Path

from ..options import option


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    paths: list[Path] = option(
        [],
        "checkpoint, dict.txt or tokenizer; or a folder: language pack, task module, binarised data, "
        "plugged model, model in Hugging Face's form",
        name="",
        metavar="PATH",
    )
    compare: tuple[Path, Path] | None = option(
        None,
        "two checkpoints, language packs or task modules: the settings and the parts that differ",
        metavar=("A", "B"),
    )
    output: str | None = option(
        None, "write it as JSON, too; - prints that alone", name="json", metavar="FILE"
    )
