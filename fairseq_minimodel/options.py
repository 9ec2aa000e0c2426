"""An option of a verb, stated once: for the command line, for Python and for the docs.

Each verb has a dataclass in the `options.py` of its room, whose fields are made here. These modules
import nothing that takes time: `--help` reads them.
"""

from dataclasses import field
from pathlib import Path
from typing import Any

REQUIRED = ...  # the default of an option that has none


def option(default: Any, help: str = "", **argument: Any) -> Any:
    """A field of the options of a verb.

    Args:
        default: or `REQUIRED`.
        help: what the option is, with its unit. The command line adds the default.
        argument: how the command line reads it, where the name and the type of the field do not say
            it (`cli/adapter.py`): `name`, `at_least`, and keywords of `add_argument`.
    """
    metadata = {"help": help, "argument": argument}
    if default is REQUIRED:
        return field(metadata=metadata)
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


# ---- options that several verbs have


def body(help: str = "checkpoint") -> Path:
    return option(REQUIRED, help)


def dictionary() -> Path | None:
    help = "dict.txt of the checkpoint (default: beside it, or in its data folder)"
    return option(None, help, name="dict")


def module() -> Path | None:
    return option(None, "task module that was trained over the body", metavar="FOLDER")


def labels() -> Path | None:
    return option(None, "dict.txt of the labels (default: the one in the data that was trained on)")


def output(
    metavar: str = "FOLDER",
    help: str = "to make",
    former: str = "a former one is replaced, anything else refused",
) -> Path:
    """The output, which must come from the same verb where it is there (`files/outputs.py`)."""
    return option(REQUIRED, f"{help}; {former}", metavar=metavar)


def json_file(help: str = "write scores too") -> Path | None:
    return option(None, help, name="json")


def device() -> str | None:
    return option(None, "of PyTorch (default: a GPU if there is one)")


def bfloat16() -> bool:
    return option(False, "weights and computation in bfloat16", name="bf16")


def max_tokens() -> int:
    return option(8192, "tokens per batch, padding included", at_least=1)
