"""Rows from translations: each the mean of the source rows that a token is a translation of."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from ...errors import InputError
from ...terminal.progress import SHORT, Progress
from ..settings import AlignedSettings
from .alignment import ITERATIONS, joined_counts
from .focus import Focus
from .mean import Mean
from .rule import Pair, Rule, Run, StartReport
from .translations import Translations, read_translations

logger = logging.getLogger(__name__)

BEST = 5  # source rows of a mean
ENOUGH = 1.0  # count from which on a token is a translation at all


class Aligned(Rule):
    """Means of the source rows that each token is a translation of, weighted by how often it is.

    After Remy et al. 2024 (Trans-Tokenization, arXiv 2408.04303), with counts of an alignment of the
    tokens of both vocabularies. A token that is seen too seldom is copied, or has the row of another
    rule.

    Args:
        counts: (source, target) how often the one is a translation of the other (`joined_counts`).
        fallback: the rule of rows that have no translation and are not copied.
    """

    name = "aligned"
    common_rows = "mean of the source rows that they translate; without a translation copied"
    other_rows = "the same; without a translation as focus"
    needs = "line-aligned text, or a word list"
    Settings = AlignedSettings

    def __init__(
        self,
        pair: Pair,
        generator: torch.Generator,
        counts: scipy.sparse.csr_array,
        fallback: Rule,
    ) -> None:
        super().__init__(pair, generator)
        self.weights, self.fallback = weights_of(counts), fallback
        found = np.flatnonzero(np.diff(self.weights.indptr))
        self.found = [row for row in found.tolist() if row not in pair.special]

    @classmethod
    def for_run(cls, pair: Pair, run: Run) -> "Aligned":
        settings = run.settings
        source, target = run.readers()
        translations = read_translations(settings.parallel, settings.dictionary, source, target)
        logger.info("aligning %s", translations.report)
        counts = align(translations, (len(pair.rows), len(pair.symbols)))
        fallback: Rule
        try:
            fallback = Focus.for_run(pair, run)
        except InputError as error:  # there is no text, or too little
            fallback = _mean(pair, run.generator, error)
        return cls(pair, run.generator, counts, fallback)

    def make_rows(self) -> Tensor:
        return self.fallback.make_rows()

    def common(self) -> dict[int, int]:
        found = set(self.found)
        return {row: there for row, there in super().common().items() if row not in found}

    def fill(self, rows: Tensor, missing: Sequence[int], report: StartReport) -> StartReport:
        found = set(self.found)
        means = self.weights[self.found] @ self.pair.rows.numpy()
        rows[self.found] = torch.from_numpy(means.astype(np.float32))
        others = [row for row in missing if row not in found]
        report = replace(report, aligned=len(found))
        try:
            return self.fallback.fill(rows, others, report)
        except InputError as error:  # no row that is known is in the text
            mean = _mean(self.pair, self.generator, error)
            rows[others] = mean.make_rows()[others]
            return mean.fill(rows, others, report)


def _mean(pair: Pair, generator: torch.Generator, reason: InputError) -> Mean:
    """The rule of rows without a translation where no other can be; the log says why."""
    logger.info("rows without a translation are the mean of all: %s", reason)
    return Mean(pair, generator)


def align(translations: Translations, shape: tuple[int, int]) -> scipy.sparse.csr_array:
    """`joined_counts` of translations, while it is shown how far it is."""
    source, target = translations.source, translations.target
    cells = 2 * ITERATIONS * int(source.sizes @ target.sizes)
    with Progress("aligning", cells, "token pair", after=SHORT) as progress:
        return joined_counts(source, target, shape, progress.update)


def weights_of(counts: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """The weights (target, source) of source rows in each target row: they sum to 1, or are all 0.

    The `BEST` highest counts of each target token, as shares of their sum; no weights where they sum
    to less than `ENOUGH`.

    Args:
        counts: (source, target).
    """
    cells = counts.T.tocsr().tocoo()
    order = np.lexsort((-cells.data, cells.row))  # equal counts stay in the order of the source
    rows, columns, values = (some[order] for some in (cells.row, cells.col, cells.data))
    starts = np.searchsorted(rows, np.arange(cells.shape[0]))
    best = np.arange(len(rows)) - starts[rows] < BEST
    rows, columns, values = rows[best], columns[best], values[best]
    totals = np.bincount(rows, values, cells.shape[0])[rows]
    enough = totals >= ENOUGH
    shares = values[enough] / totals[enough]
    return scipy.sparse.csr_array((shares, (rows[enough], columns[enough])), cells.shape)
