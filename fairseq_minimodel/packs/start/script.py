"""Rows drawn from the statistics of the source rows of the same script."""

import logging
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from ...vocabulary.matching import texts
from ...vocabulary.scripts import script_of
from ...vocabulary.symbols import SPECIAL_SYMBOLS
from .rule import Rule

logger = logging.getLogger(__name__)

FEWEST = 10  # source rows of a script that say how its rows are distributed


class Script(Rule):
    """Rows as the source has them in their script: N(mean, standard deviation), by dimension.

    Script-wise re-initialisation (Downey, Blevins, Goldfine and Steinert-Threlkeld 2023, *Embedding
    Structure Matters*, arXiv 2309.04679), with the rows of tokens in both vocabularies copied. Tokens
    without a letter are a script of their own. Of a script with fewer than `FEWEST` rows in the source,
    rows are drawn as all of the source are.
    """

    name = "script"
    other_rows = "drawn as the source rows of the same script: N(mean, standard deviation)"

    def make_rows(self) -> Tensor:
        source, here = _by_script(self.pair.source_symbols), _by_script(self.pair.symbols)
        everything = [row for rows in source.values() for row in rows]
        drawn = torch.randn(
            len(self.pair.symbols), self.pair.rows.size(1), generator=self.generator
        )
        alone = []
        for script, places in here.items():
            known = source.get(script, [])
            if len(known) < FEWEST:
                alone.append(f"{script.lower()} {len(places)}")
                known = everything
            rows = self.pair.rows[known]
            drawn[places] = rows.mean(0) + rows.std(0, correction=0) * drawn[places]
        if alone:
            logger.info(
                "tokens of scripts that the source hardly has, drawn as all of its rows are: %s",
                ", ".join(alone),
            )
        return drawn


def _by_script(symbols: Sequence[str]) -> dict[str, list[int]]:
    """The rows of each script, without those of special symbols."""
    rows = defaultdict(list)
    for row, text in enumerate(texts(symbols)):
        if symbols[row] not in SPECIAL_SYMBOLS:
            rows[script_of(text)].append(row)
    return rows
