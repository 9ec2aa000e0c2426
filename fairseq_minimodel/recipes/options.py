"""The options of `adapt`, on the command line and in Python."""

from dataclasses import dataclass
from pathlib import Path

from ..options import REQUIRED, option

LANGUAGE, SENTENCE_VECTORS = KINDS = ("language", "sentence-vectors")
AUTO, START, STANDARD, MINIPOST = METHODS = ("auto", "start", "standard", "minipost")


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    model: str = option(
        REQUIRED,
        "a folder in Hugging Face's form, a name on its Hub, a checkpoint, or what import-hf wrote",
    )
    text: list[Path] = option(
        REQUIRED,
        "text in the new language: plain or JSON Lines, perhaps compressed",
    )
    language: str = option(REQUIRED, 'the new one, as you call it ("de")')
    output: Path = option(
        REQUIRED,
        "of all that is made; an unfinished one goes on, anything else is refused",
        metavar="FOLDER",
    )
    parallel: list[tuple[Path, Path]] = option(
        [],
        "sentences in the language of the model and their translations, line by line, perhaps "
        "compressed; repeat it for more",
        metavar=("SOURCE", "TARGET"),
    )
    dictionary: Path | None = option(
        None, "a word list: on each line a word in the language of the model, a tab, a translation"
    )
    source_text: list[Path] = option(
        [],
        "text in the language of the model, which MiniPost needs; without --parallel it is also "
        "translated word by word with the --dictionary",
        metavar="FILE",
    )
    source_language: str = option("en", "the language of the model")
    kind: str = option(
        LANGUAGE,
        "what is learned of the new language: language: masked words; sentence-vectors: the vectors of "
        "a sentence-transformers model, from --parallel, or else from --dictionary",
        choices=KINDS,
    )
    method: str = option(
        AUTO,
        "start: no training; standard: over the whole model; minipost: over its bottom layers; auto: "
        "what pays, by what was measured",
        choices=METHODS,
    )
    budget: str = option("30m", "time for all steps, most of it for training", metavar="TIME")
    tasks: list[Path] = option(
        [],
        "fine-tuned models of the same lineage in Hugging Face's form, to be exported in the new "
        "language",
        metavar="FOLDER",
    )
    dry_run: bool = option(
        False, "print the plan: commands, FLOPs, minutes and memory; write nothing"
    )
