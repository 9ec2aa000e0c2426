"""Benchmarks, predictions and scores."""

from .. import compat  # noqa: F401  (before anything of fairseq)
