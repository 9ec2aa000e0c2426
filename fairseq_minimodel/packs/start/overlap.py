"""Rows of tokens in both vocabularies copied, the others drawn at random."""

from .random import Random


class Overlap(Random):
    """As `random`, but every token that is in both vocabularies copies its source row."""

    name = "overlap"
    common_rows, other_rows = "copied from the source", Random.common_rows
    compares_tokens = True
