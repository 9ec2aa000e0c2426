"""What all rules for the start of a language have in common.

A row is a token's embedding with its output bias as one dimension more, or, where the output projection
is a table of its own, with its row there behind it: what happens to the one happens to the other.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ...bodies.language_side import LanguageSide
from ...vocabulary.matching import matches
from ...vocabulary.symbols import SPECIAL_SYMBOLS
from .translations import Reader


@dataclass(frozen=True)
class Pair:
    """The language side of a source language, and the vocabulary of the language that starts from it.

    Attributes:
        rows: of the source (V, n), float32: the embedding, and the output bias (n = d + 1) or the row
            of the output projection (n = 2 d).
        is_tied: whether the last column is the output bias, and there is no other projection.
        source_symbols, symbols: of the source and of the target, one for each row.
        special: the row in the source of each special symbol's row in the target, matched by symbol.
        common: the same for all other tokens that are in both, matched by their text
            (`vocabulary/matching.py`).
    """

    rows: Tensor
    source_symbols: Sequence[str]
    symbols: Sequence[str]
    special: dict[int, int]
    common: dict[int, int]
    is_tied: bool

    @classmethod
    def of(
        cls,
        source: LanguageSide,
        source_symbols: Sequence[str],
        symbols: Sequence[str],
        becomes: Callable[[str], str] | None = None,
    ) -> "Pair":
        """The pair of a source and a target.

        Args:
            becomes: what the source's tokenizer makes of a text before it cuts it.
        """
        output = source.bias.unsqueeze(1) if source.is_tied else source.projection
        rows = torch.cat([source.embedding, output], dim=1).float()
        special, common = {}, {}
        for row, there in matches(symbols, source_symbols, becomes).items():
            (special if symbols[row] in SPECIAL_SYMBOLS else common)[row] = there
        return cls(rows, source_symbols, symbols, special, common, source.is_tied)

    def side_of(self, rows: Tensor) -> LanguageSide:
        """The language side that has these rows (V, n)."""
        # .contiguous(): columns of one matrix would be saved with the whole of it
        if self.is_tied:
            return LanguageSide(rows[:, :-1].contiguous(), rows[:, -1].contiguous())
        embedding, projection = (one.contiguous() for one in rows.chunk(2, dim=1))
        return LanguageSide(embedding, projection=projection)


@dataclass(frozen=True)
class Run:
    """What a training run has for a rule, besides the two languages.

    Attributes:
        settings: has an attribute for each setting of each rule.
        generator: of what is drawn, with the run's seed.
        text: gives the ids of the training text, (tokens,) for each line, and its name for messages.
        readers: gives what reads text of the source language and of the target.
    """

    settings: object
    generator: torch.Generator
    text: Callable[[], tuple[Iterable[np.ndarray], str]]
    readers: Callable[[], tuple[Reader, Reader]]


@dataclass(frozen=True)
class StartReport:
    """How many rows of a language side came from where; None: the rule has no such rows.

    Attributes:
        special, copied: rows of special symbols and other rows, copied from the source.
        aligned: rows that are means of the source rows of their translations.
        drawn: rows drawn at random, for whatever reason.
        combined: rows that are means of source rows.
        without_vector, cancelled: drawn because there is no vector for the token, or because its
            weights cancel out (`weighted.py`).
    """

    rule: str
    special: int
    copied: int
    drawn: int = 0
    aligned: int | None = None
    combined: int | None = None
    without_vector: int | None = None
    cancelled: int | None = None

    def __str__(self) -> str:
        counts = [f"{self.special} special symbols copied", f"{self.copied} other rows copied"]
        if self.aligned is not None:
            counts.append(f"{self.aligned} rows aligned")
        if self.combined is not None:
            counts.append(f"{self.combined} rows combined")
        counts.append(f"{self.drawn} rows drawn")
        text = f"initialise {self.rule}: {', '.join(counts)}"
        if self.without_vector is not None:
            text += (
                f" ({self.without_vector} without a vector, {self.cancelled} whose weights cancel)"
            )
        return text


@dataclass
class NoSettings:
    pass


class Rule(ABC):
    """A rule for the language side of a new language. One file each; `RULES` lists them.

    Special symbols are copied from the source. A rule says where all other rows come from.

    Attributes:
        name: the value of --initialise.
        common_rows, other_rows, needs: where the rows of tokens in both vocabularies come from, and
            all other rows, and what the rule needs; for the help and the documentation.
        Settings: dataclass of the options of this rule, each with its help. Rules may share options.
        compares_tokens: the rule asks which tokens are in both vocabularies.
    """

    name: ClassVar[str]
    common_rows: ClassVar[str] = "copied"
    other_rows: ClassVar[str]
    needs: ClassVar[str] = ""
    Settings: ClassVar[type] = NoSettings
    compares_tokens: ClassVar[bool] = True

    def __init__(self, pair: Pair, generator: torch.Generator) -> None:
        self.pair, self.generator = pair, generator

    @classmethod
    def for_run(cls, pair: Pair, run: Run) -> "Rule":
        """The rule as the settings of a run have it. Raises InputError if one of them does not do."""
        return cls(pair, run.generator)

    def start(self) -> tuple[LanguageSide, StartReport]:
        """The language side of the target, and where its rows came from.

        Raises:
            InputError: what the rule was given does not belong to the two vocabularies.
        """
        pair, rows, common = self.pair, self.make_rows(), self.common()
        copied = {**pair.special, **common}
        rows[list(copied)] = pair.rows[list(copied.values())]
        missing = [row for row in range(len(pair.symbols)) if row not in copied]
        report = StartReport(self.name, len(pair.special), len(common))
        report = self.fill(rows, missing, report)
        report = replace(
            report, drawn=len(missing) - (report.aligned or 0) - (report.combined or 0)
        )
        return pair.side_of(rows), report

    def common(self) -> dict[int, int]:
        """The rows that are copied besides special symbols, each with its row in the source."""
        return self.pair.common if self.compares_tokens else {}

    @abstractmethod
    def make_rows(self) -> Tensor:
        """The rows (V, n) that stay where nothing is copied or filled in."""

    def fill(self, rows: Tensor, missing: Sequence[int], report: StartReport) -> StartReport:
        """Put rows that are neither copied nor drawn in their places, and count them.

        Args:
            rows: (V, n), with the copied rows in their places.
            missing: the places of the others.
        """
        return report
