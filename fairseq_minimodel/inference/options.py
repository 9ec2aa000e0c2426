"""The options of `predict`."""

from dataclasses import dataclass
from pathlib import Path

from ..kinds.window_options import MAX_ANSWER, recorded_window
from ..options import bfloat16, body, device, labels, module, option


def mix(first: str) -> list[Path] | None:
    return option(
        None,
        f"classification: more packs of related languages, to be mixed with {first}, or more task "
        "modules, with --module: for a variety without a pack of its own",
        metavar="FOLDER",
    )


def mix_steps() -> int:
    return option(
        10, "gradient steps for the weights of what is mixed; 0: equal weights", at_least=0
    )


def mix_batch() -> int:
    return option(32, "texts that share these weights, in the order of the input", at_least=1)


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    body: Path = body()
    packs: list[Path] = option(
        [],
        "of the language of the lines (default: the language inside the body); repeat it where lines "
        "are in several, for sentence vectors",
        name="pack",
        metavar="FOLDER",
        action="append",
    )
    module: Path | None = module()
    mix: list[Path] | None = mix("--pack")
    mix_steps: int = mix_steps()
    mix_batch: int = mix_batch()
    labels: Path | None = labels()
    source: str = option(
        "-",
        "one text per line, or JSON Lines (.jsonl), perhaps compressed (.gz, .xz, .zst); - or "
        "nothing: standard input",
        name="input",
        metavar="FILE",
    )
    output: str = option("-", "JSON Lines; - or nothing: standard output", metavar="FILE")
    json_lines: bool = option(False, "the input is JSON Lines, whatever its name")
    text_columns: list[str] | None = option(
        None,
        "keys of JSON Lines (default: text; text1 and text2 for pairs; question and context; words, a "
        "list, to be tagged)",
        metavar="KEY",
    )
    language_column: str = option(
        "language",
        "with several --pack: key of JSON Lines that names the language of each",
        metavar="KEY",
    )
    top: int | None = option(
        None,
        "tokens for each mask (default: 5), or answers to each question (default: 1)",
        at_least=1,
    )
    max_answer: int = option(MAX_ANSWER, "questions: tokens of the longest answer", at_least=1)
    max_length: int | None = recorded_window("max_length")
    stride: int | None = recorded_window("stride")
    max_question: int | None = recorded_window("max_question")
    max_tokens: int | None = option(
        None,
        "tokens per batch, padding included (default: 1024 on a CPU, 8192 elsewhere)",
        at_least=1,
    )
    device: str | None = device()
    bfloat16: bool = bfloat16()
