"""Settings of the rules for the start of a language; `--help` reads them, without a wait for torch."""

from dataclasses import dataclass, field
from typing import Any, List, Optional  # noqa: UP035 (fairseq knows lists by this name)


def _setting(help: str, **argument: Any) -> Any:
    """An optional setting; `argument` as in `options.option`."""
    return field(default=None, metadata={"help": help, "argument": argument})


@dataclass
class ClpSettings:
    helper: Optional[str] = _setting(
        "a model in the target vocabulary; a fairseq checkpoint of a masked language model, a language "
        "pack, or a folder in Hugging Face's form"
    )
    helper_dict: Optional[str] = _setting(
        "dict.txt of a helper that is a checkpoint (default: beside it, or in its data folder)"
    )
    initialise_top_k: Optional[int] = _setting(
        "only so many nearest tokens count (default: all, the paper's rule)"
    )
    initialise_temperature: Optional[float] = _setting(
        "weights are the softmax of cosine / temperature (default: the cosine itself, the paper's rule)"
    )


@dataclass
class AlignedSettings:
    parallel: Optional[List[str]] = _setting(  # noqa: UP006
        "two files of text, perhaps compressed: each line of the second is a translation of the line "
        "of the first, which is in the source language; repeat it for more files",
        nargs=2,
        action="extend",
        metavar=("SOURCE", "TARGET"),
    )
    dictionary: Optional[str] = _setting(
        "word list, perhaps compressed: on each line a word of the source language, a tab, and a "
        "translation",
        metavar="FILE",
    )
