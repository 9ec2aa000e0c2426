"""What is known of a file: named facts, for a reader and as JSON."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..terminal.table import format_flops, format_seconds
from ..vocabulary.tokenizers import SPECIAL_SYMBOLS

WIDTH = 100  # characters of a line
FIRST_PIECES = 5  # of a vocabulary that are shown


@dataclass(frozen=True)
class Fact:
    """One thing that is known of a file: its name, a text with units, and the value for JSON."""

    name: str
    text: str
    value: object


@dataclass(frozen=True)
class Description:
    """What a file or folder is."""

    path: Path
    kind: str  # in a word or two: "checkpoint", "language pack"
    title: str  # what it is, in a line
    facts: Sequence[Fact]
    warnings: Sequence[str] = ()  # what is wrong with it

    def __str__(self) -> str:
        names = max(len(fact.name) for fact in self.facts)
        lines = [f"{self.path}: {self.title}"]
        for fact in self.facts:
            lines += wrapped(f"  {fact.name:{names}}  ", fact.text)
        for warning in self.warnings:
            lines += wrapped("  warning: ", warning)
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The same for JSON: the facts by their names, with underscores for spaces."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "title": self.title,
            **{fact.name.replace(" ", "_"): fact.value for fact in self.facts},
            "warnings": list(self.warnings),
        }


def wrapped(before: str, text: str) -> list[str]:
    """The lines of a text, all indented to where the first begins, behind `before`."""
    rule = {"break_long_words": False, "break_on_hyphens": False}
    rest = " " * len(before)
    return textwrap.wrap(text, WIDTH, initial_indent=before, subsequent_indent=rest, **rule)


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 layer", "6,000 layers"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def joined(*texts: str, by: str = ", ") -> str:
    """The texts that are not empty, in one."""
    return by.join(filter(None, texts))


def pairs(values: Mapping[str, object]) -> str:
    """Names with their values, "a 1, b 2", without those that are None or empty."""
    kept = {name: value for name, value in values.items() if value not in (None, "")}
    return joined(*(f"{name} {value}" for name, value in kept.items())) or "none"


def flat(settings: Mapping[str, object], before: str = "") -> dict[str, object]:
    """The leaves of nested settings, each with its path: "optimization.lr"."""
    leaves = {}
    for name, value in settings.items():
        inner = isinstance(value, dict)
        leaves |= flat(value, f"{before}{name}.") if inner else {f"{before}{name}": value}
    return leaves


def shares(counts: Mapping[str, int]) -> str:
    """What a number is the sum of: "language side 1,000, body 2,000"."""
    return joined(*(f"{name} {count:,}" for name, count in counts.items()))


def format_bytes(size: int) -> str:
    """A size in its unit, of powers of ten: "512 bytes", "20.1 MB"."""
    for unit, divisor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= divisor:
            return f"{size / divisor:.1f} {unit}"
    return counted(size, "byte")


# ---- facts that several kinds of files have


def vocabulary_fact(
    size: int, fingerprint: str | None, symbols: Sequence[str], files: Mapping[str, str | None]
) -> Fact:
    """A vocabulary of so many symbols; which ones (fairseq's own included) where that is known, and
    where its dictionary and its tokenizer are."""
    pieces = list(symbols[len(SPECIAL_SYMBOLS) :][:FIRST_PIECES])
    known = f" ({fingerprint})" if fingerprint else ""
    first = f", the first {' '.join(pieces)}" if pieces else ""
    found = joined(*(file for file in files.values() if file))
    missing = " and no ".join(kind for kind, file in files.items() if not file)
    missing = missing and f"no {missing} found"
    text = joined(f"{counted(size, 'symbol')}{known}{first}", found, missing, by="; ")
    value = {"size": size, "fingerprint": fingerprint, "first_pieces": pieces, **files}
    return Fact("vocabulary", text, value)


def training_fact(
    updates: int, tokens: int | None, flops: int | None, seconds: float | None, epoch: str = ""
) -> Fact:
    """How long a training was, None: not known; `epoch`: how far it is in its data, in words."""
    text = joined(
        counted(updates, "update"),
        epoch,
        "" if tokens is None else counted(tokens, "token"),
        "" if flops is None else format_flops(flops),
        "" if seconds is None else f"{format_seconds(seconds)} of steps",
    )
    value = {"updates": updates, "tokens": tokens, "flops": flops, "seconds": seconds}
    return Fact("training", text, value)


def loss_facts(value: float | None, unit: str, name: str = "validation loss") -> list[Fact]:
    """The last validation; nothing if there was none."""
    if value is None:
        return []
    return [Fact(name, f"{value:.4g} {unit}".strip(), {"value": float(value), "unit": unit})]


def precision_fact(counts: Mapping[str, int]) -> Fact:
    """The types of the parameters, with their numbers where there are several."""
    text = shares(counts) if len(counts) > 1 else next(iter(counts), "none")
    return Fact("precision", text, dict(counts))


def files_fact(path: Path) -> Fact:
    """A file, or the files in a folder, and how large they are together."""
    files = [file for file in sorted(path.iterdir()) if file.is_file()] if path.is_dir() else [path]
    sizes = {file.name: file.stat().st_size for file in files}
    return Fact("files", f"{format_bytes(sum(sizes.values()))}: {joined(*sizes)}", sizes)
