"""Reading and writing fairseq checkpoints, without running anything that they bring."""

import argparse
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..files.atomic import atomic_file
from ..files.outputs import FileForm
from ..files.records import record, shown
from ..kinds.window_options import RECORD
from ..modules.registry import Settings
from ..terminal.progress import ProgressFile
from ..vocabulary.symbols import PAD_INDEX, fingerprint, read_symbols
from .architectures import ARCHITECTURES
from .identity import (
    IDENTIFIERS,
    VOCABULARY,
    decode,
    is_identifier,
    lineage_of,
    with_identity,
)
from .language_side import (
    EMBEDDING,
    OUTPUT_BIAS,
    TIED_PROJECTION,
    LanguageSide,
    StateDict,
    language_side_of,
)
from .weights import (
    DIVERGED,
    check_shapes,
    check_weights,
    read_torch,
    without_prefix,
)

ENCODER = "encoder.sentence_encoder."
LAYER = re.compile(rf"{re.escape(ENCODER)}layers\.(\d+)\.")
POSITIONS = f"{ENCODER}embed_positions.weight"
FIRST_FFN = f"{ENCODER}layers.0.fc1.weight"
# Forms of RoBERTa that this package's model does not have, by their fairseq options.
UNSUPPORTED = ("encoder_normalize_before", "untie_weights_roberta", "encoder_layers_to_keep")
# How fairseq called things before its 0.10, when roberta.* and xlmr.* were released, and since.
FORMER_NAMES = (
    (re.compile(r"^decoder\."), "encoder."),
    (re.compile(r"\.emb_layer_norm\."), ".layernorm_embedding."),
    (re.compile(r"\.layer_norms\.0\."), ".self_attn_layer_norm."),
    (re.compile(r"\.layer_norms\.1\."), ".final_layer_norm."),
)
JOINT_PROJECTION = re.compile(r"(.+\.)in_proj_(weight|bias)$")
HEAD_DENSE = re.compile(r"encoder\.(lm_head|auxiliary_lm_heads\.\d+)\.dense\.weight$")
VERSION = f"{ENCODER}version"
MODULE_SETTINGS = tuple(Settings.__dataclass_fields__)
MOST_SETTINGS = 100_000  # fairseq has some 1,000
MOST_LEVELS = 20  # of settings within each other; fairseq has 3
AGAIN = "copy or train it again"
# What a model without its MLM head may lack: the output bias, and the embedding under another name.
LANGUAGE_SIDE = (TIED_PROJECTION, OUTPUT_BIAS)


@dataclass(frozen=True)
class ModelSettings:
    """The settings of a model that are read here, by fairseq's names."""

    _name: str | None = None
    encoder_attention_heads: int | None = None
    activation_fn: str = "gelu"
    pooler_activation_fn: str | None = None
    freeze: str | None = None


@dataclass(frozen=True)
class TaskSettings:
    """The settings of a task that are read here, by fairseq's names."""

    _name: str | None = None
    data: str | None = None
    tokens_per_sample: int | None = None
    mask_prob: float | None = None
    init_token: int | None = None
    separator_token: int | None = None
    classification_head_name: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """What surgery needs of a fairseq checkpoint.

    Attributes:
        path: the file it came from.
        state: the model's state dict.
        config: fairseq's whole configuration as plain dicts ("model", "task", ...).
        updates: number of updates of the run that wrote it.
        extra_state: what fairseq keeps beside the model (meters, iterator).
    """

    path: Path
    state: StateDict
    config: dict[str, Any]
    updates: int
    extra_state: dict[str, Any] = field(default_factory=dict)

    @property
    def model_config(self) -> dict[str, Any]:
        return self.config["model"]

    def body_settings(self) -> dict[str, Any]:
        """The settings that the body's weights decide: sizes, read off the tensors, and the rest.

        Raises:
            InputError: the body is of a form of RoBERTa that `minimodel_roberta` does not have, or
                parts of it are missing.
        """
        for name in UNSUPPORTED:
            if self.model_config.get(name):
                raise InputError(
                    f"{self.path} was trained with {name}={self.model_config[name]}, which "
                    "minimodel_roberta does not have"
                )
        for name in (FIRST_FFN, POSITIONS):
            if name not in self.state:
                raise InputError(f"{self.path} is no whole RoBERTa: it has no {name}")
        architecture = ARCHITECTURES.get(self.model_config.get("_name"), {})
        heads = self.model_config.get("encoder_attention_heads") or architecture.get(
            "encoder_attention_heads"
        )
        width = self.state[EMBEDDING].size(1)
        if not heads or heads < 1 or width % heads:
            raise InputError(
                f"{self.path} does not fit its settings: encoder_attention_heads is {shown(heads)}, "
                f"and the width {width}"
            )
        return {
            "encoder_layers": self.layers,
            "encoder_embed_dim": width,
            "encoder_ffn_embed_dim": self.state[FIRST_FFN].size(0),
            "encoder_attention_heads": heads,
            # fairseq numbers positions from the padding index on, and keeps rows for those below
            "max_positions": self.state[POSITIONS].size(0) - PAD_INDEX - 1,
            "activation_fn": self.model_config.get("activation_fn", "gelu"),
        }

    def language_side(self) -> LanguageSide:
        """Its language side (the tensors themselves).

        Raises:
            InputError: it has no MLM head, and so no output bias.
        """
        if OUTPUT_BIAS not in self.state:
            raise InputError(
                f"{self.path} has no MLM head (no {OUTPUT_BIAS}), and so no whole language side; give "
                "a checkpoint that kept the head, as those of fairseq-train do"
            )
        return language_side_of(self.state)

    @property
    def layers(self) -> int:
        """L, read off the tensors."""
        return 1 + max(int(match[1]) for name in self.state if (match := LAYER.match(name)))

    def replaced(self, state: StateDict, **model_config: object) -> "Checkpoint":
        """The same checkpoint with another state dict and some model settings changed."""
        config = {**self.config, "model": {**self.model_config, **model_config}}
        return replace(self, state=state, config=config)


