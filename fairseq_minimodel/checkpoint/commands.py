"""The verbs that make one model, or one language pack, out of another."""

import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import fairseq.version
import torch

from .. import __version__
from ..atomic import atomic_folder
from ..compute import Shape, masked_lm_flops
from ..language.pack import DICTIONARY, TOKENIZER, Description, load_pack, save_pack
from ..language.side import language_side_of
from ..language.vocabulary import fingerprint
from . import surgery
from .identity import lineage_of
from .load import (
    Checkpoint,
    find_training_file,
    identified,
    read_checkpoint,
    symbols_of,
    write_checkpoint,
)

MODEL = "model.pt"  # the checkpoint's name in a plugged folder, as fairseq's from_pretrained has it


def truncate(body: Path, depth: int, output: Path, dictionary: Path | None) -> None:
    """Write the bottom `depth` layers of a body, with the MLM head after them, as a checkpoint."""
    checkpoint = read_checkpoint(body)
    checkpoint = identified(checkpoint, symbols_of(checkpoint, dictionary))
    _write(output, *surgery.truncate(checkpoint, depth))


def extend(
    body: Path, depth: int, new_layers: int, seed: int, output: Path, dictionary: Path | None
) -> None:
    """Write the bottom `depth` layers of a body with new layers and a new head (MiniPost, 1b)."""
    checkpoint = read_checkpoint(body)
    checkpoint = identified(checkpoint, symbols_of(checkpoint, dictionary))
    _write(output, *surgery.extend(checkpoint, depth, new_layers, seed))


def pack(
    checkpoint: Path,
    language: str,
    output: Path,
    dictionary: Path | None,
    sentencepiece_model: Path | None,
) -> None:
    """Write the language side of a checkpoint as a language pack.

    The dictionary and the tokenizer are by default those of the checkpoint's training data.
    """
    source = read_checkpoint(checkpoint)
    symbols = symbols_of(source, dictionary)
    side = language_side_of(source.state)
    tokens = _tokens(source)
    description = Description(
        language=language,
        lineage=lineage_of(source.state),
        vocabulary=fingerprint(symbols),
        vocabulary_size=side.vocabulary_size,
        width=side.width,
        depth=source.layers,
        updates=source.updates,
        tokens=tokens,
        flops=None if tokens is None else _flops(source, tokens),
        validation_loss=source.extra_state.get("val_loss"),
        versions={
            "fairseq_minimodel": __version__,
            "fairseq": fairseq.version.__version__,
            "torch": torch.__version__,
        },
    )
    save_pack(
        output,
        side,
        description,
        dictionary or find_training_file(source, DICTIONARY),
        sentencepiece_model or find_training_file(source, TOKENIZER),
    )
    print(
        f"{output}: {language}, {side.vocabulary_size} x {side.width}, trained over "
        f"{description.depth} layers, lineage {description.lineage}"
    )


def plug(body: Path, pack: Path, output: Path) -> None:
    """Write a folder that fairseq loads: the body with the language of the pack.

    The folder holds the checkpoint (model.pt), the pack's dictionary and tokenizer and, for a body
    that was fine-tuned for classification, the dictionary of its labels.
    """
    checkpoint, language = read_checkpoint(body), load_pack(pack)
    plugged, report = surgery.plug(checkpoint, language)
    with atomic_folder(output) as partial:
        write_checkpoint(partial / MODEL, plugged)
        shutil.copyfile(language.tokenizer, partial / TOKENIZER)
        shutil.copyfile(language.dictionary, partial / DICTIONARY)
        if checkpoint.config.get("task", {}).get("_name") == "sentence_prediction":
            # where fairseq's task looks for them
            for part, file in (
                ("input0", language.dictionary),
                ("label", find_training_file(checkpoint, "label/dict.txt")),
            ):
                (partial / part).mkdir()
                shutil.copyfile(file, partial / part / DICTIONARY)
    print(f"{output}: {report}")


def _write(output: Path, checkpoint: Checkpoint, report: surgery.SurgeryReport) -> None:
    write_checkpoint(output, checkpoint)
    print(f"{output}: {report}")


def _tokens(checkpoint: Checkpoint) -> int | None:
    """Tokens of all updates, as fairseq's meter of words a batch added them up, over resumes too."""
    metrics: OrderedDict[str, list[Any]] = checkpoint.extra_state.get("metrics") or OrderedDict()
    for _, name, _, meter in metrics.get("default", []):
        if name == "wpb":
            return int(meter["sum"])
    return None


def _flops(checkpoint: Checkpoint, tokens: int) -> int | None:
    """FLOPs of the run that trained this language side (`compute.py`)."""
    task, model = checkpoint.config["task"], checkpoint.model_config
    length = task.get("tokens_per_sample")
    if length is None:
        return None
    body = checkpoint.body_settings()
    shape = Shape(
        body["encoder_layers"],
        body["encoder_embed_dim"],
        body["encoder_ffn_embed_dim"],
        body["encoder_attention_heads"],
        language_side_of(checkpoint.state).vocabulary_size,
    )
    layers = [layer for layer in surgery.head_layers(checkpoint) if layer < checkpoint.layers]
    flops = masked_lm_flops(
        shape,
        tokens,
        length,
        freeze=model.get("freeze") or "none",
        auxiliary_head_layers=layers,
        masked_fraction=task.get("mask_prob", 0.15),
    )
    return round(flops.total)
