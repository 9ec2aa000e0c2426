"""The options of `prepare`: defaults, units and help, stated once for the command and for Python.

Kept apart from `prepare.py` so that `--help` need not import numpy and SentencePiece.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import InputError


def _option(default: Any, help: str, **argument: Any) -> Any:
    """A field that also says how the command line reads it (keywords of add_argument)."""
    return field(default=default, metadata={"help": help, "argument": argument})


@dataclass(frozen=True)
class PrepareOptions:
    """What decides the output of `prepare`, together with the text itself."""

    document_per_line: bool = _option(
        False, "each line is a document (default: a blank line separates documents)"
    )
    field: str = _option("text", "JSON Lines: the key that holds the text")
    unicode_normalisation: str = _option(
        "none",
        "Unicode normalisation of the text. SentencePiece applies its own (NFKC) in any case; "
        "this one also acts on what counts as a duplicate",
        choices=("none", "NFC", "NFKC"),
    )
    moses_punctuation: str | None = _option(
        None, "normalise punctuation as Moses does for this language (en, de, ...)", metavar="LANG"
    )
    min_characters: int = _option(10, "drop documents with fewer characters than this", type=int)
    valid_fraction: float = _option(
        0.01, "share of the documents that go to the validation split", type=float
    )
    valid_megabytes: float = _option(
        4.0, "at most this much text goes to the validation split, in MB", type=float
    )
    seed: int = _option(1, "seed of the shuffle", type=int)
    vocabulary_size: int = _option(50_000, "number of SentencePiece pieces", type=int)
    character_coverage: float = _option(
        0.9998, "share of the characters that the vocabulary must cover", type=float
    )
    vocabulary_sample_megabytes: float = _option(
        100.0, "the vocabulary is trained on this much text, in MB", type=float
    )
    max_line_tokens: int = _option(
        510,
        "a line with more tokens is stored as several items of at most this many; 510 is what "
        "fairseq's 512 positions leave beside <s> and </s>",
        type=int,
    )
    shards: int | None = _option(
        None, "number of shards (default: one for every 4 GB of text)", type=int
    )

    def __post_init__(self) -> None:
        def check(name: str, good: bool, allowed: str) -> None:
            if not good:
                option, value = name.replace("_", "-"), getattr(self, name)
                raise InputError(f"--{option} is {value}, but it must be {allowed}.")

        check("min_characters", self.min_characters >= 1, "at least 1")
        check("valid_fraction", 0 < self.valid_fraction < 1, "more than 0 and less than 1")
        check("valid_megabytes", self.valid_megabytes > 0, "more than 0")
        check("seed", 0 <= self.seed < 2**64, "between 0 and 2^64 - 1")
        check("vocabulary_size", self.vocabulary_size >= 1, "at least 1")
        check("character_coverage", 0.98 <= self.character_coverage <= 1, "between 0.98 and 1")
        check("vocabulary_sample_megabytes", self.vocabulary_sample_megabytes > 0, "more than 0")
        check("max_line_tokens", self.max_line_tokens >= 1, "at least 1")
        check("shards", self.shards is None or 1 <= self.shards <= 1000, "between 1 and 1000")
        check(
            "unicode_normalisation",
            self.unicode_normalisation in ("none", "NFC", "NFKC"),
            "none, NFC or NFKC",
        )


def add_option_arguments(parser: Any) -> None:
    """Add one command-line argument for each field of `PrepareOptions`."""
    for option in fields(PrepareOptions):
        argument = dict(option.metadata["argument"], help=option.metadata["help"])
        if option.default is False:
            argument["action"] = "store_true"
        elif option.default is not None:
            argument["help"] += " (default: %(default)s)"
        if "type" in argument:
            argument["metavar"] = "N"
        parser.add_argument(
            "--" + option.name.replace("_", "-"), default=option.default, **argument
        )
