"""Sentences and their English translations, to be found among all: Tatoeba (Artetxe & Schwenk 2019)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import InputError
from ...files.archive import SourceFile
from ...kinds.rows import Reading
from ..pairs import side_by_side


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
        paths = [file.path for file in files]
        for number, *pair in side_by_side(paths, (texts, english), "; fetch both again."):
            sides = [side.strip() for side in pair]
            if not all(sides):
                raise InputError(
                    f"{paths[sides.index('')]}, line {number} is blank; fetch the file again."
                )
            yield Reading(language, Translation(*sides))
