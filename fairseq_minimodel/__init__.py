"""Mini-model adaptation of masked language models, as a fairseq plugin.

Importing this package changes nothing and imports nothing else. `--user-dir` with this folder, or
`register()`, makes its models, tasks, criterions and optimisers known to fairseq.
`fairseq_minimodel.load` is the Python interface (`inference/model.py`), `fairseq_minimodel.adapt` the
verb of that name (`recipes/adapt.py`).
"""

__version__ = "0.1.0"


def register() -> None:
    """Make the models, tasks, criterions and optimisers known to fairseq, once.

    Raises:
        SetupError: fairseq does not work here, or PyTorch is too old. The message has the commands
            that help.
    """
    from . import plugin

    plugin.register()


def __getattr__(name: str) -> object:
    if name == "load":  # imported late: it needs torch
        from .inference.model import load

        return load
    if name == "adapt":
        from .recipes.adapt import adapt

        return adapt
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
