"""How tokenizers fit their languages: tokens per word, unknown tokens, what the source has, too."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ..corpus.indexed import read_split, shards_in
from ..corpus.text_counts import count_text
from ..errors import InputError
from ..vocabulary.matching import matches, spelled_out
from ..vocabulary.symbols import SPECIAL_SYMBOLS, read_symbols
from .blocks import Cell, Section, Table, share
from .gather import Item, Run


def tokenizer_section(runs: Sequence[Run], source: str | None) -> Section | None:
    """How each language's tokenizer cuts its text; None without data and packs."""
    found: dict[tuple[str, str], tuple[Path, Item]] = {}
    for run in runs:
        for item in (*run.data, *run.packs):
            found.setdefault((run.name, item.language), (run.folder / item.place, item))
    if not found:
        return None
    rows: dict[tuple[str, tuple[Cell, ...]], list[str]] = defaultdict(list)  # with names of runs
    for (name, language), (folder, item) in found.items():
        origin = found.get((name, source)) if language != source else None
        record = item.content if isinstance(item.content, dict) else None
        cells = tokenizer_cells(folder, record, _symbols_in(origin[0]) if origin else [])
        rows[language, tuple(cells if source else cells[:-2])].append(name)
    ordered = sorted(rows.items(), key=lambda one: (one[0][0] != source, one[0][0]))
    note = (
        "Tokens per word (fertility), characters per token and unknown tokens: of the validation "
        "text, words as spaces divide it, spaces counted as characters."
    )
    if source:
        note += (
            f" Also in {source}: tokens of the vocabulary that the vocabulary of {source} has, too, by "
            "their text, and how much of the validation text they make up."
        )
    table = Table(
        "Vocabularies and how they cut text",
        ["", "vocabulary", "tokens per word", "characters per token", "unknown, validation",
         "unknown, training", "tokens, training",
         *([f"also in {source}", "share of the text"] if source else [])],
        [
            [(language, ", ".join(names) if len(runs) > 1 else ""), *cells]
            for (language, cells), names in ordered
        ],
        note,
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


def _symbols_in(folder: Path) -> list[str]:
    """The symbols of the dict.txt in a folder, ids of GPT-2's BPE spelled out."""
    dictionary = folder / "dict.txt"
    symbols = read_symbols(dictionary)
    try:
        return spelled_out(symbols, dictionary)
    except InputError:  # nothing says what the numbers stand for
        return symbols
