"""The options of the verbs that make the data for training."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..kinds.window_options import BAD_OFFSETS, REFUSE, window_option
from ..options import REQUIRED, option, output

# The benchmarks, by kind, without a wait for the modules that read them.
LABELLED = ("xnli", "multinli", "snli", "snli-counterfactual", "pawsx", "sib200")
TAGGED = ("udpos", "uner", "masakhaner", "masakhapos", "wikiann")
ANSWERED = ("squad", "mlqa", "xquad", "tydiqa-goldp")
NORMALISATION_RULES = ("nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity")
CASES = FOLD, KEEP = "fold", "keep"
FOLDING = "_cf"  # the end of the rules that fold case
_DEFAULT_LENGTH = 512
_FRAME = 2  # tokens of a sequence that are not text: <s> and </s>
_MARKUP = ("<s>", "</s>", "<pad>", "<unk>", "<mask>")


@dataclass(frozen=True)
class PrepareOptions:
    """What decides the output of `prepare`, together with the text itself."""

    document_per_line: bool = option(
        False, "each line is a document (default: a blank line separates documents)"
    )
    text_format: str = option(
        "auto",
        "read the files as plain text or as JSON Lines (jsonl), whatever they look like",
        choices=("auto", "plain", "jsonl"),
    )
    field: str = option("text", "JSON Lines: the key that holds the text")
    unicode_normalisation: str = option(
        "none",
        "Unicode normalisation of the text. The vocabulary has its own (--normalisation-rule); "
        "this one also acts on what counts as a duplicate",
        choices=("none", "NFC", "NFKC"),
    )
    moses_punctuation: str | None = option(
        None, "normalise punctuation as Moses does for this language (en, de, ...)", metavar="LANG"
    )
    min_characters: int = option(10, "drop documents with fewer characters than this")
    valid_fraction: float = option(0.01, "share of the text that goes to the validation split")
    valid_megabytes: float = option(
        4.0, "at most this much text goes to the validation split, in MB"
    )
    seed: int = option(1, "seed of the shuffle")
    vocabulary_size: int = option(50_000, "number of SentencePiece pieces")
    character_coverage: float = option(
        0.9998, "share of the characters that the vocabulary must cover"
    )
    vocabulary_sample_megabytes: float = option(
        100.0, "the vocabulary is trained on this much text, in MB"
    )
    normalisation_rule: str = option(
        "nmt_nfkc",
        "SentencePiece's normalisation, which the vocabulary keeps: nmt_nfkc is NFKC with spaces "
        "for control characters and the zero-width non-joiner, nfkc keeps these; with _cf they "
        "fold case (for uncased models); identity changes nothing",
        choices=NORMALISATION_RULES,
    )
    user_defined_symbols: tuple[str, ...] = option(
        (),
        "texts that are always one piece of the vocabulary, whatever stands around them",
        nargs="+",
        metavar="SYMBOL",
    )
    sequence_length: int = option(
        _DEFAULT_LENGTH,
        "the --tokens-per-sample of the training to come, <s> and </s> included: a longer line is "
        "stored as several items",
    )
    shards: int | None = option(None, "number of shards (default: one for every 4 GB of text)")

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
        for one in fields(PrepareOptions):
            if choices := one.metadata["argument"].get("choices"):
                words = f"{', '.join(choices[:-1])} or {choices[-1]}"
                allowed[one.name] = getattr(self, one.name) in choices, words
        for name, (good, words) in allowed.items():
            if not good:
                value = getattr(self, name)
                name = name.replace("_", "-")
                raise InputError(f"--{name} is {value}, but it must be {words}.")
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


def with_case(options: dict[str, Any], case: str | None) -> dict[str, Any]:
    """The options with the normalisation rule that folds case, if that is asked. Raises InputError."""
    rule = options.get("normalisation_rule", PrepareOptions.normalisation_rule)
    folded = rule if rule.endswith(FOLDING) else rule + FOLDING
    if case is None or (case == FOLD) == (rule == folded):
        return options
    if case == KEEP:
        raise InputError(f"--normalisation-rule {rule} folds case, and --case is keep: give one.")
    if folded not in NORMALISATION_RULES:
        raise InputError(f"--normalisation-rule {rule} has no form that folds case: give another.")
    return {**options, "normalisation_rule": folded}


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


@dataclass(frozen=True, kw_only=True)
class _Sources:
    text: list[str] = option(
        REQUIRED,
        "plain text or JSON Lines, each perhaps compressed (gzip, xz, zstd, bzip2)",
        metavar="FILE",
    )
    output: Path = output(former="one of other text or options is never replaced")
    sentencepiece_model: str | None = option(
        None, "use this model instead of training one", metavar="FILE"
    )
    dictionary: str | None = option(
        None,
        "use this dict.txt with the given model instead of making one",
        name="dict",
        metavar="FILE",
    )
    workers: int | None = option(None, "processes (default: one per core)")


@dataclass(frozen=True, kw_only=True)
class PrepareVerbOptions(PrepareOptions, _Sources):
    case: str | None = option(
        None,
        "fold: the vocabulary makes capitals small (--normalisation-rule with _cf); keep: it does not "
        "(default: keep, or what the rule or --body says)",
        choices=CASES,
    )
    body: Path | None = option(
        None, "checkpoint that the language is for: fold case if its tokenizer does"
    )
    max_line_tokens: int | None = option(None, f"older name for --sequence-length N + {_FRAME}")


def _tokenizer() -> Path:
    return option(REQUIRED)


def _dictionary() -> Path:
    return option(REQUIRED, "dict.txt", name="dict")


def bad_offsets() -> str:
    """What becomes of answers in a file of questions that stand elsewhere than it says."""
    return option(
        REFUSE,
        "questions: where an answer does not stand in its context at answer_start, refuse the file, "
        "skip the answer, or take the nearest place where it stands",
        choices=BAD_OFFSETS,
    )


@dataclass(frozen=True, kw_only=True)
class PrepareClassificationOptions:
    train: Path = option(REQUIRED)
    valid: Path = option(REQUIRED)
    test: Path | None = option(None)
    text_columns: list[str] = option(REQUIRED, metavar="COLUMN")
    label_column: str = option(REQUIRED, metavar="COLUMN")
    labels: list[str] | None = option(
        None,
        "all labels in the order of their classes (default: those of --train, sorted)",
        metavar="LABEL",
    )
    max_length: int | None = option(
        None,
        "cut longer examples to so many tokens, special tokens included, as evaluate and predict "
        "cut them to the positions of the model (default: nothing is cut)",
        at_least=1,
    )
    sentencepiece_model: Path = _tokenizer()
    dictionary: Path = _dictionary()
    output: Path = output()


@dataclass(frozen=True, kw_only=True)
class ExportBenchmarkOptions:
    benchmark: str = option(REQUIRED, f"one of {', '.join((*LABELLED, *TAGGED))}", metavar="NAME")
    data: Path = option(REQUIRED, "its archive, folder or file", metavar="PATH")
    split: str = option("train", "of the benchmark")
    language: str = option("en", "of the benchmark", metavar="CODE")
    output: Path = output("FILE", "NAME.jsonl")


@dataclass(frozen=True, kw_only=True)
class PrepareQuestionsOptions:
    train: Path = option(REQUIRED)
    valid: Path = option(REQUIRED)
    language: str | None = option(
        None,
        'take the questions of one language out of the files of TyDi QA, "en" (default: all)',
        metavar="CODE",
    )
    sentencepiece_model: Path = _tokenizer()
    dictionary: Path = _dictionary()
    max_length: int = window_option("max_length")
    stride: int = window_option("stride")
    max_question: int = window_option("max_question")
    separators: int = window_option("separators")
    bad_offsets: str = bad_offsets()
    output: Path = output()


@dataclass(frozen=True, kw_only=True)
class PrepareTagsOptions:
    train: Path = option(REQUIRED)
    valid: Path = option(REQUIRED)
    labels: list[str] | None = option(
        None,
        "all tags in the order of their classes (default: those of --train, sorted)",
        metavar="TAG",
    )
    sentencepiece_model: Path = _tokenizer()
    dictionary: Path = _dictionary()
    max_length: int = option(
        512,
        "tokens of a window, special tokens included; a longer sentence is read in several",
        at_least=1,
    )
    output: Path = output()


@dataclass(frozen=True, kw_only=True)
class ToyOptions:
    output: Path = output()
    seed: int = option(1, "of the random draws")
    sentences: int = option(30000, "sentences of running text in each language")


@dataclass(frozen=True, kw_only=True)
class SplitPairsOptions:
    parallel: list[tuple[Path, Path]] = option(
        REQUIRED,
        "sentences and their translations, line by line, perhaps compressed; repeat it for more",
        metavar=("SOURCE", "TARGET"),
    )
    test: int = option(500, "pairs to hold out: the last ones, all different", at_least=1)
    output: Path = output()


@dataclass(frozen=True, kw_only=True)
class TranslateWordsOptions:
    dictionary: Path = option(
        REQUIRED, "a word list: on each line a word of the text's language, a tab, a translation"
    )
    text: list[Path] = option(REQUIRED, "in that language: plain or JSON Lines, perhaps compressed")
    target_text: list[Path] = option(
        [],
        "text in the other language: of several translations, what is more frequent there is drawn "
        "more often",
        metavar="FILE",
    )
    output: Path = output()
    sentences: int = option(10_000, "how many, drawn from all of the text", at_least=1)
    known: float = option(0.7, "share of a sentence's words that must be in the list")
    seed: int = option(
        1, "of what is drawn: sentences, and one of several translations", at_least=0
    )
