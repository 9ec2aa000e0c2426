"""Sentences and their English translations, to be found among all: Tatoeba (Artetxe & Schwenk 2019)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from ...errors import InputError
from ...files.archive import SourceFile
from ...files.text import decode
from ...kinds.rows import Reading


@dataclass(frozen=True)
class Translation:
    """A sentence and its English translation."""

    text: str
    english: str


def read_translations(files: Sequence[SourceFile], language: str) -> Iterator[Reading]:
    """Yield the lines of two parallel files, the second of which is English.

    Raises:
        InputError: one file has more lines than the other, a line is blank or not UTF-8.
    """
    with files[0].lines() as texts, files[1].lines() as english:
        for pair in zip_longest(texts, english):
            if None in pair:
                longer, shorter = files if pair[1] is None else reversed(files)
                raise InputError(
                    f"{longer.path} has more lines than {shorter.path}, "
                    "of which each must be the translation of one; fetch both again."
                )
            sides = [
                decode(line, file.path, number).strip()
                for file, (number, line) in zip(files, pair, strict=True)
            ]
            if not all(sides):
                raise InputError(
                    f"{files[sides.index('')].path}, line {pair[0][0]} is blank; "
                    "fetch the file again."
                )
            yield Reading(language, Translation(*sides))