def read_checkpoint(path: str | Path, *, finite: bool = True) -> Checkpoint:
    """Read a checkpoint written by fairseq-train, fairseq-hydra-train or this package.

    Args:
        finite: refuse weights that are NaN or infinite.

    Raises:
        InputError: the file is missing, truncated, no fairseq checkpoint of a RoBERTa model, holds an
            object of a class that is not known to be harmless, or weights that no model can have.
    """
    path = Path(path)
    try:
        with ProgressFile(path, "r", f"reading {path.name}") as file:
            content = read_torch(path, file)
    except FileNotFoundError:
        raise InputError(f"no checkpoint {path}: check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: name a checkpoint file in it") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise InputError(f"{path} is no fairseq checkpoint: it has no model")
    check_weights(path, content["model"], DIVERGED if finite else AGAIN, finite=finite)
    state = with_present_names(content["model"])
    if EMBEDDING not in state:
        raise InputError(f"{path} is no RoBERTa checkpoint of fairseq: it has no {EMBEDDING}")
    check_state(path, state)
    config = plain_config(path, content)
    for section, kind in (("model", ModelSettings), ("task", TaskSettings)):
        record(
            config.get(section), kind, f"{path}, its settings of the {section}", AGAIN, others=True
        )
    model = config["model"]
    module = {name: model[name] for name in MODULE_SETTINGS if model.get(name) is not None}
    record(module, Settings, f"{path}, its settings of the task module", AGAIN)
    extra = content.get("extra_state")
    extra = {} if extra is None else extra
    if not isinstance(extra, dict):
        raise InputError(f"{path} is damaged (extra_state is {shown(extra)}); {AGAIN}")
    return Checkpoint(path, state, config, _updates(path, content), extra)


def _updates(path: Path, content: dict[str, Any]) -> int:
    history = content.get("optimizer_history")
    history = [{}] if history is None or history == [] else history
    last = history[-1] if isinstance(history, list) else None
    updates = last.get("num_updates", 0) if isinstance(last, dict) else None
    if not isinstance(updates, int) or updates < 0:
        raise InputError(f"{path} is damaged (its optimizer_history tells of no updates); {AGAIN}")
    return updates


def check_state(path: Path, state: StateDict) -> None:
    """Refuse tensors that do not fit each other, before anything is made of them."""
    numbers = {match[1] for name in state if (match := LAYER.match(name))}
    lost = {str(number) for number in range(len(numbers))} - numbers
    if lost or not numbers:
        there = sorted(numbers, key=lambda number: (len(number), number))
        raise InputError(
            f"{path} is no whole RoBERTa: it has tensors of {len(numbers)} layers, and they are not "
            f"numbered from 0 on without a gap ({', '.join(there[-3:]) or 'none'} the last)"
        )
    _check_presence(path, state, (EMBEDDING, POSITIONS, FIRST_FFN))
    for name in (EMBEDDING, POSITIONS, FIRST_FFN):
        if state[name].dim() != 2:
            raise InputError(
                f"{path} has {name} of the shape {tuple(state[name].shape)}, and it is a matrix: the "
                "file is damaged or not of a RoBERTa"
            )
    shapes = _shapes(state, len(numbers))
    _check_presence(path, state, [name for name in shapes if name not in LANGUAGE_SIDE])
    check_shapes(path, state, shapes)
    for name in IDENTIFIERS:
        if name in state and not is_identifier(state[name]):
            raise InputError(f"{path} is damaged: {name} is no identifier; {AGAIN}")


def _check_presence(path: Path, state: StateDict, names: Iterable[str]) -> None:
    missing = [name for name in names if name not in state]
    if missing:
        raise InputError(f"{path} is no whole RoBERTa: it lacks {missing[0]}; {AGAIN}")


