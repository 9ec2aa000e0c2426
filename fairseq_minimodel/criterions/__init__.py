"""The criterions that fairseq sees."""

from . import joint_masked_lm  # noqa: F401
