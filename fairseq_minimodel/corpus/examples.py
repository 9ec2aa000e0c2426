"""Labelled examples of sentence and sentence-pair classification, from TSV and JSON Lines."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .reading import TextFile, decode, is_json_lines, shown

Column = str | int  # a name, or a number from 1 (digits in a string are a number, too)


@dataclass(frozen=True)
class Example:
    """One text, or two for a sentence pair; `label` is None where no label column was asked for."""

    texts: tuple[str, ...]
    label: str | None


def read_examples(
    path: str | Path, text_columns: Sequence[Column], label_column: Column | None
) -> Iterator[Example]:
    """Yield the examples of a file, which may be compressed (`.gz`, `.xz`, `.zst`).

    A name with `.jsonl` is JSON Lines and the columns are keys. Any other file is read as TSV,
    literally: a quotation mark is a character like any other. If a column is given by name, the
    file's first line is its header; if all are numbers (1 is the first), there is no header. Blank
    lines are skipped.

    Raises:
        InputError: the file is missing, damaged or not UTF-8, a column or key is not there, or the
            file holds no example. The message names file and line.
    """
    records = _json_records if is_json_lines(path) else _tsv_records
    wanted = [*text_columns, *([] if label_column is None else [label_column])]
    empty = True
    with TextFile(path) as file:
        for values in records(file, wanted):
            empty = False
            texts = tuple(values[: len(text_columns)])
            yield Example(texts, None if label_column is None else values[-1])
    if empty:
        raise InputError(f"{path} holds no examples; give a file with at least one.")


def _lines(file: TextFile) -> Iterator[tuple[int, str]]:
    for number, line in shown(file, file.lines(cut=False)):
        if not line.isspace():
            yield number, decode(line, file.path, number).rstrip("\r\n")


def _tsv_records(file: TextFile, wanted: Sequence[Column]) -> Iterator[list[str]]:
    lines = _lines(file)
    wanted = [int(column) if str(column).isdecimal() else column for column in wanted]
    names = [column for column in wanted if isinstance(column, str)]
    header: list[str] = []
    if names:
        header = next(lines, (1, ""))[1].split("\t")
        for name in names:
            if name not in header:
                raise InputError(
                    f"{file.path}, line 1: no column {name!r} in the header "
                    f"({', '.join(header)}); name one of these, or give column numbers if the "
                    "file has no header."
                )
    indices = [header.index(c) if isinstance(c, str) else c - 1 for c in wanted]
    if min(indices) < 0:
        raise InputError("Columns are counted from 1; there is no column 0.")
    for number, line in lines:
        values = line.split("\t")
        if len(values) <= max(indices):
            raise InputError(
                f"{file.path}, line {number}: {len(values)} columns, but column "
                f"{max(indices) + 1} is wanted; mend this line or name other columns."
            )
        yield [values[index].strip() for index in indices]


def _json_records(file: TextFile, wanted: Sequence[Column]) -> Iterator[list[str]]:
    for number, line in _lines(file):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{file.path}, line {number}: not JSON ({error}); mend this line."
            ) from None
        values = []
        for key in map(str, wanted):
            value = record.get(key) if isinstance(record, dict) else None
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise InputError(
                    f"{file.path}, line {number}: no text or whole number under the key {key!r}; "
                    "each line must be a JSON object with the named keys."
                )
            values.append(str(value).strip())
        yield values
