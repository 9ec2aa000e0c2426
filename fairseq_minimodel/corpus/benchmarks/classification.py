"""Sentences and sentence pairs with a label: TSV and JSON Lines as benchmarks are published."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import InputError
from ...files.archive import Lines, SourceFile
from ...files.text import decode, is_json_lines
from ...kinds.examples import Column, Example, check_characters
from ...kinds.rows import UNLABELLED, UNTRANSLATED, Reading


@dataclass(frozen=True)
class Layout:
    """Where a line holds what, and what the values may be.

    Attributes:
        texts, label: columns by name, or by number from 1 if the file has no header.
        labels: every label of the benchmark, in no order.
        language: column of the language, if one file holds several.
        quoted: whether a CSV writer made the TSV, so that a field with a quotation mark stands in
            quotation marks, its own doubled. Otherwise the mark is a character like any other.
        no_label: what stands where the annotators agreed on no label.
        no_text: what stands for a text that was never translated.
    """

    texts: tuple[Column, ...]
    label: Column
    labels: frozenset[str]
    language: Column | None = None
    quoted: bool = False
    no_label: str | None = None
    no_text: frozenset[str] = frozenset()

    @property
    def columns(self) -> tuple[Column, ...]:
        return (*self.texts, self.label, *([] if self.language is None else [self.language]))


def read_labelled(
    files: Sequence[SourceFile], language: str | None, layout: Layout
) -> Iterator[Reading]:
    """Yield the rows of one file as `Example`. Spaces around a value are taken off.

    Args:
        language: of the whole file; None: each row says its own.

    Raises:
        InputError: a missing column or key, a line with too few or too many columns, an unknown
            label, broken UTF-8 or JSON. The message names file and line.
    """
    [file] = files
    read_values = _json_values if is_json_lines(file.name) else _tsv_values
    with file.lines() as lines:
        for number, values in read_values(_texts(lines, file.path), layout, file.path):
            texts, label = tuple(values[: len(layout.texts)]), values[len(layout.texts)]
            row_language = language or values[-1]
            if label == layout.no_label:
                yield Reading(row_language, None, UNLABELLED)
            elif label not in layout.labels:
                raise InputError(
                    f"{file.path}, line {number}: the label is {label!r}, not one of "
                    f"{', '.join(sorted(layout.labels))}; is this a file of another benchmark?"
                )
            elif layout.no_text.intersection(texts):
                yield Reading(row_language, None, UNTRANSLATED)
            else:
                for text in texts:
                    check_characters(text, f"{file.path}, line {number}")
                yield Reading(row_language, Example(texts, label, number))


def _texts(lines: Lines, path: str) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        if line.strip(b"\r\n"):  # a line of empty columns is not blank
            yield number, decode(line, path, number).rstrip("\r\n")


def _tsv_values(
    lines: Iterator[tuple[int, str]], layout: Layout, path: str
) -> Iterator[tuple[int, list[str]]]:
    fields = _quoted_fields if layout.quoted else _plain_fields
    if isinstance(layout.label, int):
        indices = [column - 1 for column in layout.columns]
        width = max(indices) + 1
    else:
        number, line = next(lines, (1, ""))
        header = fields(line, path, number)
        for column in layout.columns:
            if column not in header:
                raise InputError(
                    f"{path}, line {number}: no column {column!r} in the header "
                    f"({', '.join(header)}); is this a file of another benchmark?"
                )
        indices, width = [header.index(column) for column in layout.columns], len(header)
    for number, line in lines:
        values = fields(line, path, number)
        # Official files may end short of columns that are not wanted; one more column than there
        # should be means that a tab has split a text.
        if not max(indices) < len(values) <= width:
            raise InputError(
                f"{path}, line {number}: {len(values)} columns where {width} are due; "
                "mend this line, or take a file with labels."
            )
        yield number, [values[index].strip() for index in indices]


def _plain_fields(line: str, path: str, number: int) -> list[str]:
    return line.split("\t")


def _quoted_fields(line: str, path: str, number: int) -> list[str]:
    try:
        return next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error as error:
        raise InputError(
            f"{path}, line {number}: the quotation marks do not pair up ({error}); "
            "fetch the file again or mend this line."
        ) from None


def _json_values(
    lines: Iterator[tuple[int, str]], layout: Layout, path: str
) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path}, line {number}: not JSON ({error}); fetch the file again."
            ) from None
        values = [record.get(key) if isinstance(record, dict) else None for key in layout.columns]
        for key, value in zip(layout.columns, values, strict=True):
            if not isinstance(value, str):
                raise InputError(
                    f"{path}, line {number}: no text under the key {key!r}; is this a file of "
                    "another benchmark?"
                )
        yield number, [value.strip() for value in values]