def _shapes(state: StateDict, layers: int) -> dict[str, tuple[int, ...]]:
    """The shapes that the tensors of a RoBERTa have, by its embedding and its feed-forward blocks."""
    vocabulary, d = state[EMBEDDING].shape
    f = state[FIRST_FFN].size(0)
    linear, norm = [("weight", (d, d)), ("bias", (d,))], [("weight", (d,)), ("bias", (d,))]
    parts: dict[str, list[tuple[str, tuple[int, ...]]]] = {f"{ENCODER}layernorm_embedding": norm}
    for number in range(layers):
        layer = f"{ENCODER}layers.{number}."
        parts |= {f"{layer}self_attn.{name}_proj": linear for name in ("q", "k", "v", "out")}
        parts |= {f"{layer}{name}_layer_norm": norm for name in ("self_attn", "final")}
        parts[f"{layer}fc1"] = [("weight", (f, d)), ("bias", (f,))]
        parts[f"{layer}fc2"] = [("weight", (d, f)), ("bias", (d,))]
    heads = {name.rpartition("dense.")[0] for name in state if HEAD_DENSE.match(name)}
    for head in heads:
        parts |= {f"{head}dense": linear, f"{head}layer_norm": norm}
    named = {f"{part}.{name}": shape for part, shapes in parts.items() for name, shape in shapes}
    return (
        named
        | {TIED_PROJECTION: (vocabulary, d), OUTPUT_BIAS: (vocabulary,)}
        | {POSITIONS: (state[POSITIONS].size(0), d)}
    )


def with_present_names(state: StateDict) -> StateDict:
    """The state dict as fairseq has it since 0.10, whichever fairseq wrote it.

    The changes are those that fairseq makes when a model loads such a state dict
    (`upgrade_state_dict_named` of its modules), so that a lineage comes out the same here and there.
    Names lose what DistributedDataParallel puts before them.
    """
    present: StateDict = {}
    for name, tensor in without_prefix(state).items():
        for former, new in FORMER_NAMES:
            name = former.sub(new, name)
        if match := JOINT_PROJECTION.match(name):  # query, key and value, one below the other
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                present[f"{match[1]}{part}_proj.{match[2]}"] = rows.contiguous()
        else:
            present[name] = tensor
    if EMBEDDING in present:
        present.setdefault(VERSION, torch.Tensor([1]))
    return present


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


def symbols_of(checkpoint: Checkpoint, dictionary: str | Path | None = None) -> list[str]:
    """The vocabulary of a checkpoint: one symbol for each row of its embedding.

    Args:
        dictionary: its dict.txt; None: the one beside the checkpoint, or in its training data.

    Raises:
        InputError: there is no dictionary, or it is not the one the model was trained with.
    """
    path = Path(dictionary) if dictionary else find_training_file(checkpoint, "dict.txt")
    symbols = read_symbols(path)
    rows = checkpoint.state[EMBEDDING].size(0)
    if len(symbols) != rows:
        raise InputError(
            f"{path} has {len(symbols)} symbols with the special ones, and {checkpoint.path} has "
            f"{rows} rows: it is not the dictionary of this checkpoint"
        )
    if VOCABULARY in checkpoint.state and decode(checkpoint.state[VOCABULARY]) != fingerprint(
        symbols
    ):
        raise InputError(
            f"{path} has as many symbols as {checkpoint.path} has rows, and is not the dictionary "
            "that it was trained with: other symbols, or another order"
        )
    return symbols


def find_training_file(checkpoint: Checkpoint, *names: str) -> Path:
    """A file of a checkpoint's training data ("dict.txt"), or of the folder it lies in.

    Args:
        names: what it may be called; the first one that is there counts.

    Raises:
        InputError: it is in neither.
    """
    data = str(checkpoint.config.get("task", {}).get("data") or "").split(":")[0]
    folders = [checkpoint.path.parent]
    if data:
        folders += [Path(data), Path(data) / "input0"]
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise InputError(
        f"no {names[0]} for {checkpoint.path}, neither beside it nor in the data folder it was trained "
        "on: put it beside the checkpoint, or name it (--dict, in fairseq-train --source-dict; "
        "--sentencepiece-model; --labels)"
    )


def find_window_record(checkpoint: Checkpoint) -> Path | None:
    """The record of the windows that a body was trained on questions with; None: there is none."""
    try:
        return find_training_file(checkpoint, RECORD)
    except InputError:  # data that were prepared before there was a record, or have moved
        return None


def identified(checkpoint: Checkpoint, dictionary: str | Path | None = None) -> Checkpoint:
    """The checkpoint with its lineage and vocabulary written into its state.

    Arguments and errors as in `symbols_of`.
    """
    vocabulary = fingerprint(symbols_of(checkpoint, dictionary))
    state = with_identity(checkpoint.state, lineage_of(checkpoint.state), vocabulary)
    return replace(checkpoint, state=state)


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
        raise InputError(f"{path} is no fairseq checkpoint: it has no configuration")
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
