"""The model that the tasks of this package train."""

from omegaconf import DictConfig

from ..bodies.architectures import ARCHITECTURES, model_of
from ..errors import InputError


def check_architecture(task: str, cfg: DictConfig) -> str:
    """The model by its name. Refuses one that is not of this package with an `InputError`."""
    name = getattr(cfg, "_name", None) or cfg.arch
    if name not in ARCHITECTURES:
        raise InputError(
            f"the task {task} trains the model minimodel_roberta, not {name}: "
            "give --arch minimodel_roberta"
        )
    return model_of(name)
