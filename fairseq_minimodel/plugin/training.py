"""What this package adds to every training run of fairseq, whatever its task and model.

fairseq calls three methods of its trainer at the right moments: `load_checkpoint` once the model
stands; `begin_epoch` when data and model are complete; `save_checkpoint` in the one process that saves.
"""

import filecmp
import logging
import os
import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import torch
from fairseq.distributed import utils as distributed
from fairseq.trainer import Trainer
from omegaconf import DictConfig

from ..bodies.checkpoint import AGAIN, Checkpoint
from ..bodies.families import ROBERTA
from ..bodies.fit import check_fits, check_model
from ..bodies.settings import plain_config
from ..bodies.state import checked_family, with_present_names
from ..bodies.tensors import EMBEDDING
from ..bodies.weights import check_weights
from ..errors import InputError
from ..files.atomic import atomic_file
from ..files.records import shown
from ..kinds.registry import RECORDS, kind_of_task
from ..kinds.window_options import RECORD, read_record
from ..models.encoder import auxiliary_layers
from ..models.minimodel_roberta import MiniModelRoberta
from ..models.with_module import embed_task, structure_in
from ..packs.pack import DICTIONARY, check_tokenizer
from ..tasks.lengths import say_what_is_left_out
from ..vocabulary.tokenizers import TOKENIZER_FILES
from .compat.around import Former, around
from .forgetting import check_resumed

logger = logging.getLogger(__name__)

MOST_EMBEDDED = 10_000  # examples, or blocks of text: of more, every second, third, ...
# Parts of a checkpoint besides the model, where it has them.
PARTS = {
    "optimizer_history": list,
    "extra_state": dict,
    "last_optimizer_state": dict,
    "cfg": dict | DictConfig,
    "args": Namespace,
}


def warn_of_a_trained_language(trainer: Trainer) -> None:
    """Say that packs will not fit, where fine-tuning changes the language side of a given body."""
    model, kind = trainer.get_model(), kind_of_task(trainer.cfg.task._name)
    if (
        kind is not None
        and kind.is_fine_tuned
        and isinstance(model, MiniModelRoberta)
        and model.is_restored
        and model.get_parameter(EMBEDDING).requires_grad
    ):
        logger.warning(
            "this run trains the language side (token embeddings, output bias) together with the "
            "body, so that language packs will not fit the result: give --freeze language, unless "
            "the source language is all that you need"
        )


