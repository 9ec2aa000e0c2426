"""How the language side of a new language starts.

A row is a token's embedding with its output bias as one dimension more: what happens to the one
happens to the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...bodies.language_side import LanguageSide
from ...errors import InputError
from ...vocabulary.matching import matches
from ...vocabulary.symbols import PAD_INDEX, SPECIAL_SYMBOLS
from .combine import Weigh, combine
from .vectors import TokenVectors

STANDARD_DEVIATION = 0.02  # of BERT's and RoBERTa's initial embeddings
COVERED = 0.5  # share of the target vocabulary that a helper in the target vocabulary has at least

INITIALISERS = ("random", "overlap", "mean", "clp", "focus")
COMBINING = ("clp", "focus")  # these need vectors


@dataclass(frozen=True)
class InitialisationReport:
    """How many rows of a language side came from where.

    Attributes:
        special, copied: rows of special symbols and other rows, copied from the source.
        combined: rows that are means of source rows.
        drawn: rows drawn at random, for whatever reason.
        without_vector, cancelled: drawn because there is no vector for the token, or because its
            weights cancel out (`combine`).
    """

    rule: str
    special: int
    copied: int
    combined: int
    drawn: int
    without_vector: int = 0
    cancelled: int = 0

    def __str__(self) -> str:
        counts = [f"{self.special} special symbols copied", f"{self.copied} other rows copied"]
        if self.rule not in ("random", "overlap"):
            counts.append(f"{self.combined} rows combined")
        counts.append(f"{self.drawn} rows drawn")
        text = f"initialise {self.rule}: {', '.join(counts)}"
        if self.rule in COMBINING:
            text += (
                f" ({self.without_vector} without a vector, {self.cancelled} whose weights cancel)"
            )
        return text


def initialise(
    rule: str,
    source: LanguageSide,
    source_symbols: Sequence[str],
    target_symbols: Sequence[str],
    generator: torch.Generator,
    vectors: TokenVectors | None = None,
    weigh: Weigh | None = None,
) -> tuple[LanguageSide, InitialisationReport]:
    """The language side with which a target language starts.

    The special symbols are copied from the source, matched by symbol and never by index; all other
    tokens are matched by their text (`matching.py`).

    - `random` (Artetxe et al. 2020; Marchisio et al. 2023): rows from N(0, 0.02), output biases 0.
    - `overlap`: besides, every token that is in both vocabularies copies its source row.
    - `mean`: tokens in both are copied, every other row is the mean of all source rows.
    - `clp` (Ostendorff and Rehm 2023, arXiv 2301.09626): tokens in both are copied; the row of any
      other is the mean of the copied rows, weighted by the cosines of its vector with theirs in a
      helper model. Special symbols take no part in the means. Where there is no mean (no vector, or
      weights that cancel out), the row is drawn, in each dimension with the mean and standard
      deviation of the source rows.
    - `focus` (Dobler and de Melo 2023, arXiv 2305.14481): the same with vectors made from the target
      text and with sparse weights.

    Args:
        rule: one of `INITIALISERS`.
        source: language side of the source language.
        source_symbols, target_symbols: the symbols, one for each row.
        generator: where the drawn rows come from.
        vectors: for `clp` and `focus`, where target tokens are compared.
        weigh: for `clp` and `focus`, cosines to weights; None: the cosines.

    Raises:
        InputError: the vectors are not those of the target vocabulary, or the vocabularies have no
            token in common.
    """
    if rule not in INITIALISERS:
        raise ValueError(f'no initialiser "{rule}": there are {", ".join(INITIALISERS)}')
    if (vectors is not None) != (rule in COMBINING):
        raise ValueError(f"{rule} and vectors: {', '.join(COMBINING)} take them, and only these")
    source_rows = torch.cat([source.embedding, source.bias.unsqueeze(1)], dim=1).float()
    rows = _fresh_rows(rule, source_rows, len(target_symbols), generator)

    found = matches(target_symbols, source_symbols)
    special = {row for row in found if target_symbols[row] in SPECIAL_SYMBOLS}
    copied = {row: there for row, there in found.items() if rule != "random" or row in special}
    rows[list(copied)] = source_rows[list(copied.values())]

    missing = [row for row in range(len(target_symbols)) if row not in copied]
    overlap = [row for row in copied if row not in special]
    combined = without_vector = cancelled = 0
    if rule == "mean":
        combined = len(missing)
    elif vectors is not None:
        place = matches(target_symbols, vectors.symbols)
        if rule == "clp":
            _check_helper(vectors, sum(row not in special for row in place), len(missing + overlap))
        combined, without_vector, cancelled = _combine_rows(
            rows, missing, overlap, place, vectors, weigh
        )
    report = InitialisationReport(
        rule,
        special=len(special),
        copied=len(overlap),
        combined=combined,
        drawn=len(missing) - combined,
        without_vector=without_vector,
        cancelled=cancelled,
    )
    # .contiguous(): columns of one matrix would be saved with the whole of it
    return LanguageSide(rows[:, :-1].contiguous(), rows[:, -1].contiguous()), report


def _fresh_rows(rule: str, source: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """The rows (size, d + 1) that stay where nothing is copied or combined."""
    if rule in ("random", "overlap"):
        rows = torch.zeros(size, source.size(1))
        embedding = torch.empty(size, source.size(1) - 1)
        rows[:, :-1] = embedding.normal_(0.0, STANDARD_DEVIATION, generator=generator)
        rows[PAD_INDEX] = 0.0
        return rows
    mean = source.mean(0)
    if rule == "mean":
        return mean.repeat(size, 1)
    deviation = source.std(0, correction=0)
    return mean + deviation * torch.randn(size, source.size(1), generator=generator)


def _check_helper(vectors: TokenVectors, covered: int, tokens: int) -> None:
    if covered < COVERED * tokens:
        raise InputError(
            f"{vectors.origin} has {covered} of the {tokens} tokens of the target vocabulary: a "
            "helper must have the vocabulary of the target; train one on the target's data, or take "
            "--initialise focus"
        )


def _combine_rows(
    rows: Tensor,
    missing: Sequence[int],
    overlap: Sequence[int],
    place: Mapping[int, int],
    vectors: TokenVectors,
    weigh: Weigh | None,
) -> tuple[int, int, int]:
    """Put weighted means of the `overlap` rows into the `missing` ones that have them.

    Args:
        place: the place of a row's token among the vectors.

    Returns: how many rows were combined, how many have no vector, and of how many the weights cancel.
    """
    near = [row for row in overlap if row in place]
    if not near:
        raise InputError(
            f"the target vocabulary has {len(overlap)} tokens in common with the source, "
            f"{len(near)} of them in {vectors.origin}: there is nothing to combine rows from; take "
            "--initialise random"
        )
    far = [row for row in missing if row in place]
    means, found = combine(
        vectors.vectors[[place[row] for row in far]],
        vectors.vectors[[place[row] for row in near]],
        rows[near],
        weigh,
    )
    rows[torch.tensor(far, dtype=torch.long)[found]] = means[found]
    combined = int(found.sum())
    return combined, len(missing) - len(far), len(far) - combined
