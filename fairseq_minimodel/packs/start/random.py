"""Rows drawn at random."""

import torch
from torch import Tensor

from ...vocabulary.symbols import PAD_INDEX
from .rule import Rule

STANDARD_DEVIATION = 0.02  # of BERT's and RoBERTa's initial embeddings


class Random(Rule):
    """Rows from N(0, 0.02), output biases 0 (Artetxe et al. 2020; Marchisio et al. 2023)."""

    name = "random"
    common_rows = f"drawn from N(0, {STANDARD_DEVIATION}), bias 0"
    other_rows = "the same"
    compares_tokens = False

    def make_rows(self) -> Tensor:
        size, width = len(self.pair.symbols), self.pair.rows.size(1)
        rows = torch.zeros(size, width)
        drawn = torch.empty(size, width - self.pair.is_tied)  # all but the bias
        drawn.normal_(0.0, STANDARD_DEVIATION, generator=self.generator)
        rows[:, : drawn.size(1)] = drawn
        rows[PAD_INDEX] = 0.0
        return rows
