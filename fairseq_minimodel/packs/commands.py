"""The verbs that make one model, or one language pack, out of another."""

import logging
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..bodies import surgery
from ..bodies.checkpoint import (
    CHECKPOINT,
    Checkpoint,
    is_without_training,
    read_checkpoint,
    write_checkpoint,
)
from ..bodies.cost import training_cost
from ..bodies.identity import lineage_of
from ..bodies.parts import UNKNOWN, is_identity, part_of
from ..bodies.training_files import find_record, find_training_file, identified, symbols_of
from ..errors import InputError
from ..files.atomic import atomic_folder
from ..files.outputs import FolderForm, check_file, check_folder
from ..kinds import CLASSIFICATION, MASKED
from ..kinds.registry import RECORDS, kind_of
from ..vocabulary.symbols import fingerprint, read_symbols
from ..vocabulary.tokenizers import TOKENIZER_FILES
from .module import MODULE, load_module, save_module
from .pack import (
    DICTIONARY,
    PACK,
    Description,
    check_language,
    check_tokenizer,
    load_pack,
    save_pack,
    tokenizer_in,
)
from .plug import plug as plug_language
from .plug_module import merge_module, plug_module
from .start import StartSettings, check_settings
from .start.language import start_language
from .trained_language import unfit_packs

logger = logging.getLogger(__name__)

MODEL = "model.pt"  # the checkpoint's name in a plugged folder, as fairseq's from_pretrained has it
PLUGGED = FolderForm(
    "a plugged model",
    (MODEL, DICTIONARY),
    (
        *TOKENIZER_FILES,
        f"input0/{DICTIONARY}",
        *RECORDS,
    ),
    lambda folder: is_without_training(folder / MODEL),
)


def truncate(body: Path, depth: int, output: Path, dictionary: Path | None) -> None:
    """Write the bottom `depth` layers of a body, with the MLM head after them, as a checkpoint."""
    check_file(output, CHECKPOINT, body)
    checkpoint = identified(_read_body(body), dictionary)
    _write(output, *surgery.truncate(checkpoint, depth))


def extend(
    body: Path,
    depth: int,
    new_layers: int,
    head: str,
    layers: str,
    seed: int,
    output: Path,
    dictionary: Path | None,
) -> None:
    """Write the bottom `depth` layers of a body with more layers and a head (MiniPost, step 1b)."""
    check_file(output, CHECKPOINT, body)
    checkpoint = identified(_read_body(body), dictionary)
    extended = surgery.extend(checkpoint, depth, new_layers, seed, head=head, layers=layers)
    _write(output, *extended)
    print(f"train it with --freeze {surgery.step_1b(depth, head)}")


def pack(
    checkpoints: Sequence[Path],
    language: str,
    output: Path,
    dictionary: Path | None,
    sentencepiece_model: Path | None,
) -> None:
    """Write the language side of a checkpoint as a language pack.

    The dictionary and the tokenizer are by default those of the checkpoint's training data. Of
    several checkpoints, `output` is the folder of their packs, each named as its checkpoint.
    """
    check_language(language)
    folders = [output if len(checkpoints) == 1 else output / path.stem for path in checkpoints]
    for path, folder in zip(checkpoints, folders, strict=True):
        if folders.count(folder) > 1:
            raise InputError(
                f"several checkpoints are called {path.name}, and their packs would all be {folder}: "
                "write them one by one"
            )
        check_folder(folder, PACK, path)
    for path, folder in zip(checkpoints, folders, strict=True):
        checkpoint = read_checkpoint(path)
        description = describe(checkpoint, language, symbols_of(checkpoint, dictionary))
        symbols_file = dictionary or find_training_file(checkpoint, DICTIONARY)
        tokenizer = sentencepiece_model or find_training_file(checkpoint, *TOKENIZER_FILES)
        check_tokenizer(tokenizer, symbols_file)
        save_pack(folder, checkpoint.language_side(), description, symbols_file, tokenizer)
        print(
            f"{folder}: {language}, {description.vocabulary_size} x {description.width}, trained "
            f"over {description.depth} layers, lineage {description.lineage}"
        )


def start(
    body: Path,
    data: Path,
    language: str,
    output: Path,
    initialise: str,
    depth: int | None,
    source_dict: Path | None,
    seed: int,
    **settings: Any,
) -> None:
    """Write the language side with which a language starts on a body as a language pack.

    Args:
        settings: those of the rules (`settings.py`).
    """
    check_language(language)
    given = StartSettings(**settings)
    translations = [*(given.parallel or ()), given.dictionary]
    check_folder(output, PACK, body, data, source_dict, given.helper, *translations)
    check_settings(initialise, given)
    base = read_checkpoint(body)
    if depth is not None and depth > base.layers:
        raise InputError(f"--depth {depth}: {body} has {base.layers} layers")
    dictionary, tokenizer = data / DICTIONARY, tokenizer_in(data)
    check_tokenizer(tokenizer, dictionary)
    side, report = start_language(base, data, initialise, given, seed, source_dict)
    description = Description(
        language=language,
        lineage=lineage_of(base.state),
        vocabulary=fingerprint(read_symbols(dictionary)),
        vocabulary_size=side.vocabulary_size,
        width=side.width,
        depth=depth or base.layers,
        updates=0,
        tokens=0,
        seconds=0.0,
        flops=0,
        versions=_versions(),
    )
    save_pack(output, side, description, dictionary, tokenizer)
    print(f"{output}: {language}, {side.vocabulary_size} x {side.width}, {report}")


