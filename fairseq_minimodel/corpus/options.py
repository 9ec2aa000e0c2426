"""The options of `prepare`: defaults, units and help, stated once for the command and for Python.

Kept apart from `prepare.py` so that `--help` need not import numpy and SentencePiece.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import InputError

NORMALISATION_RULES = ("nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity")
_DEFAULT_LENGTH = 512
_FRAME = 2  # tokens of a sequence that are not text: <s> and </s>
_MARKUP = ("<s>", "</s>", "<pad>", "<unk>", "<mask>")


def _option(default: Any, help: str, **argument: Any) -> Any:
    """A field that also says how the command line reads it (keywords of add_argument)."""
    return field(default=default, metadata={"help": help, "argument": argument})


@dataclass(frozen=True)
class PrepareOptions:
    """What decides the output of `prepare`, together with the text itself."""

    document_per_line: bool = _option(
        False, "each line is a document (default: a blank line separates documents)"
    )
    text_format: str = _option(
        "auto",
        "read the files as plain text or as JSON Lines (jsonl), whatever they look like",
        choices=("auto", "plain", "jsonl"),
    )
    field: str = _option("text", "JSON Lines: the key that holds the text")
    unicode_normalisation: str = _option(
        "none",
        "Unicode normalisation of the text. The vocabulary has its own (--normalisation-rule); "
        "this one also acts on what counts as a duplicate",
        choices=("none", "NFC", "NFKC"),
    )
    moses_punctuation: str | None = _option(
        None, "normalise punctuation as Moses does for this language (en, de, ...)", metavar="LANG"
    )
    min_characters: int = _option(10, "drop documents with fewer characters than this", type=int)
    valid_fraction: float = _option(
        0.01, "share of the text that goes to the validation split", type=float
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
    normalisation_rule: str = _option(
        "nmt_nfkc",
        "SentencePiece's normalisation, which the vocabulary keeps: nmt_nfkc is NFKC with spaces "
        "for control characters and the zero-width non-joiner, nfkc keeps these; with _cf they "
        "fold case (for uncased models); identity changes nothing",
        choices=NORMALISATION_RULES,
    )
    user_defined_symbols: tuple[str, ...] = _option(
        (),
        "texts that are always one piece of the vocabulary, whatever stands around them",
        nargs="+",
        metavar="SYMBOL",
    )
    sequence_length: int = _option(
        _DEFAULT_LENGTH,
        "the --tokens-per-sample of the training to come, <s> and </s> included: a longer line is "
        "stored as several items",
        type=int,
    )
    shards: int | None = _option(
        None, "number of shards (default: one for every 4 GB of text)", type=int
    )

    def __post_init__(self) -> None:
        allowed = {
            "min_characters": (self.min_characters >= 1, "at least 1"),
            "valid_fraction": (0 < self.valid_fraction < 1, "more than 0 and less than 1"),
            "valid_megabytes": (self.valid_megabytes > 0, "more than 0"),
            "seed": (0 <= self.seed < 2**64, "between 0 and 2^64 - 1"),
            "vocabulary_size": (self.vocabulary_size >= 1, "at least 1"),
            "character_coverage": (0.98 <= self.character_coverage <= 1, "between 0.98 and 1"),
            "vocabulary_sample_megabytes": (self.vocabulary_sample_megabytes > 0, "more than 0"),
            "sequence_length": (self.sequence_length > _FRAME, f"at least {_FRAME + 1}"),
            "shards": (self.shards is None or 1 <= self.shards <= 1000, "between 1 and 1000"),
        }
        for option in fields(self):
            if choices := option.metadata["argument"].get("choices"):
                words = f"{', '.join(choices[:-1])} or {choices[-1]}"
                allowed[option.name] = getattr(self, option.name) in choices, words
        for name, (good, words) in allowed.items():
            if not good:
                option, value = name.replace("_", "-"), getattr(self, name)
                raise InputError(f"--{option} is {value}, but it must be {words}.")
        object.__setattr__(self, "user_defined_symbols", tuple(self.user_defined_symbols))
        for symbol in self.user_defined_symbols:
            if not symbol or symbol in _MARKUP or any(map(str.isspace, symbol)):
                raise InputError(
                    f"--user-defined-symbols has {symbol!r}: give symbols without spaces, other "
                    f"than {', '.join(_MARKUP)}, which fairseq has itself."
                )

    @property
    def longest_line(self) -> int:
        """Pieces of the longest line that is stored as one item."""
        return self.sequence_length - _FRAME


def add_option_arguments(parser: Any) -> None:
    """Add one command-line argument for each field of `PrepareOptions`."""
    for option in fields(PrepareOptions):
        argument = dict(option.metadata["argument"], help=option.metadata["help"])
        if option.default is False:
            argument["action"] = "store_true"
        elif option.default not in (None, ()):
            argument["help"] += " (default: %(default)s)"
        if "type" in argument:
            argument["metavar"] = "N"
        parser.add_argument(
            "--" + option.name.replace("_", "-"), default=option.default, **argument
        )
    parser.add_argument(
        "--max-line-tokens",
        type=int,
        metavar="N",
        help=f"older name for --sequence-length N + {_FRAME}",
    )


def sequence_length_of(options: dict[str, Any], max_line_tokens: int | None) -> dict[str, Any]:
    """The options with the sequence length that the older name asks for. Raises InputError."""
    if max_line_tokens is None:
        return options
    length = max_line_tokens + _FRAME
    if options.get("sequence_length", _DEFAULT_LENGTH) not in (_DEFAULT_LENGTH, length):
        raise InputError(
            f"--max-line-tokens {max_line_tokens} means --sequence-length {length}, but "
            f"--sequence-length is {options['sequence_length']}: give one of them."
        )
    return {**options, "sequence_length": length}
