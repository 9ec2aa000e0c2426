"""A model ready to predict, from a checkpoint and a vocabulary alone, and where it predicts."""

from collections.abc import Sequence
from types import SimpleNamespace

from .. import compat  # noqa: F401  isort: skip  (before anything of fairseq)

import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf

from ..checkpoint.load import Checkpoint
from ..checkpoint.task_module import settings_in
from ..errors import InputError
from ..language.vocabulary import SPECIAL_SYMBOLS
from ..models.minimodel_roberta import MiniModelRoberta, MiniModelRobertaConfig
from ..nn import cpu


def build_model(checkpoint: Checkpoint, symbols: Sequence[str]) -> MiniModelRoberta:
    """The checkpoint's model in evaluation mode, with its classification heads and its task module.

    Needs neither the data that the checkpoint was trained on nor its configuration of a task.

    Args:
        symbols: the vocabulary, one symbol for each row of the embedding.
    """
    dictionary = Dictionary()
    for symbol in symbols:
        if symbol not in SPECIAL_SYMBOLS[:-1]:  # fairseq's dictionary starts with these
            dictionary.add_symbol(symbol)
    config = OmegaConf.structured(MiniModelRobertaConfig)
    config.update(checkpoint.body_settings())
    config.update(settings_in(checkpoint.model_config).used())
    config.auxiliary_head_layers = ",".join(
        sorted({name.split(".")[2] for name in checkpoint.state if ".auxiliary_lm_heads." in name})
    )
    config.load_checkpoint_heads = True
    config.pooler_activation_fn = checkpoint.model_config.get("pooler_activation_fn") or "tanh"
    task = SimpleNamespace(source_dictionary=dictionary)
    model = MiniModelRoberta.build_model(config, task)
    model.load_state_dict(dict(checkpoint.state), strict=True)
    return model.eval()


def ready_device(name: str | None) -> str:
    """The device to predict on; for a CPU the settings of the process are made, see `nn/cpu.py`.

    Args:
        name: as PyTorch calls it ("cuda:1"); None: a GPU if there is one.

    Raises:
        InputError: there is no such device, or it cannot be used here.
    """
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=device).cpu()  # back, too: the device "meta" has no values
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).split("\n")[0].split(". ")[0][:120]
        raise InputError(
            f"--device {device} cannot be used here ({reason}); give cpu, or leave it out to take a "
            "GPU if there is one"
        ) from None
    if torch.device(device).type == "cpu":
        cpu.prepare_process()
    return device