def embed_training_data(trainer: Trainer) -> None:
    """Embed the task, once, for a model whose structure is chosen for it; meta-training does by itself.

    Every process has all data, and so the same embedding.
    """
    model = trainer.get_model()
    if not isinstance(model, MiniModelRoberta):
        return
    structure = structure_in(model.encoder.sentence_encoder)
    if structure is None or structure.in_meta_training or structure.embedding.any():
        return
    data = trainer.task.dataset(trainer.cfg.dataset.train_subset)
    every = -(-len(data) // MOST_EMBEDDED)
    indices = range(0, len(data), every)
    batches = (
        data.collater([data[index] for index in indices[first : first + 64]])
        for first in range(0, len(indices), 64)
    )
    inputs = (batch["net_input"]["src_tokens"] for batch in batches)
    embed_task(model.encoder.sentence_encoder, inputs)


def training_files(cfg: DictConfig) -> Iterator[tuple[Path, str]]:
    """What belongs to the checkpoints of a run: files, and their names beside a checkpoint.

    The dictionary and the tokenizer of the training data, or of the body that is fine-tuned if the
    data have no tokenizer and the same dictionary; the labels; the record of a question's windows.
    """
    data = Path(str(getattr(cfg.task, "data", None) or "").split(":")[0])
    dictionaries = [data / DICTIONARY, data / "input0" / DICTIONARY]
    dictionary = next((path for path in dictionaries if path.is_file()), None)
    if dictionary is None:
        return
    yield dictionary, DICTIONARY
    for name in RECORDS:
        if (data / name).is_file():
            yield data / name, name
    folders = [data]
    body = Path(cfg.checkpoint.finetune_from_model or "").parent
    if cfg.checkpoint.finetune_from_model and _are_equal(dictionary, body / DICTIONARY):
        folders.append(body)
    broken = [data / name for name in TOKENIZER_FILES if os.path.lexists(data / name)]
    if broken and not broken[0].is_file():
        what = "a folder" if broken[0].is_dir() else "a link that leads nowhere"
        raise InputError(f"{broken[0]} is {what}: put the tokenizer there")
    for folder in folders:
        found = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
        if found:
            yield from ((path, path.name) for path in found)
            return


def check_training_files(cfg: DictConfig) -> None:
    """Refuse a tokenizer of the data that is damaged or another dictionary's with an `InputError`."""
    files = {name: path for path, name in training_files(cfg)}
    if files and not files.keys() & set(TOKENIZER_FILES):
        logger.warning(
            "%s has no tokenizer (%s), so that none will stand beside the checkpoints; `pack` will ask "
            "for it",
            files[DICTIONARY].parent,
            ", ".join(TOKENIZER_FILES),
        )
    for name in files.keys() & set(TOKENIZER_FILES):
        check_tokenizer(files[name], files[DICTIONARY])


def leave_training_files(cfg: DictConfig) -> None:
    """Copy `training_files` beside the checkpoints, which then do without the training data."""
    for path, name in training_files(cfg):
        beside = Path(cfg.checkpoint.save_dir, name)
        if not _are_equal(path, beside):
            with atomic_file(beside) as partial:
                shutil.copyfile(path, partial)


def check_checkpoint(trainer: Trainer, path: str | Path, *, resumes: bool = False) -> None:
    """Refuse a checkpoint that is not whole or does not fit the model, before it is loaded.

    Only its settings and the shapes of its tensors are read from the disk.

    Args:
        resumes: whether the optimiser goes on from its state in the checkpoint.

    Raises:
        InputError: it lacks a part or has one of another type, is of another size, lacks a head, or
            has another vocabulary.
    """
    model = trainer.get_model()
    if not isinstance(model, MiniModelRoberta) or not Path(path).is_file():
        return
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # of the older form, or damaged: compat/patches.py says so when it is loaded
        return
    check_parts(path, content)
    # what --no-save-optimizer-state writes lacks the part
    if resumes and content.get("last_optimizer_state", {}) is None:
        raise InputError(
            f"{path} has no state of the optimiser (last_optimizer_state is None), so the run would "
            "begin again at update 0: take another checkpoint, or give --reset-optimizer"
        )
    if resumes:
        check_resumed(trainer, path, content.get("cfg"))
    check_weights(path, content["model"], AGAIN, finite=False)
    state = with_present_names(content["model"], ROBERTA)
    if EMBEDDING in state:
        family = checked_family(Path(path), state)
        rows = model.get_parameter(EMBEDDING).size(0)
        heads = auxiliary_layers(model.args)
        config = plain_config(Path(path), content)
        checkpoint = Checkpoint(Path(path), state, config, 0, family=family)
        check_model(checkpoint, model.name)
        separators = pair_separators(trainer.task.cfg)
        check_fits(checkpoint, model.args, rows, heads, separators)


def pair_separators(task: DictConfig) -> int | None:
    """How many </s> stand between the two texts of a pair in a task's data; None: it has no pairs."""
    data = Path(str(getattr(task, "data", None) or "").split(":")[0])
    if (data / "input1").is_dir():
        return 1 if task.separator_token is None else 2
    return read_record(data / RECORD)["separators"] if (data / RECORD).is_file() else None


def check_parts(path: str | Path, content: object) -> None:
    """Refuse what is not a checkpoint of fairseq, or lacks what fairseq reads of one.

    Raises:
        InputError: it is something else, or a part is of another type.
    """
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise InputError(f"{path} is not a fairseq checkpoint: it has no model; {AGAIN}")
    for name, kind in PARTS.items():
        part = content.get(name)
        if not isinstance(part, kind | None):
            raise InputError(f"{path} is damaged ({name} is {shown(part)}); {AGAIN}")
    history = content.get("optimizer_history") or [{}]
    known = [isinstance(one, dict) for one in history]
    if not all(known) or not isinstance(history[-1].get("num_updates", 0), int):
        raise InputError(f"{path} is damaged (its optimizer_history tells of no updates); {AGAIN}")


def _are_equal(first: Path, second: Path) -> bool:
    return second.is_file() and filecmp.cmp(first, second, shallow=False)


@around(Trainer, "begin_epoch")
def check_before_the_first_epoch(begin_epoch: Former, trainer: Trainer, epoch: int) -> None:
    if not getattr(trainer, "_has_begun", False):
        trainer._has_begun = True
        if distributed.get_global_rank() == 0:
            check_training_files(trainer.cfg)
            say_what_is_left_out(trainer.task)
            warn_of_a_trained_language(trainer)
        embed_training_data(trainer)
    begin_epoch(trainer, epoch)


@around(Trainer, "save_checkpoint")
def save_with_training_files(
    save_checkpoint: Former, trainer: Trainer, filename: str, extra_state: dict
) -> str | None:
    if trainer.should_save_checkpoint_on_current_rank and distributed.get_global_rank() == 0:
        leave_training_files(trainer.cfg)
    return save_checkpoint(trainer, filename, extra_state)


@around(Trainer, "load_checkpoint")
def load_checked(
    load_checkpoint: Former, trainer: Trainer, filename: str, *args: object, **kwargs: object
) -> object:
    reset_optimizer = args[0] if args else kwargs.get("reset_optimizer", False)
    check_checkpoint(trainer, filename, resumes=not reset_optimizer)
    try:
        return load_checkpoint(trainer, filename, *args, **kwargs)
    except Exception as error:
        # fairseq puts one of its own in the place of what the model says
        if isinstance(error.__context__, InputError):
            raise error.__context__ from None
        if "Cannot load model parameters" not in str(error):
            raise
        reason = " ".join(str(error.__context__).split())[:200]
        raise InputError(f"{filename} does not fit the model of this run: {reason}") from None
