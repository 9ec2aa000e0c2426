"""The settings in a checkpoint: fairseq's whole configuration, in plain dicts and of known types."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files.records import record, shown
from ..modules.registry import Settings, with_saved_targets

MOST_SETTINGS = 100_000  # fairseq has some 1,000
MOST_LEVELS = 20  # of settings within each other; fairseq has 3
AGAIN = "copy or train it again"
LAYER_NORM_EPS = 1e-5  # fairseq's, which its models have no setting for
# of a model that is for sentence vectors
SENTENCE_SETTINGS = ("sentence_pooling", "sentence_normalise", "sentence_length")


@dataclass(frozen=True)
class ModelSettings:
    """The settings of a model that are read here, by fairseq's names."""

    _name: str | None = None
    encoder_attention_heads: int | None = None
    encoder_key_value_heads: int | None = None
    activation_fn: str = "gelu"
    pooler_activation_fn: str | None = None
    classifier_pooling: str | None = None
    layer_norm_eps: float = LAYER_NORM_EPS
    max_positions: int | None = None
    global_rope_theta: float | None = None
    local_rope_theta: float | None = None
    local_attention: int | None = None
    global_every: int | None = None
    rope_theta: float | None = None
    freeze: str | None = None
    sentence_pooling: str | None = None
    sentence_normalise: bool = False
    sentence_length: int | None = None


@dataclass(frozen=True)
class TaskSettings:
    """The settings of a task that are read here, by fairseq's names."""

    _name: str | None = None
    data: str | None = None
    tokens_per_sample: int | None = None
    max_positions: int | None = None
    mask_prob: float | None = None
    init_token: int | None = None
    separator_token: int | None = None
    classification_head_name: str = ""


def read_settings(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """fairseq's configuration as plain dicts, whichever of its forms the checkpoint has.

    Args:
        path: of the checkpoint, for messages.
        content: of the checkpoint.

    Raises:
        InputError: there is none, or settings of it are of another type than they should be.
    """
    config = plain_config(path, content)
    for section, kind in (("model", ModelSettings), ("task", TaskSettings)):
        where = f"{path}, its settings of the {section}"
        record(config.get(section), kind, where, AGAIN, others=True)
    model = config["model"]
    module = {
        name: model[name] for name in Settings.__dataclass_fields__ if model.get(name) is not None
    }
    record(module, Settings, f"{path}, its settings of the task module", AGAIN)
    config["model"] = with_saved_targets(model, content["model"])
    return config


def plain_config(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """fairseq's configuration as plain dicts, whichever of its forms the checkpoint has."""
    if content.get("cfg"):
        config = _plain(path, content["cfg"])
    elif content.get("args"):  # before fairseq 0.11: all options in one flat namespace
        options = _plain(path, content["args"])
        if not isinstance(options, dict):
            raise InputError(f"{path} is damaged (its args are {shown(options)}); {AGAIN}")
        config = {
            "model": {**options, "_name": options.get("arch")},
            "task": {**options, "_name": options.get("task")},
        }
    else:
        raise InputError(f"{path} is not a fairseq checkpoint: it has no configuration")
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise InputError(f"{path} is damaged (its configuration has no model); {AGAIN}")
    config.setdefault("task", {})
    return config


def _plain(path: Path, settings: object) -> object:
    """A copy of settings in which a Namespace is a dict.

    Every dict is copied wherever it stands, and a few that hold each other several times would come to
    billions: so entries are counted.
    """
    left = MOST_SETTINGS

    def plain(value: object, levels: int) -> object:
        nonlocal left
        if isinstance(value, argparse.Namespace):
            value = vars(value)
        if not isinstance(value, dict | list | tuple):
            return value
        left -= len(value) + 1
        if left < 0 or not levels:
            raise InputError(
                f"{path} is damaged: its settings have more than {MOST_SETTINGS:,} entries, or "
                f"{MOST_LEVELS} levels; {AGAIN}"
            )
        if isinstance(value, dict):
            return {key: plain(item, levels - 1) for key, item in value.items()}
        return type(value)(plain(item, levels - 1) for item in value)

    return plain(settings, MOST_LEVELS)
