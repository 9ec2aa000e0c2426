"""Labelled examples of sentence and sentence-pair classification, from TSV and JSON Lines."""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..files.text import TextFile, decode, is_json_lines, shown

logger = logging.getLogger(__name__)

Column = str | int  # a name, or a number from 1 (digits in a string are a number, too)

# A field as a CSV writer quotes it: its own quotation marks doubled.
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_WAY_OUT = "write the file as TSV without quoting and without tabs in texts, or as JSON Lines"


@dataclass(frozen=True)
class Example:
    """One text, or two for a sentence pair; `label` is None where no label column was asked for.

    `line` is its number in the file, for messages; None: not known.
    """

    texts: tuple[str, ...]
    label: str | None
    line: int | None = field(default=None, compare=False)


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
    records = _json_records if is_json_lines(path) else _tsv_records
    wanted = [*text_columns, *([] if label_column is None else [label_column])]
    empty, doubled = True, 0
    with TextFile(path) as file:
        for number, values in records(file, wanted):
            empty = False
            for value in values:
                check_characters(value, f"{file.path}, line {number}")
            texts = tuple(values[: len(text_columns)])
            label = None if label_column is None else values[-1]
            if records is _tsv_records:
                if label and _QUOTED.fullmatch(label):
                    raise InputError(
                        f"{file.path}, line {number}: the label {label} stands in quotation marks, "
                        f"which a CSV writer puts there; {_WAY_OUT}."
                    )
                doubled += any(_QUOTED.fullmatch(text) and '""' in text[1:-1] for text in texts)
            yield Example(texts, label, number)
    if empty:
        raise InputError(f"{path} holds no examples; give a file with at least one.")
    if doubled:
        logger.warning(
            "%s: the texts of %d lines look as if a CSV writer had quoted them, and their quotation "
            "marks are read as text; to have them taken off, %s",
            path, doubled, _WAY_OUT,
        )  # fmt: skip


def check_characters(text: str, place: str) -> None:
    """Refuse a text with half of a character, which JSON can spell ("\\ud800") and UTF-8 cannot.

    Args:
        place: where the text stands, for the message.

    Raises:
        InputError: there is one.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{place}: half of a character (the lone surrogate {text[error.start]!r}); fix this text."
        ) from None


def _lines(file: TextFile) -> Iterator[tuple[int, str]]:
    for number, line in shown(file, file.lines(cut=False)):
        if line.strip(b" \r\n"):  # a line of empty columns is not blank
            yield number, decode(line, file.path, number).rstrip("\r\n")


def _tsv_records(file: TextFile, wanted: Sequence[Column]) -> Iterator[tuple[int, list[str]]]:
    lines = _lines(file)
    wanted = [int(column) if str(column).isdecimal() else column for column in wanted]
    names = [column for column in wanted if isinstance(column, str)]
    header: list[str] = []
    if names:
        number, line = next(lines, (1, ""))
        header = line.split("\t")
        for name in names:
            if header.count(name) != 1:
                found = "two columns" if name in header else "no column"
                raise InputError(
                    f"{file.path}, line {number}: {found} {name!r} in the header "
                    f"({', '.join(header)}); name one of these, or give column numbers if the file "
                    f"has no header{_if_csv(line)}."
                )
    indices = [header.index(c) if isinstance(c, str) else c - 1 for c in wanted]
    if min(indices) < 0:
        raise InputError("Columns are counted from 1; there is no column 0.")
    columns, first = len(header), None  # how many there are, and of no header the line that says so
    for number, line in lines:
        values = line.split("\t")
        if len(values) <= max(indices):
            raise InputError(
                f"{file.path}, line {number}: {len(values)} columns, but column {max(indices) + 1} is "
                f"wanted; fix this line or name other columns{_if_csv(line)}."
            )
        if not columns:
            columns, first = len(values), number
        # official files may end short of columns that are not wanted, but where a header names them
        if len(values) > columns or first is not None and len(values) < columns:
            where = "in the header" if first is None else f"in line {first}"
            raise InputError(
                f"{file.path}, line {number}: {len(values)} columns, and {columns} {where}; where a "
                f"tab stands inside a text, {_WAY_OUT}."
            )
        if "\r" in line:
            raise InputError(
                f"{file.path}, line {number}: a carriage return inside the line; end lines with a "
                "line feed, and take carriage returns out of texts."
            )
        yield number, [values[index].strip() for index in indices]


def _if_csv(line: str) -> str:
    return "" if "\t" in line or "," not in line else f"; if the file is CSV, {_WAY_OUT}"


def json_object(text: str, path: str | Path, number: int) -> dict[str, object]:
    """The object in a line of JSON Lines, without NaN and the infinities.

    Raises:
        InputError: it is something else. The message names file and line.
    """
    place = f"{path}, line {number}"
    try:
        record = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise InputError(f"{place}: the JSON is nested too deeply; fix this line") from None
    except ValueError as error:
        raise InputError(f"{place}: not JSON ({error}); fix this line") from None
    if not isinstance(record, dict):
        raise InputError(f"{place}: not a JSON object; write one in each line")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _json_records(file: TextFile, wanted: Sequence[Column]) -> Iterator[tuple[int, list[str]]]:
    for number, line in _lines(file):
        record, values = json_object(line, file.path, number), []
        for key in map(str, wanted):
            value = record.get(key)
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise InputError(
                    f"{file.path}, line {number}: no text or whole number under the key {key!r}; "
                    "each line must be a JSON object with the named keys."
                )
            values.append(str(value).strip())
        yield number, values
