"""fairseq's configuration for models that are built without a training run."""

from collections.abc import Mapping, Sequence
from typing import Any

from fairseq.data import Dictionary
from fairseq.dataclass.configs import FairseqConfig
from fairseq.tasks.masked_lm import MaskedLMConfig
from omegaconf import OmegaConf

from ..bodies.family import Family
from ..vocabulary.symbols import LEADING_SYMBOLS
from .minimodel_eurobert import MiniModelEuroBert
from .minimodel_modernbert import MiniModelModernBert
from .minimodel_roberta import MiniModelRoberta

MODELS = {one.name: one for one in (MiniModelRoberta, MiniModelModernBert, MiniModelEuroBert)}


def model_class(family: Family) -> type[MiniModelRoberta]:
    """The model that a body of a family is."""
    return MODELS[family.model]


def dictionary_of(symbols: Sequence[str]) -> Dictionary:
    """fairseq's dictionary of a vocabulary: one symbol for each row of an embedding."""
    dictionary = Dictionary()
    for symbol in symbols[len(LEADING_SYMBOLS) :]:  # fairseq's dictionary starts with these
        dictionary.add_symbol(
            symbol, overwrite=True
        )  # one row each, also for a symbol that is there
    return dictionary


def masked_lm_config(
    family: Family, settings: Mapping[str, Any], data: str, tokens_per_sample: int
) -> dict[str, Any]:
    """The whole configuration of a model of a family trained on masked words, as plain dicts.

    Args:
        settings: of the model, by the names of its configuration.
        data: the folder that its dictionary lies in.
    """
    model = OmegaConf.structured(model_class(family).config_class)
    model.update(settings)
    task = OmegaConf.structured(MaskedLMConfig)
    task.data, task.tokens_per_sample = data, tokens_per_sample
    model, task, whole = (
        OmegaConf.to_container(part, enum_to_str=True)
        for part in (model, task, OmegaConf.structured(FairseqConfig()))
    )
    return {
        **whole,
        "model": {**model, "_name": family.model},
        "task": {**_settled(task), "_name": "masked_lm"},
    }


def _settled(settings: dict) -> dict:
    """Settings without those that are left to others (`II` of OmegaConf), which fairseq fills."""
    return {name: value for name, value in settings.items() if "${" not in str(value)}
