"""What fairseq sees of this package: everything is registered from here."""

from .compat import end_commands_of_fairseq_plainly


def register() -> None:
    """Make the models, tasks, criterions and optimisers known to fairseq, once.

    Within a command of fairseq, bad input then ends it with one sentence, too. Any other program
    handles its exceptions itself.
    """
    end_commands_of_fairseq_plainly()
    from .compat import patches  # noqa: F401  isort: skip  (before anything of fairseq)
    from .. import criterions, models, tasks  # noqa: F401
    from . import equal_lengths, forgetting, fused_adam, training, training_log  # noqa: F401
