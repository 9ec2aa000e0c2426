"""The tasks that fairseq sees."""

from ..plugin.compat import patches  # noqa: F401  isort: skip  (before anything of fairseq)

from . import (  # noqa: F401
    language_adaptation,
    lengths,
    meta_masked_lm,
    meta_sentence_prediction,
    sentence_distillation,
    span_qa,
    tagging,
)
