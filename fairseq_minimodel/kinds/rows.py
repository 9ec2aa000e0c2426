"""What the readers of benchmarks hand on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

Row = TypeVar("Row")

UNLABELLED = "unlabelled"
UNTRANSLATED = "untranslated"
UNWORDED = "with an empty word"
MISPLACED = "misplaced"  # no answer stands in its context where the file says


class Reading(NamedTuple):
    """One row of a file: what it holds, or (then `row` is None) why it is left out."""

    language: str
    row: object | None
    left_out: str | None = None


@dataclass(frozen=True)
class Split(Generic[Row]):
    """One split of a benchmark in one language.

    Attributes:
        language: the benchmark's own code.
        files: where the rows come from.
        rows: in the order of the file.
        left_out: how many rows were left out, for each reason.
    """

    language: str
    files: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: Mapping[str, int]
