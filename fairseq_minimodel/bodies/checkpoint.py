"""Reading and writing fairseq checkpoints, without running anything that they bring."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..files.atomic import atomic_file
from ..files.outputs import FileForm
from ..files.records import shown
from ..nn.pooling import POOLINGS
from ..terminal.progress import ProgressFile
from .architectures import ARCHITECTURES
from .families import ROBERTA
from .family import Family
from .language_side import LanguageSide, StateDict, language_side_of
from .settings import AGAIN, LAYER_NORM_EPS, SENTENCE_SETTINGS, read_settings
from .state import check_presence, checked_family, with_present_names
from .tensors import EMBEDDING, OUTPUT_BIAS, OUTPUT_PROJECTION, POSITION_OFFSET, POSITIONS, layer_of
from .weights import DIVERGED, check_weights, read_torch


@dataclass(frozen=True)
class Checkpoint:
    """What surgery needs of a fairseq checkpoint.

    Attributes:
        path: the file it came from.
        state: the model's state dict.
        config: fairseq's whole configuration as plain dicts ("model", "task", ...).
        updates: number of updates of the run that wrote it.
        extra_state: what fairseq keeps beside the model (meters, iterator).
        family: what its tensors and settings are called.
    """

    path: Path
    state: StateDict
    config: dict[str, Any]
    updates: int
    extra_state: dict[str, Any] = field(default_factory=dict)
    family: Family = ROBERTA

    @property
    def model_config(self) -> dict[str, Any]:
        return self.config["model"]

    def body_settings(self) -> dict[str, Any]:
        """The settings that the body's weights decide: sizes, read off the tensors, and the rest.

        Raises:
            InputError: the body is of a form that this package's model of the family does not have,
                or parts of it are missing.
        """
        settings = self.model_config
        for name in self.family.unsupported:
            if settings.get(name):
                raise InputError(
                    f"{self.path} was trained with {name}={settings[name]}, which {self.family.model} "
                    "does not have"
                )
        needed = [self.family.ffn, *[POSITIONS] * self.family.has_positions]
        needed += [self.family.key] * bool(self.family.key)
        check_presence(self.path, self.state, needed, self.family)
        architecture = ARCHITECTURES.get(settings.get("_name"), {})
        name = "encoder_attention_heads"
        heads, width = settings.get(name) or architecture.get(name), self.state[EMBEDDING].size(1)
        if not heads or heads < 1 or width % heads:
            raise InputError(
                f"{self.path} does not fit its settings: {name} is {shown(heads)}, and the width "
                f"{width}"
            )
        return {
            "encoder_layers": self.layers,
            "encoder_embed_dim": width,
            "encoder_ffn_embed_dim": self.state[self.family.ffn].size(0),
            "encoder_attention_heads": heads,
            "max_positions": self._max_positions(),
            "activation_fn": settings.get("activation_fn", "gelu"),
            "layer_norm_eps": settings.get("layer_norm_eps", LAYER_NORM_EPS),
            **self._key_value_heads(width // heads),
            **self._own_settings(),
        }

    def _key_value_heads(self, head_width: int) -> dict[str, int]:
        """How many heads of keys and values there are, in families where they may be fewer."""
        if not self.family.key:
            return {}
        rows, width = self.state[self.family.key].shape
        if rows % head_width or (width // head_width) % (rows // head_width):
            raise InputError(
                f"{self.path} does not fit its settings: its keys are {rows} wide, and heads of "
                f"{head_width} (encoder_attention_heads {width // head_width}) do not share them evenly"
            )
        return {"encoder_key_value_heads": rows // head_width}

    def _own_settings(self) -> dict[str, Any]:
        """Those that only the family has, all of them numbers above 0."""
        found = {}
        for name, default in self.family.settings.items():
            given = self.model_config.get(name)
            found[name] = default if given is None else given
            if not found[name] > 0:
                raise InputError(
                    f"{self.path} does not fit its settings: {name} is {shown(given)}, and it is above "
                    f"0; {AGAIN}"
                )
        return found

    def _max_positions(self) -> int:
        if self.family.has_positions:
            return self.state[POSITIONS].size(0) - POSITION_OFFSET
        task = self.config.get("task") or {}
        # left out, it is that of the task that the model was built with
        given = [self.model_config, "max_positions"], [task, "tokens_per_sample", "max_positions"]
        given = (one.get(name) for one, *names in given for name in names)
        longest = next((one for one in given if one is not None), None)
        if type(longest) is not int or longest < 1:
            raise InputError(
                f"{self.path} does not fit its settings: max_positions is {shown(longest)}, and a "
                f"{self.family.name} has no table of positions that would say it"
            )
        return longest

    def sentence_settings(self) -> dict[str, Any]:
        """The settings that say how the model makes sentence vectors; none if it is not for them."""
        settings = self.model_config
        is_for_them = settings.get("sentence_pooling") in POOLINGS
        return {name: settings.get(name) for name in SENTENCE_SETTINGS} if is_for_them else {}

    def head_settings(self) -> dict[str, Any]:
        """The settings that the heads of tasks are made by.

        Raises:
            InputError: they name a way of pooling that there is not.
        """
        defaults = self.family.head_settings
        found = {name: self.model_config.get(name) or value for name, value in defaults.items()}
        ways, pooling = list(self.family.poolings), found.get("classifier_pooling")
        if ways and pooling not in ways:
            raise InputError(
                f"{self.path} does not fit its settings: classifier_pooling is {shown(pooling)}, and "
                f"it is {' or '.join(ways)}; {AGAIN}"
            )
        return found

    def language_side(self) -> LanguageSide:
        """Its language side (the tensors themselves).

        Raises:
            InputError: it has no MLM head, and so no output bias or projection.
        """
        output = OUTPUT_BIAS if self.family.is_tied else OUTPUT_PROJECTION
        if output not in self.state:
            raise InputError(
                f"{self.path} has no MLM head (no {output}), and so not a complete language side; "
                "give a checkpoint that kept the head, as those of fairseq-train do"
            )
        return language_side_of(self.state)

    @property
    def pair_separators(self) -> int:
        """How many </s> stand between the two texts of a pair, as the body was pretrained."""
        return self.family.pair_separators

    @property
    def layers(self) -> int:
        """L, read off the tensors."""
        numbers = map(layer_of, self.state)
        return 1 + max(number for number in numbers if number is not None)

    def replaced(self, state: StateDict, **model_config: object) -> "Checkpoint":
        """The same checkpoint with another state dict and some model settings changed."""
        config = {**self.config, "model": {**self.model_config, **model_config}}
        return replace(self, state=state, config=config)


def read_checkpoint(path: str | Path, *, finite: bool = True) -> Checkpoint:
    """Read a checkpoint written by fairseq-train, fairseq-hydra-train or this package.

    Args:
        finite: refuse weights that are NaN or infinite.

    Raises:
        InputError: the file is missing, truncated, not a fairseq checkpoint of a RoBERTa model, holds
            an object of a class that is not known to be harmless, or weights that no model can have.
    """
    path = Path(path)
    content = read_torch(path, progress=True)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise InputError(f"{path} is not a fairseq checkpoint: it has no model")
    check_weights(path, content["model"], DIVERGED if finite else AGAIN, finite=finite)
    state = with_present_names(content["model"], ROBERTA)
    if EMBEDDING not in state:
        raise InputError(
            f"{path} is not a {ROBERTA.name} checkpoint of fairseq: it has no {EMBEDDING}"
        )
    family = checked_family(path, state)
    config = read_settings(path, content)
    extra = content.get("extra_state")
    if not isinstance(extra, dict | None):
        raise InputError(f"{path} is damaged (extra_state is {shown(extra)}); {AGAIN}")
    return Checkpoint(path, state, config, _updates(path, content), extra or {}, family)


def _updates(path: Path, content: dict[str, Any]) -> int:
    history = content.get("optimizer_history")
    if history is None or history == []:
        return 0
    last = history[-1] if isinstance(history, list) else None
    updates = last.get("num_updates", 0) if isinstance(last, dict) else None
    if not isinstance(updates, int) or updates < 0:
        raise InputError(f"{path} is damaged (its optimizer_history tells of no updates); {AGAIN}")
    return updates


def is_without_training(path: Path) -> bool:
    """Whether a file is a checkpoint as `write_checkpoint` writes it, which no training run does."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        optimizer = content["optimizer_history"][-1]["optimizer_name"]
        return optimizer is None and content["last_optimizer_state"] is None and "cfg" in content
    except Exception:  # whatever is wrong with it: it is not one of ours
        return False


CHECKPOINT = FileForm("a checkpoint", is_without_training)


def write_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint that fairseq's own tools read, without optimiser state. Atomic.

    Raises:
        InputError: something else stands there, such as the checkpoint of a training run.
    """
    content = {
        "args": None,
        "cfg": checkpoint.config,
        "model": checkpoint.state,
        "criterion": None,
        "optimizer_history": [
            {
                "criterion_name": None,
                "optimizer_name": None,
                "lr_scheduler_state": {},
                "num_updates": checkpoint.updates,
            }
        ],
        "task_state": {},
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0, "shuffle": True}},
        "last_optimizer_state": None,
    }
    storages = {tensor.untyped_storage().data_ptr(): tensor for tensor in checkpoint.state.values()}
    total = sum(tensor.untyped_storage().nbytes() for tensor in storages.values())
    with (
        atomic_file(path, CHECKPOINT) as partial,
        ProgressFile(partial, "w", f"writing {Path(path).name}", total) as file,
    ):
        torch.save(content, file)
