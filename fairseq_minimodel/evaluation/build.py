"""A model ready to predict, from a checkpoint and a vocabulary alone."""

from collections.abc import Sequence
from types import SimpleNamespace

from .. import compat  # noqa: F401  isort: skip  (before anything of fairseq)

from fairseq.data import Dictionary
from omegaconf import OmegaConf

from ..checkpoint.load import Checkpoint
from ..language.vocabulary import SPECIAL_SYMBOLS
from ..models.minimodel_roberta import MiniModelRoberta, MiniModelRobertaConfig


def build_model(checkpoint: Checkpoint, symbols: Sequence[str]) -> MiniModelRoberta:
    """The checkpoint's model in evaluation mode, with its classification heads.

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
    config.auxiliary_head_layers = ",".join(
        sorted({name.split(".")[2] for name in checkpoint.state if ".auxiliary_lm_heads." in name})
    )
    config.load_checkpoint_heads = True
    config.pooler_activation_fn = checkpoint.model_config.get("pooler_activation_fn") or "tanh"
    task = SimpleNamespace(source_dictionary=dictionary)
    model = MiniModelRoberta.build_model(config, task)
    model.load_state_dict(dict(checkpoint.state), strict=True)
    return model.eval()
