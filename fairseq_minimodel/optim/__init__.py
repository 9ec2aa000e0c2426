"""The optimisers that fairseq sees."""

from .. import compat  # noqa: F401  isort: skip  (before anything of fairseq)

from . import fused_adam  # noqa: F401
