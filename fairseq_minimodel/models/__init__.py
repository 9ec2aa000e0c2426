"""The models that fairseq sees."""

from . import minimodel_roberta  # noqa: F401
