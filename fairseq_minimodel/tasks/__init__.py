"""The tasks that fairseq sees."""

from . import language_adaptation  # noqa: F401
