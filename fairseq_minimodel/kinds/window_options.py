"""How questions and contexts are cut into windows, and where these are kept.

Kept apart from `questions.py` so that neither `--help` nor training imports what only preparing
needs.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import InputError
from ..files import records
from ..options import option

# Folders with one dataset of fairseq each, one item per window: its tokens; and the positions of
# the first and the last token of the answer in it.
WINDOWS, SPANS = "windows", "spans"
TAG_CLASSES = "tags"  # in the place of spans: a class for the first token of each word
RECORD = "windows.json"  # beside them: the options that the windows were made with
# Where the whole answer is not in the window: at <s>, which every window has and no answer.
NO_ANSWER = (0, 0)
# What becomes of an answer that does not stand in its context where the file says.
REFUSE, SKIP, NEAREST = BAD_OFFSETS = ("refuse", "skip", "nearest")
MAX_ANSWER = 30  # tokens of the longest answer; Devlin et al. 2019, in their code for SQuAD
FRAME = 2  # special tokens of a window besides its separators: <s> before, </s> after


@dataclass(frozen=True)
class WindowOptions:
    """How long windows are. The defaults are those of Devlin et al. 2019, in their code for SQuAD.

    Raises:
        InputError: nothing is left for the context, or a number is less than 1.
    """

    max_length: int = field(
        default=384, metadata={"help": "tokens of a window, special tokens included"}
    )
    stride: int = field(
        default=128,
        metadata={"help": "tokens from the beginning of a window's context to that of the next"},
    )
    max_question: int = field(
        default=64, metadata={"help": "tokens of a question, which is cut there"}
    )
    separators: int = field(
        default=2,
        metadata={
            "help": "</s> between question and context: 2 as RoBERTa reads pairs, 1 as bodies of the "
            "BERT family do"
        },
    )

    def __post_init__(self) -> None:
        for name, value in (("stride", self.stride), ("max-question", self.max_question)):
            if value < 1:
                raise InputError(f"--{name} is {value}, but it must be at least 1.")
        if self.separators not in (1, 2):
            raise InputError(f"--separators is {self.separators}, but it must be 1 or 2.")
        least = self.max_question + FRAME + self.separators + 1
        if self.max_length < least:
            raise InputError(
                f"--max-length {self.max_length} leaves no room for a context: with --max-question "
                f"{self.max_question} it must be at least {least}."
            )


def write_record(folder: Path, options: WindowOptions) -> None:
    """Write `RECORD` into the data that were prepared with these options."""
    (folder / RECORD).write_text(json.dumps(asdict(options), indent=2) + "\n", encoding="utf-8")


def read_record(path: Path) -> dict[str, int]:
    """The options in a `RECORD`, by name.

    Raises:
        InputError: it is damaged.
    """
    return asdict(records.read_record(path, WindowOptions, "prepare the questions again"))


def window_option(name: str) -> int:
    """The option of a verb that makes windows, as `WindowOptions` has it."""
    field = WindowOptions.__dataclass_fields__[name]
    return option(field.default, field.metadata["help"], at_least=1)


def recorded_window(name: str) -> int | None:
    """The option of a verb whose default is what the data of a model's training were made with."""
    help = WindowOptions.__dataclass_fields__[name].metadata["help"]
    return option(None, f"{help} (default: as the training data was prepared)", at_least=1)
