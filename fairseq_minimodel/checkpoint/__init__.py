"""Reading fairseq checkpoints safely, and explicit surgery on them."""

from .. import compat  # noqa: F401  (before anything of fairseq)