def describe(checkpoint: Checkpoint, language: str, symbols: Sequence[str]) -> Description:
    """What is known of the language side of a checkpoint."""
    side, cost = checkpoint.language_side(), training_cost(checkpoint)
    loss = checkpoint.extra_state.get("val_loss")  # in bits, if it is of masked words
    return Description(
        language=language,
        lineage=lineage_of(checkpoint.state),
        vocabulary=fingerprint(symbols),
        vocabulary_size=side.vocabulary_size,
        width=side.width,
        depth=checkpoint.layers,
        updates=cost.updates,
        tokens=cost.tokens,
        seconds=cost.seconds,
        flops=cost.flops,
        validation_loss=loss if kind_of(checkpoint.config).name == MASKED else None,
        versions=_versions(),
    )


def _versions() -> dict[str, str | None]:
    return {
        "fairseq_minimodel": __version__,
        "fairseq": _version("fairseq-fixed", "fairseq"),
        "torch": torch.__version__,
    }


def _version(*names: str) -> str | None:
    """Of an installed package, by the first of its names that is there."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def plug(body: Path, pack: Path, output: Path, module: Path | None = None) -> None:
    """Write a folder that fairseq loads: the body with the language of the pack, and a task module.

    The folder holds the checkpoint (model.pt), the pack's dictionary and tokenizer and, for a body
    that was fine-tuned for classification, the dictionary of its labels; for one that answers
    questions, the record of its windows.
    """
    check_folder(output, PLUGGED, body, pack, module)
    checkpoint, language, given = _read_body(body), load_pack(pack), None
    if module:
        task = load_module(module)
        checkpoint, given = plug_module(checkpoint, task)[0], task.record
    plugged, report = plug_language(checkpoint, language)
    check_tokenizer(language.tokenizer, language.dictionary)
    unfit_packs(checkpoint, [language])
    kind, record = kind_of(checkpoint.config), find_record(checkpoint, given)
    if kind.record_is_needed and kind.has_head(checkpoint.state, checkpoint.config["task"]):
        kind.solver(str(body), checkpoint, record, {})  # refuses a record that is not the body's
    with atomic_folder(output, PLUGGED) as partial:
        write_checkpoint(partial / MODEL, plugged)
        shutil.copyfile(language.tokenizer, partial / language.tokenizer.name)
        shutil.copyfile(language.dictionary, partial / DICTIONARY)
        files = {kind.record: record} if record else {}
        if kind.name == CLASSIFICATION:  # where fairseq's task looks for the dictionary
            files[f"input0/{DICTIONARY}"] = language.dictionary
        for name, file in files.items():
            (partial / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, partial / name)
    print(f"{output}: {report}")


def module(checkpoint: Path, output: Path, labels: Path | None) -> None:
    """Write the task module of a checkpoint that was trained with --task-module as a folder."""
    check_folder(output, MODULE, checkpoint, labels)
    save_module(output, read_checkpoint(checkpoint), labels)
    saved = load_module(output)
    about, size = saved.description, sum(tensor.nbytes for tensor in saved.tensors.values())
    print(
        f"{output}: {saved.method.name}, {about.parameters:,} parameters in {size:,} bytes, "
        f"lineage {about.lineage}, body {about.body}"
    )


def merge(body: Path, module: Path, output: Path) -> None:
    """Write a body with a task module merged into its weights: a plain model, as a checkpoint."""
    check_file(output, CHECKPOINT, body)
    _write(output, *merge_module(_read_body(body), load_module(module)))


def _read_body(path: Path) -> Checkpoint:
    """A checkpoint whose tensors are all passed on; a warning names those that nothing here knows."""
    checkpoint = read_checkpoint(path)
    parts = (part_of(name) for name in checkpoint.state if not is_identity(name))
    if unknown := [part for part in parts if part.startswith(UNKNOWN)]:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        logger.warning("%s has an %s%s, passed on as it is", path, unknown[0], more)
    return checkpoint


def _write(output: Path, checkpoint: Checkpoint, report: surgery.SurgeryReport) -> None:
    write_checkpoint(output, checkpoint)
    print(f"{output}: {report}")
