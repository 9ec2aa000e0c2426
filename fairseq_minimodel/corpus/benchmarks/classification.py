"""Sentences and sentence pairs with a label: TSV and JSON Lines as benchmarks are published."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import InputError
from ...files.archive import SourceFile
from ...files.rows import Column, read_rows
from ...files.text import is_json_lines
from ...kinds.examples import Example
from ...kinds.rows import UNLABELLED, UNTRANSLATED, Reading

_OTHERWISE = "take the file as it was published; is this one of another benchmark?"


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
    json_lines = is_json_lines(file.name)
    with file.lines() as lines:
        for number, values in read_rows(
            lines,
            file.path,
            layout.columns,
            _OTHERWISE,
            json_lines=json_lines,
            quoted=layout.quoted,
            published=True,
        ):
            texts, label = tuple(values[: len(layout.texts)]), values[len(layout.texts)]
            row_language = language or values[-1]
            if label == layout.no_label:
                yield Reading(row_language, None, UNLABELLED)
            elif label not in layout.labels:
                raise InputError(
                    f"{file.path}, line {number}: the label is {label!r}, not one of "
                    f"{', '.join(sorted(layout.labels))}; {_OTHERWISE}"
                )
            elif layout.no_text.intersection(texts):
                yield Reading(row_language, None, UNTRANSLATED)
            else:
                yield Reading(row_language, Example(texts, label, number))
