"""The models that fairseq sees."""

from .. import compat  # noqa: F401  isort: skip  (before anything of fairseq)

from . import minimodel_roberta  # noqa: F401
