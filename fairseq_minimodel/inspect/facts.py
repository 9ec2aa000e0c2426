"""What is known of a file: named facts, for a reader and as JSON."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..terminal.table import counted, format_bytes, format_flops, format_seconds
from ..vocabulary.tokenizers import SPECIAL_SYMBOLS

WIDTH = 100  # characters of a line
FIRST_PIECES = 5  # of a vocabulary that are shown


@dataclass(frozen=True)
class Fact:
    """One thing that is known of a file: its name, the value for JSON, and perhaps own words for it."""

    name: str
    value: object
    words: str = ""

    @property
    def text(self) -> str:
        """The value for a reader, with units."""
        return self.words or in_words(self.value)


@dataclass(frozen=True)
class Description:
    """What a file or folder is; of a model also what a comparison needs."""

    path: Path
    kind: str  # in a word or two: "checkpoint", "language pack"
    title: str  # what it is, in a line
    facts: Sequence[Fact]
    warnings: Sequence[str] = ()  # what is wrong with it
    lineage: str | None = None  # an identifier; None: not known
    vocabulary: str | None = None  # likewise
    settings: Mapping[str, object] = field(default_factory=dict)  # those in others: "optimizer.lr"
    weights: Mapping[str, Any] = field(default_factory=dict)  # tensors, by names in checkpoints

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


# How the values of facts are said, by their keys.
PHRASES = {
    **{
        key: partial(counted, noun=noun)
        for key, noun in {
            "documents": "document", "lines": "line", "examples": "example", "windows": "window",
            "tokens": "token", "duplicates": "duplicate", "updates": "update", "layers": "layer",
            "parameters": "parameter", "vocabulary": "symbol", "encoder_layers": "layer",
            "encoder_attention_heads": "attention head", "max_positions": "position",
        }.items()
    },
    "encoder_embed_dim": "width {}".format,
    "encoder_ffn_embed_dim": "feed-forward {}".format,
    "activation_fn": str,
    "layer_norm_eps": "LayerNorm epsilon {:g}".format,
    "global_rope_theta": "rotary positions of base {:g}".format,
    "local_rope_theta": "in a window {:g}".format,
    "local_attention": "windows of {:,} tokens".format,
    "global_every": "one layer in {:,} attends to all tokens".format,
    "size": partial(counted, noun="symbol"),
    "fingerprint": str,
    "first_pieces": lambda pieces: f"the first {' '.join(pieces)}",
    "digest": str,
    "with_answer": "{:,} of them with the answer".format,
    "unknown_share": lambda share: f"{100 * share:.3g} % unknown",
    "longest": "longest {:,}".format,
    "files": ", ".join,
    "too_short": "{:,} too short".format,
    "text_bytes": lambda size: f"{format_bytes(size)} of text",
    "flops": format_flops,
    "seconds": lambda seconds: f"{format_seconds(seconds)} of steps",
}  # fmt: skip


def in_words(value: object) -> str:
    """A value for a reader; of several with keys those that are None or empty are left out."""
    if isinstance(value, Mapping):
        known = {key: one for key, one in value.items() if one not in (None, "", [])}
        said = [
            PHRASES[key](one) if key in PHRASES else f"{key} {in_words(one)}"
            for key, one in known.items()
        ]
        nested = any(isinstance(one, Mapping) for one in known.values())
        return ("; " if nested else ", ").join(said) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value))
    return f"{value:,}" if type(value) is int else str(value)


# ---- facts that several kinds of files have


def vocabulary_fact(
    size: int, fingerprint: str | None, symbols: Sequence[str], files: Mapping[str, str | None]
) -> Fact:
    """A vocabulary of so many symbols; which ones (fairseq's own included) where that is known, and
    where its dictionary and its tokenizer are."""
    pieces = list(symbols[len(SPECIAL_SYMBOLS) :][:FIRST_PIECES])
    value = {"size": size, "fingerprint": fingerprint, "first_pieces": pieces, **files}
    return Fact("vocabulary", value)


def training_fact(cost: Any) -> Fact:
    """How long a training was, by the fields of that name."""
    names = ("updates", "tokens", "flops", "seconds")
    return Fact("training", {name: getattr(cost, name, None) for name in names})


def loss_facts(value: float | None, unit: str, name: str = "validation loss") -> list[Fact]:
    """The last validation; nothing if there was none."""
    if value is None:
        return []
    return [Fact(name, {"value": float(value), "unit": unit}, f"{value:.4g} {unit}".strip())]


def files_fact(path: Path) -> Fact:
    """A file, or the files in a folder, and how large they are together."""
    files = [file for file in sorted(path.iterdir()) if file.is_file()] if path.is_dir() else [path]
    sizes = {file.name: file.stat().st_size for file in files}
    return Fact("files", sizes, f"{format_bytes(sum(sizes.values()))}: {', '.join(sizes)}")
