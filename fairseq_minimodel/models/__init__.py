"""The models that fairseq sees."""

from ..plugin.compat import patches  # noqa: F401  isort: skip  (before anything of fairseq)

from . import minimodel_eurobert, minimodel_modernbert, minimodel_roberta  # noqa: F401
