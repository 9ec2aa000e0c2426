"""How the language side of a new language starts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .side import LanguageSide
from .vocabulary import PAD_INDEX, SPECIAL_SYMBOLS

STANDARD_DEVIATION = 0.02  # of BERT's and RoBERTa's initial embeddings

INITIALISERS = ("random", "overlap")


@dataclass(frozen=True)
class InitialisationReport:
    """How many rows of a language side came from where."""

    rule: str
    special: int
    copied: int
    drawn: int

    def __str__(self) -> str:
        return (
            f"initialise {self.rule}: {self.special} special symbols copied, "
            f"{self.copied} other rows copied, {self.drawn} rows drawn"
        )


def initialise(
    rule: str,
    source: LanguageSide,
    source_symbols: Sequence[str],
    target_symbols: Sequence[str],
    generator: torch.Generator,
) -> tuple[LanguageSide, InitialisationReport]:
    """The language side with which a target language starts.

    `random` (Artetxe et al. 2020; Marchisio et al. 2023): rows from N(0, 0.02), output biases 0, and
    the special symbols copied from the source, matched by symbol and never by index. `overlap`:
    besides, every symbol that is in both vocabularies copies its source row and bias.

    Args:
        rule: one of `INITIALISERS`.
        source: language side of the source language.
        source_symbols, target_symbols: the symbols, one for each row.
        generator: where the drawn rows come from.
    """
    if rule not in INITIALISERS:
        raise ValueError(f'no initialiser "{rule}": there are {", ".join(INITIALISERS)}')
    embedding = torch.empty(len(target_symbols), source.width).normal_(
        0.0, STANDARD_DEVIATION, generator=generator
    )
    embedding[PAD_INDEX] = 0.0
    bias = torch.zeros(len(target_symbols))

    row_in_source = {symbol: row for row, symbol in enumerate(source_symbols)}
    pairs = [
        (row, row_in_source[symbol])
        for row, symbol in enumerate(target_symbols)
        if symbol in row_in_source and (rule == "overlap" or symbol in SPECIAL_SYMBOLS)
    ]
    target_rows, source_rows = torch.tensor(pairs, dtype=torch.long).view(-1, 2).unbind(dim=1)
    embedding[target_rows] = source.embedding[source_rows].float()
    bias[target_rows] = source.bias[source_rows].float()

    special = sum(target_symbols[row] in SPECIAL_SYMBOLS for row, _ in pairs)
    report = InitialisationReport(
        rule, special, len(pairs) - special, len(target_symbols) - len(pairs)
    )
    return LanguageSide(embedding, bias), report
