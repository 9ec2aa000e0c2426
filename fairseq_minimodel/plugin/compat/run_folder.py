"""The folder of a training run (--save-dir): written whole, by one run at a time, and gone on from.

What fairseq does with it (fairseq/checkpoint_utils.py) is replaced where it can lose or repeat work;
the decorators say what.
"""

import atexit
import copy
import errno
import fcntl
import logging
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.distributed.utils import is_master
from fairseq.file_io import PathManager

from ...bodies.weights import explain_other_file
from ...errors import InputError
from ...files.atomic import atomic_file
from ...files.refusals import cause_of
from .around import Former, around

logger = logging.getLogger(__name__)

LAST = "checkpoint_last.pt"  # the default of --restore-file: the run's own checkpoint
# What a killed save leaves: ours, and fairseq's.
HALF_WRITTEN = r"\.?checkpoint(\d+|_\d+_\d+|_best|_last|\.best_.+_[\d.]+){}\.pt\.(\w+\.partial|tmp)"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PATIENCE = "early_stopping"  # in the checkpoint's extra_state
_locks: dict[Path, TextIO] = {}  # held for as long as the process lives


def restored_path(save_dir: str, restore_file: str, suffix: str = "") -> Path:
    """The checkpoint that a run goes on from, if it exists.

    As fairseq has it: --restore-file is looked for in --save-dir only under its default name.
    """
    if restore_file == LAST:
        return Path(save_dir, f"checkpoint_last{suffix}.pt")
    return Path(restore_file.replace(".pt", f"{suffix}.pt"))


@around(checkpoint_utils, "verify_checkpoint_directory")
def say_what_cannot_be_written(verify: Former, save_dir: str) -> None:
    try:
        verify(save_dir)
    except OSError as error:
        raise InputError(
            f"cannot write to {save_dir} ({error.strerror}): give another --save-dir"
        ) from None


@around(checkpoint_utils, "torch_persistent_save")
def save_whole(save: Former, obj: object, filename: str, async_write: bool = False) -> None:
    """fairseq renames too, but does not wait until the content is on the disk.

    What it writes asynchronously (--write-checkpoints-asynchronously) is written by another library.
    """
    if async_write or not PathManager.supports_rename(filename):
        return save(obj, filename, async_write)
    with _written_whole(filename) as partial, open(partial, "wb") as file:
        torch.save(obj, file)


@around(PathManager, "copy")
def copy_whole(copy_file: Former, src_path: str, dst_path: str, overwrite: bool = False) -> Any:
    """fairseq copies onto the checkpoint that is there (checkpoint_last.pt, checkpoint_best.pt).

    Copies rather than hard links, so that who writes over the one does not change the other.
    """
    if any(map(PathManager.path_requires_pathmanager, (src_path, dst_path))):
        return copy_file(src_path, dst_path, overwrite)
    with _written_whole(dst_path) as partial:
        shutil.copyfile(src_path, partial)
    return dst_path


@contextmanager
def _written_whole(path: str) -> Iterator[Path]:
    try:
        with atomic_file(path) as partial:
            yield partial
    except Exception as error:
        cause = cause_of(error)
        if cause is None or cause.errno not in DISK_FULL:
            raise
        raise InputError(
            f"{path} could not be written: {os.strerror(cause.errno)}. The checkpoints that are there "
            "are whole; free some space and run the same command again"
        ) from None


@around(checkpoint_utils, "load_checkpoint")
def go_on(load: Former, cfg: CheckpointConfig, trainer: Any, **options: Any) -> tuple[Any, Any]:
    """Before fairseq loads a checkpoint: claim the folder, and look at what stands there.

    After it: a run that is finished has nothing to do, and --patience counts on.
    """
    if is_master(trainer.cfg.distributed_training) and not cfg.no_save:
        _claim(Path(cfg.save_dir), cfg.checkpoint_suffix)
    # fairseq leaves these to the next run of the process, such as the next job of a sweep.
    vars(checkpoint_utils.save_checkpoint).pop("best", None)
    patience = _Patience(cfg, trainer)
    extra_state, epochs = load(_without_damage(cfg, trainer), trainer, **options)
    patience.restore(extra_state)
    if sentence := _why_finished(cfg, trainer, epochs, patience):
        logger.info(sentence)
        # So that fairseq's loop over epochs has none, and no dry run of validation comes first.
        trainer.cfg.optimization.max_epoch = -1
        trainer.cfg.dataset.disable_validation = True
    return extra_state, epochs


