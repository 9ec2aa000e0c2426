"""The criterions that fairseq sees."""

from ..plugin.compat import patches  # noqa: F401  isort: skip  (before anything of fairseq)

from . import joint_masked_lm, sentence_distillation, span_qa, tagging  # noqa: F401
