"""Reading and writing fairseq checkpoints, without running anything that they bring."""

import argparse
import copy
import pickle
import re
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..atomic import atomic_file
from ..corpus.progress import ProgressFile
from ..corpus.window_options import RECORD
from ..errors import InputError
from ..language.side import EMBEDDING, OUTPUT_BIAS, LanguageSide, StateDict, language_side_of
from ..language.vocabulary import PAD_INDEX, fingerprint, read_symbols
from ..nn.architectures import ARCHITECTURES
from .identity import VOCABULARY, decode, lineage_of, with_identity

ENCODER = "encoder.sentence_encoder."
LAYER = re.compile(rf"{re.escape(ENCODER)}layers\.(\d+)\.")
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
VERSION = f"{ENCODER}version"


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
            InputError: the body is of a form of RoBERTa that `minimodel_roberta` does not have.
        """
        for name in UNSUPPORTED:
            if self.model_config.get(name):
                raise InputError(
                    f"{self.path} was trained with {name}={self.model_config[name]}, which "
                    "minimodel_roberta does not have"
                )
        architecture = ARCHITECTURES.get(self.model_config.get("_name"), {})
        heads = self.model_config.get("encoder_attention_heads")
        return {
            "encoder_layers": self.layers,
            "encoder_embed_dim": self.state[EMBEDDING].size(1),
            "encoder_ffn_embed_dim": self.state[f"{ENCODER}layers.0.fc1.weight"].size(0),
            "encoder_attention_heads": heads or architecture["encoder_attention_heads"],
            # fairseq numbers positions from the padding index on, and keeps rows for those below
            "max_positions": self.state[f"{ENCODER}embed_positions.weight"].size(0) - PAD_INDEX - 1,
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


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint written by fairseq-train, fairseq-hydra-train or this package.

    Raises:
        InputError: the file is missing, truncated, no fairseq checkpoint of a RoBERTa model, or
            holds an object of a class that is not known to be harmless.
    """
    path = Path(path)
    try:
        with ProgressFile(path, "r", f"reading {path.name}") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"no checkpoint {path}: check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: name a checkpoint file in it") from None
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error):
            raise InputError(
                f"{path} is refused: it holds objects of classes that could run code when loaded "
                "(a checkpoint may hold tensors, numbers, text and argparse.Namespace); "
                "load it where you trust it, and save only its tensors and settings"
            ) from None
        raise _damaged(path, error) from None
    except (RuntimeError, EOFError, zipfile.BadZipFile, OSError) as error:
        raise _damaged(path, error) from None
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise InputError(f"{path} is no fairseq checkpoint: it has no model")
    state = with_present_names(content["model"])
    if EMBEDDING not in state:
        raise InputError(f"{path} is no RoBERTa checkpoint of fairseq: it has no {EMBEDDING}")
    history = content.get("optimizer_history") or [{}]
    return Checkpoint(
        path,
        state,
        _plain_config(path, content),
        history[-1].get("num_updates", 0),
        content.get("extra_state") or {},
    )


def with_present_names(state: StateDict) -> StateDict:
    """The state dict as fairseq has it since 0.10, whichever fairseq wrote it.

    The changes are those that fairseq makes when a model loads such a state dict
    (`upgrade_state_dict_named` of its modules), so that a lineage comes out the same here and there.
    """
    present: StateDict = {}
    for name, tensor in state.items():
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


def write_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint that fairseq's own tools read, without optimiser state. Atomic."""
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
        atomic_file(path) as partial,
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


def _plain_config(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """fairseq's configuration as plain dicts, whichever of its forms the checkpoint has."""

    def plain(value: object) -> object:
        if isinstance(value, argparse.Namespace):
            value = vars(value)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return value

    if content.get("cfg"):
        config = plain(copy.deepcopy(content["cfg"]))
    elif content.get("args"):  # before fairseq 0.11: all options in one flat namespace
        options = plain(content["args"])
        config = {
            "model": {**options, "_name": options.get("arch")},
            "task": {**options, "_name": options.get("task")},
        }
    else:
        raise InputError(f"{path} is no fairseq checkpoint: it has no configuration")
    return config


def _damaged(path: Path, error: Exception) -> InputError:
    reason = str(error).split("\n")[0][:120]
    return InputError(f"{path} is damaged or no checkpoint ({reason}); copy or train it again")
