"""Rows of a file with the numbers of their lines: JSON Lines and TSV, each read here alone."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import InputError
from .records import refuse_constant
from .text import LONGEST_JSON_LINE, LONGEST_LINE, TextFile, check_characters, decode, shown

Column = str | int  # a name, or a number from 1 (digits in a string are a number, too)
TSV_WAY_OUT = "write the file as TSV without quoting and without tabs in texts, or as JSON Lines"


def read_rows(
    lines: Iterable[tuple[int, bytes]],
    name: str | Path,
    columns: Sequence[Column],
    otherwise: str,
    *,
    json_lines: bool,
    quoted: bool = False,
    published: bool = False,
) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the line, its values in the order of `columns`), without spaces around them.

    Of JSON Lines the columns are keys. TSV whose columns are numbers has no header. Its lines may end
    short of columns that are not wanted, as those of published files do, if a header names them.
    Blank lines are left out, lines of empty columns are not.

    Args:
        lines: as `TextFile.lines` yields them; `name` stands for them in messages.
        otherwise: what to do if the file has other columns, in words.
        quoted: whether a CSV writer made the TSV, so that a field with a quotation mark stands in
            quotation marks, its own doubled. Otherwise the mark is a character like any other.
        published: whether it is a benchmark's own file: its texts are never whole numbers of JSON, TSV
            without a header has these columns and no others, and a carriage return is part of a text.

    Raises:
        InputError: broken UTF-8 or JSON, a missing column or key, too many or too few columns, half of
            a character, a carriage return within a line of TSV.
    """
    texts = (
        (number, decode(line, name, number).rstrip("\r\n"))
        for number, line in lines
        if line.strip(b" \r\n")
    )
    if json_lines:
        rows = _json_rows(texts, name, columns, otherwise, not published)
    else:
        rows = _tsv_rows(texts, name, columns, otherwise, quoted, published)
    for number, values in rows:
        for value in values:
            check_characters(value, f"{name}, line {number}")
        yield number, [value.strip() for value in values]


def json_object(text: str, place: str, exact: bool = False) -> dict[str, object]:
    """The object of a line of JSON Lines.

    Args:
        place: the file and the line, for messages.
        exact: the object will be written again: NaN and infinities, which JSON does not have, are
            refused.

    Raises:
        InputError: it is not an object of JSON.
    """
    try:
        record = json.loads(text, parse_constant=refuse_constant if exact else None)
    except RecursionError:
        raise InputError(f"{place}: the JSON is nested too deeply; fix this line") from None
    except ValueError as error:
        raise InputError(f"{place}: not JSON ({error}); fix this line") from None
    if not isinstance(record, dict):
        raise InputError(
            f"{place}: JSON, but not an object; each line must be an object such as "
            '{"text": "..."}'
        )
    return record


def text_under(
    record: dict[str, object], key: str, place: str, otherwise: str, numbers: bool = False
) -> str:
    """The text under a key of an object; with `numbers` a number is one, too (2.0 is "2").

    Raises:
        InputError: there is none. It names the keys that there are, and what to do `otherwise`.
    """
    value = record.get(key)
    if isinstance(value, str):
        return value
    if numbers and type(value) in (int, float) and math.isfinite(value):
        return str(int(value) if value == int(value) else value)
    names = [ascii(name[:40]) for name in record]
    shown = ", ".join(names[:8]) + (" and others" if len(names) > 8 else "") or "none"
    raise InputError(
        f"{place}: no text {'or number ' if numbers else ''}under the key {key!r}; the keys of "
        f"this line are {shown}: {otherwise}"
    )


def json_text(line: bytes, field: str, path: str | Path, number: int) -> str:
    """The text of one line of JSON Lines.

    Args:
        field: the key that holds it; an option --field gives it.
        number: of the line.

    Raises:
        InputError: broken UTF-8 or JSON, no text under the key, or a character that text does not have.
    """
    place = f"{path}, line {number}"
    record = json_object(decode(line, path, number), place)
    text = text_under(record, field, place, "name the one that holds the text with --field")
    if "\0" in text:
        raise InputError(
            f"{place}: the text holds a NUL character (\\u0000), which text does not have; remove it"
        )
    check_characters(text, place)
    return text


def lines_of_text(file: TextFile, field: str = "text") -> Iterator[tuple[str, int]]:
    """Yield the text of each line that is not blank, and the bytes of that line.

    Of JSON Lines it is what is under the key `field`.

    Raises:
        InputError: as of `json_text`, or the file is damaged, or a line of it is too long.
    """
    json_lines = file.is_json_lines
    longest = LONGEST_JSON_LINE if json_lines else LONGEST_LINE
    for number, line in shown(file, file.lines(longest, cut=not json_lines)):
        if line.isspace():
            continue
        path = file.path
        text = json_text(line, field, path, number) if json_lines else decode(line, path, number)
        yield text, len(line)


def _json_rows(
    lines: Iterator[tuple[int, str]],
    name: str | Path,
    columns: Sequence[Column],
    otherwise: str,
    numbers: bool,
) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines:
        place = f"{name}, line {number}"
        record = json_object(line, place)
        yield number, [text_under(record, str(key), place, otherwise, numbers) for key in columns]


def _tsv_rows(
    lines: Iterator[tuple[int, str]],
    name: str | Path,
    columns: Sequence[Column],
    otherwise: str,
    quoted: bool,
    published: bool,
) -> Iterator[tuple[int, list[str]]]:
    columns = [int(column) if str(column).isdecimal() else column for column in columns]
    names = [column for column in columns if isinstance(column, str)]
    header, source = [], "in the header"
    if names:
        number, line = next(lines, (1, ""))
        header = _fields(line, f"{name}, line {number}", quoted)
        for column in names:
            if header.count(column) != 1:
                found = "two columns" if column in header else "no column"
                raise InputError(
                    f"{name}, line {number}: {found} {column!r} in the header "
                    f"({', '.join(header)}); {otherwise}{_if_csv(line)}"
                )
    indices = [header.index(c) if isinstance(c, str) else c - 1 for c in columns]
    if min(indices) < 0:
        raise InputError("columns are counted from 1: there is no column 0")
    width = len(header)
    if published and not header:
        width, source = max(indices) + 1, "are due"
    for number, line in lines:
        if "\r" in line and not published:
            raise InputError(
                f"{name}, line {number}: a carriage return inside the line; end lines with a line "
                "feed, and take carriage returns out of texts."
            )
        values = _fields(line, f"{name}, line {number}", quoted)
        if not width:
            width, source = len(values), f"in line {number}"
        if len(values) <= max(indices):
            raise InputError(
                f"{name}, line {number}: {len(values)} columns, but column {max(indices) + 1} is "
                f"wanted; fix this line, or {otherwise}{_if_csv(line)}"
            )
        if len(values) > width or not header and len(values) < width:
            raise InputError(
                f"{name}, line {number}: {len(values)} columns, and {width} {source}; where a tab "
                f"stands inside a text, {TSV_WAY_OUT}"
            )
        yield number, [values[index] for index in indices]


def _fields(line: str, place: str, quoted: bool) -> list[str]:
    if not quoted:
        return line.split("\t")
    try:
        return next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error as error:
        raise InputError(
            f"{place}: the quotation marks do not pair up ({error}); fetch the file again or fix this "
            "line"
        ) from None


def _if_csv(line: str) -> str:
    return "" if "\t" in line or "," not in line else f"; if the file is CSV, {TSV_WAY_OUT}"
