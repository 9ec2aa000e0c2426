"""The mean of the source's rows."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from .rule import Rule, StartReport


class Mean(Rule):
    """Tokens in both vocabularies are copied, every other row is the mean of all source rows."""

    name = "mean"
    other_rows = "the mean of all rows of the source"

    def make_rows(self) -> Tensor:
        return self.pair.rows.mean(0).repeat(len(self.pair.symbols), 1)

    def fill(self, rows: Tensor, missing: Sequence[int], report: StartReport) -> StartReport:
        return replace(report, combined=len(missing))
