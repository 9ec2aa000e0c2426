"""Labelled examples of sentence and sentence-pair classification, from TSV and JSON Lines."""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..files.rows import TSV_WAY_OUT, Column, read_rows
from ..files.text import TextFile, is_json_lines, shown

logger = logging.getLogger(__name__)

# A field as a CSV writer quotes it: its own quotation marks doubled.
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_OTHERWISE = "name the columns that it has, by numbers if it has no header"


@dataclass(frozen=True)
class Example:
    """One text, or two for a sentence pair; `label` is None where no label column was asked for.

    `line` is its number in the file, for messages; None: not known.
    """

    texts: tuple[str, ...]
    label: str | None
    line: int | None = field(default=None, compare=False)

    def place(self, data: str) -> str:
        """Where it stands in the file `data`, for a message."""
        return data if self.line is None else f"{data}, line {self.line}"


def read_examples(
    path: str | Path, text_columns: Sequence[Column], label_column: Column | None
) -> Iterator[Example]:
    """Yield the examples of a file, which may be compressed (`.gz`, `.xz`, `.zst`).

    A name with `.jsonl` is JSON Lines and the columns are keys. Any other file is read as TSV,
    literally: a quotation mark is a character like any other, since published files have stray ones;
    a warning in the log says in how many texts they look like those of a CSV writer. If a column is
    given by name, the file's first line is its header; if all are numbers (1 is the first), there is
    no header. Blank lines are skipped.

    Raises:
        InputError: the file is missing, damaged or not UTF-8, a column or key is not there, a line has
            more columns than the header or other columns than the first line, a label stands in
            quotation marks, a text has half of a character, or the file holds no example. The message
            names file and line.
    """
    wanted = [*text_columns, *([] if label_column is None else [label_column])]
    is_tsv = not is_json_lines(path)
    empty, doubled = True, 0
    with TextFile(path) as file:
        lines = shown(file, file.lines(cut=False))
        for number, values in read_rows(lines, path, wanted, _OTHERWISE, json_lines=not is_tsv):
            empty = False
            texts = tuple(values[: len(text_columns)])
            label = None if label_column is None else values[-1]
            if is_tsv:
                _check_label(label, f"{path}, line {number}")
                doubled += any(_QUOTED.fullmatch(text) and '""' in text[1:-1] for text in texts)
            yield Example(texts, label, number)
    if empty:
        raise InputError(f"{path} holds no examples; give a file with at least one.")
    if doubled:
        logger.warning(
            "%s: the texts of %d lines look as if a CSV writer had quoted them, and their quotation "
            "marks are read as text; to have them taken off, %s",
            path, doubled, TSV_WAY_OUT,
        )  # fmt: skip


def _check_label(label: str | None, place: str) -> None:
    if label and _QUOTED.fullmatch(label):
        raise InputError(
            f"{place}: the label {label} stands in quotation marks, which a CSV writer puts there; "
            f"{TSV_WAY_OUT}."
        )