def _claim(save_dir: Path, suffix: str = "") -> None:
    """Keep other runs out of the folder, and remove what a killed one left half-written.

    Runs with another --checkpoint-suffix write other files.

    The kernel frees the lock with the process; processes that load data do not inherit it. Where the
    file system has no locks, or the file cannot be written, there is none.

    Raises:
        InputError: another run has it.
    """
    path = save_dir.resolve() / f".lock{suffix}"
    while path not in _locks:
        try:
            lock = open(path, "a")  # noqa: SIM115
        except OSError:
            return
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return
            raise InputError(
                f"another training is writing to {save_dir}: wait for it, or give another --save-dir"
            ) from None
        if path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat()):
            _locks[path] = lock
            atexit.register(path.unlink, missing_ok=True)
        else:  # who held it before has removed it
            lock.close()
    half_written = re.compile(HALF_WRITTEN.format(re.escape(suffix)))
    for file in save_dir.iterdir():
        if half_written.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _without_damage(cfg: CheckpointConfig, trainer: Any) -> CheckpointConfig:
    """The settings, with another --restore-file where the run's own last checkpoint is damaged.

    Raises:
        InputError: the checkpoint that is asked for is damaged, or no complete one exists.
    """
    suffix = trainer.checkpoint_suffix
    last = restored_path(cfg.save_dir, cfg.restore_file, suffix)
    if not last.exists():
        if cfg.restore_file != LAST:
            logger.warning(
                "there is no --restore-file %s: training starts from the beginning", last
            )
        elif cfg.finetune_from_model is not None:
            _check_is_file(cfg.finetune_from_model)
        return cfg
    if not _is_damaged(last):
        return cfg
    if cfg.restore_file != LAST:
        explain_other_file(last)
        raise InputError(f"{last} is damaged: give another --restore-file")
    whole = {
        path: updates
        for path in last.parent.glob(f"checkpoint*{suffix}.pt")
        if not _is_damaged(path) and (updates := _updates_of(path)) is not None
    }
    if not whole:
        raise InputError(
            f"{last} is damaged, and no complete checkpoint is beside it: remove it to train from "
            "the start"
        )
    newest = max(whole, key=lambda path: (whole[path], path.name))
    logger.warning(
        "%s is damaged, perhaps by a kill while it was written: going on from %s (%d updates)",
        last, newest, whole[newest],
    )  # fmt: skip
    cfg = copy.deepcopy(cfg)
    cfg.restore_file = str(newest).removesuffix(f"{suffix}.pt") + ".pt"
    cfg.finetune_from_model = None  # which has done its part, and fairseq takes one of the two
    return cfg


def _check_is_file(body: str) -> None:
    """Refuse a --finetune-from-model that is none; fairseq would train a folder's from nothing."""
    if PathManager.isfile(body):
        return
    reason = "it is a folder" if os.path.isdir(body) else "there is no such file"
    if Path(body).is_symlink():
        reason = "it is a link to nothing, or to itself"
    raise InputError(
        f"--finetune-from-model {body}: {reason}; give a checkpoint, such as a checkpoint_last.pt"
    )


def _is_damaged(path: Path) -> bool:
    """Whether a file is empty or cut off. (Its tensors have check sums, which PyTorch compares.)

    PyTorch writes zip archives, whose end lists what is in them, and before 1.6 plain pickles.
    """
    if not path.is_file() or zipfile.is_zipfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(1) != b"\x80"


def _updates_of(path: Path) -> int | None:
    """How many updates a checkpoint has had, None if training cannot go on from it."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if state["last_optimizer_state"] is not None:
            return int(state["optimizer_history"][-1]["num_updates"])
    except Exception:
        logger.debug("%s cannot be read", path, exc_info=True)
    return None


class _Patience:
    """What fairseq counts for --patience, kept in the checkpoint.

    fairseq has it in attributes of a function, which start again with each process
    (fairseq_cli/train.py, `should_stop_early`).
    """

    def __init__(self, cfg: CheckpointConfig, trainer: Any) -> None:
        self.limit = cfg.patience
        modules = (sys.modules.get(name) for name in ("__main__", "fairseq_cli.train"))
        functions = (getattr(module, "should_stop_early", None) for module in modules)
        self.count = next((vars(each) for each in functions if each is not None), {})
        self.count.clear()
        self.trainer = trainer
        if self.limit > 0:
            state_dict = trainer.state_dict

            def with_patience() -> dict[str, Any]:
                state = state_dict()
                state["extra_state"][PATIENCE] = {
                    name: value.item() if hasattr(value, "item") else value  # no objects of NumPy
                    for name, value in self.count.items()
                }
                return state

            trainer.state_dict = with_patience

    def restore(self, extra_state: dict[str, Any] | None) -> None:
        """Count on, if the optimiser goes on too."""
        if extra_state and self.trainer.get_num_updates() > 0:
            self.count.update(extra_state.get(PATIENCE, {}))

    def is_over(self) -> bool:
        return 0 < self.limit <= self.count.get("num_runs", 0)


def _why_finished(
    cfg: CheckpointConfig, trainer: Any, epochs: Any, patience: _Patience
) -> str | None:
    """Why a run has nothing to do, None if it has. (fairseq would make one more update.)"""
    limits, updates = trainer.cfg.optimization, trainer.get_num_updates()
    epochs_done = epochs.next_epoch_idx - 1
    hours = trainer._previous_training_time / 3600  # as saved: all processes must answer alike
    start = f"nothing to do in {cfg.save_dir}: it has had"
    if limits.max_update and updates >= limits.max_update:
        return f"{start} {updates} updates (--max-update {limits.max_update})"
    if limits.max_epoch and epochs_done >= limits.max_epoch:
        return f"{start} {epochs_done} epochs (--max-epoch {limits.max_epoch})"
    if 0 < limits.stop_time_hours < hours:
        return f"{start} {hours:.1f} hours (--stop-time-hours {limits.stop_time_hours})"
    if patience.is_over():
        return f"{start} {patience.limit} validations without a better one (--patience)"
    return None
