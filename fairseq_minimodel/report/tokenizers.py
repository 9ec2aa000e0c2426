"""How tokenizers fit their languages: tokens per word, unknown tokens, what the source has, too."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy

from ..corpus.indexed import Split, read_split, shards_in
from ..errors import InputError
from ..vocabulary.matching import matches, spelled_out, texts
from ..vocabulary.symbols import SPECIAL_SYMBOLS, read_symbols
from ..vocabulary.tokenizers import EOS, UNK
from .blocks import Cell, Section, Table, share
from .gather import Item, Run

_UNKNOWN = "\ufffd"
_NOTE = (
    "Tokens per word (fertility), characters per token and unknown tokens: of the validation text, "
    "words as spaces divide it, spaces counted as characters."
)
_NOTE_ON_SOURCE = (
    " Also in {0}: tokens of the vocabulary that the vocabulary of {0} has, too, by their text, and "
    "how much of the validation text they make up."
)


class TextCounts(NamedTuple):
    """What a binarised text holds."""

    tokens: int  # of the vocabulary, without <s> and </s>
    words: int  # as spaces divide the text
    characters: int  # spaces between words included; an unknown token counts as one
    unknown: int  # tokens that are <unk>
    shared: int  # tokens that a second vocabulary has, too


def tokenizer_section(runs: Sequence[Run], source: str | None) -> Section | None:
    """How each language's tokenizer cuts its text; None without data and packs."""
    found: dict[tuple[str, str], tuple[Run, Item]] = {}
    for run in runs:
        for item in (*run.data, *run.packs):
            found.setdefault((run.name, item.language), (run, item))
    if not found:
        return None
    rows: dict[tuple[str, tuple[Cell, ...]], list[str]] = defaultdict(list)  # with names of runs
    for (name, language), (run, item) in found.items():
        _, origin = found.get((name, source), (None, None))
        symbols = _symbols_in(run.folder / origin.place) if origin and language != source else []
        record = item.content if item in run.data else None
        cells = tokenizer_cells(run.folder / item.place, record, symbols)
        rows[language, tuple(cells if source else cells[:-2])].append(name)
    several = len({tuple(names) for names in rows.values()}) > 1
    ordered = sorted(rows.items(), key=lambda one: (one[0][0] != source, one[0][0]))
    table = Table(
        "Vocabularies and how they cut text",
        ["", "vocabulary", "tokens per word", "characters per token", "unknown, validation",
         "unknown, training", "tokens, training",
         *([f"also in {source}", "share of the text"] if source else [])],
        [
            [(language, ", ".join(names) if several else ""), *cells]
            for (language, cells), names in ordered
        ],
        _NOTE + (_NOTE_ON_SOURCE.format(source) if source else ""),
    )  # fmt: skip
    return Section("tokenizers", "Tokenizers", [table])


def tokenizer_cells(folder: Path, record: dict | None, source: Sequence[str]) -> list[Cell]:
    """The figures of one language, as the table has them.

    Args:
        folder: of prepared data, or a pack.
        record: what prepare.json says; None for a pack.
        source: symbols of the source language; none if they are not known, or for that itself.

    Raises:
        InputError: dict.txt or the binarised text is missing or damaged.
    """
    symbols, text, training = _symbols_in(folder), None, {}
    both = {row for row in matches(symbols, source) if symbols[row] not in SPECIAL_SYMBOLS}
    if record:
        training = record["counts"]["train"]
        text_folder = next(iter(shards_in(folder)), folder)
        text = count_text(read_split(text_folder / "valid"), symbols, both)
    tokens, unknown = training.get("tokens"), training.get("unknown_share")
    in_text: list[Cell] = ["", "", ""]
    if text and text.tokens:
        fertility = f"{text.tokens / text.words:.2f}" if text.words else ""
        characters = f"{text.characters / text.tokens:.2f}"
        in_text = [fertility, characters, share(text.unknown / text.tokens, 3)]
    return [
        f"{len(symbols):,}",
        *in_text,
        "" if unknown is None else share(unknown, 3),
        "" if tokens is None else f"{tokens:,}",
        (f"{len(both):,}", share(len(both) / len(symbols), 1)) if source else "",
        share(text.shared / text.tokens, 1) if source and text and text.tokens else "",
    ]


def count_text(split: Split, symbols: Sequence[str], shared: set[int]) -> TextCounts:
    """Count a text that `prepare` has binarised, with the symbols of its vocabulary.

    Raises:
        InputError: the text holds ids that the vocabulary does not have.
    """
    ids = split.tokens
    if len(ids) and ids.max() >= len(symbols):
        raise InputError(f"{split.path} has ids beyond its dict.txt: prepare the data again")
    counts = numpy.bincount(ids, minlength=len(symbols))
    text_of = [*texts(symbols)]
    text_of[EOS], text_of[UNK] = "\n", _UNKNOWN
    text = "".join(text_of[index] for index in ids.tolist())
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    lines = [line.strip() for line in text.split("\n")]
    return TextCounts(
        tokens=int(counts.sum() - counts[EOS]),
        words=sum(len(line.split()) for line in lines),
        characters=sum(map(len, lines)),
        unknown=int(counts[UNK]),
        shared=int(counts[list(shared)].sum()),
    )


def _symbols_in(folder: Path) -> list[str]:
    """The symbols of the dict.txt in a folder, ids of GPT-2's BPE spelled out."""
    dictionary = folder / "dict.txt"
    symbols = read_symbols(dictionary)
    try:
        return spelled_out(symbols, dictionary)
    except InputError:  # nothing says what the numbers stand for
        return symbols
