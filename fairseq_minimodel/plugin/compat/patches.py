"""Every workaround for a fairseq, PyTorch or NumPy version, each with its reason.

Imported before anything else of fairseq is used. Supported: Python 3.10 to 3.13 (3.11 is what the
tests run on), `fairseq-fixed` 0.12.3.1, PyTorch 2.6 or newer, NumPy 1.24 or newer. What is replaced
stands in the decorator; the first argument is fairseq's own.
"""

import argparse
import atexit
import itertools
import logging
import os
import sys
import threading
import time
import types
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import nn

from ...bodies.weights import (
    DIVERGED,
    check_finite,
    check_sums,
    explain_other_file,
    unreadable,
    without_prefix,
)
from ...corpus.indexed import INDEX, TOKENS, check_dataset
from ...corpus.record import check_dictionary
from ...errors import InputError, SetupError
from ...modules.registry import with_saved_targets
from ...vocabulary.tokenizers import read_counts
from .around import Former, around

INSTALL_COMMANDS = (
    "pip install -r requirements.txt && "
    "pip install --no-build-isolation --no-deps fairseq-fixed==0.12.3.1"
)

if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
    # From 2.6 on torch.load refuses by default to run code that a checkpoint brings; fairseq
    # relies on that default, so with an older PyTorch loading a checkpoint can run anything.
    raise SetupError(
        f"fairseq-minimodel needs PyTorch 2.6 or newer, and {torch.__version__} is installed: "
        "pip install 'torch>=2.6'"
    )

# fairseq/models/wav2vec/wav2vec2_classification.py turns on the log of every package, at every
# level, when it is imported, unless the root logger has a handler already.
_placeholder = logging.NullHandler()
logging.root.addHandler(_placeholder)

try:
    import fairseq.checkpoint_utils
    import fairseq.data
    import fairseq.data.data_utils
    import fairseq.models
    import fairseq.options
    import fairseq.tasks
    import fairseq.trainer
    import fairseq.utils
    import fairseq.version
    from fairseq.criterions import sentence_prediction
    from fairseq.data import indexed_dataset, iterators
    from fairseq.distributed.utils import _TensorPlaceholder
    from fairseq.file_io import PathManager
    from fairseq.logging import metrics
    from fairseq.optim import fp16_optimizer
except Exception as error:  # the original fairseq 0.12.2 fails on Python 3.11 with a ValueError
    raise SetupError(
        f"fairseq-minimodel needs a working fairseq, and importing it failed ({error}); "
        f"from the folder of this project: {INSTALL_COMMANDS}"
    ) from None

logging.root.removeHandler(_placeholder)


from . import command_line, run_folder, settings  # noqa: E402, F401

# Classes that fairseq's own checkpoints hold, none of which runs code when loaded, and what rank 0
# sends to the other ranks when a run resumes (fairseq/distributed/utils.py, `_broadcast_object_slow`).
torch.serialization.add_safe_globals([_TensorPlaceholder])

# `--sample-break-mode eos` reads `numpy.compat.long`, which NumPy 2 no longer has
# (fairseq/data/token_block_dataset.py).
if not hasattr(numpy, "compat"):
    numpy.compat = types.SimpleNamespace(long=numpy.int64)


@around(fairseq.checkpoint_utils, "load_checkpoint_to_cpu")
def load_checked(load: Former, path: str, *args: Any, **kwargs: Any) -> dict:
    """Let a checkpoint that fairseq loads itself be read, or refused, as this package's verbs do.

    fairseq ends in a traceback for what is not a checkpoint, loads NaN, and does not know the names
    that DistributedDataParallel gives. --restore-file and --finetune-from-model come this way.
    """
    local = PathManager.get_local_path(path)
    try:
        explain_other_file(local)
        check_sums(local)
        state = load(path, *args, **kwargs)
    except (FileNotFoundError, InputError):
        raise
    except Exception as error:  # whatever PyTorch and fairseq meet in a damaged file
        raise unreadable(local, error) from error
    if isinstance(state.get("model"), dict):
        state["model"] = without_prefix(state["model"])
        check_finite(path, state["model"], DIVERGED)
        settings = (state.get("cfg") or {}).get("model")
        if isinstance(settings, Mapping) and "module_targets" in settings:
            saved = with_saved_targets(settings, state["model"])
            settings["module_targets"] = saved["module_targets"]
    return state


# `wraps` takes its memo along, in which fairseq keeps the folders that it has imported.
@around(fairseq.utils, "import_user_module")
def import_once(import_user_module: Former, args: argparse.Namespace) -> None:
    """Let `--user-dir` name this package by any path, also once it has been imported by another.

    fairseq compares paths as strings, so a symbolic link to the package counts as a second package
    of the same name and ends the run; and of a package that is imported already it registers nothing,
    as in a process of `torch.multiprocessing.spawn`, which meets our classes before the option. A
    second *copy* of the package is still refused, with both places named.
    """
    package = Path(__file__).resolve().parents[2]
    asked = getattr(args, "user_dir", None)
    if asked is not None and Path(asked).resolve().name == package.name:
        if Path(asked).resolve() == package:
            return sys.modules[package.name].register()
        if Path(asked, "plugin/compat/patches.py").exists():
            raise SetupError(
                f"two copies of {package.name}: --user-dir names {os.path.abspath(asked)}, and "
                f"{package} is imported already; give that one, or uninstall it"
            )
    return import_user_module(args)


@around(metrics, "load_state_dict")
def load_and_activate(load_state_dict: Former, state_dict: dict) -> None:
    """Let a resumed run add to the meters that it has read from its checkpoint.

    fairseq puts meters of their own in the place of those that it goes on updating: sums over the
    whole run, such as its tokens, stand still from then on, in the log and in later checkpoints.
    """
    load_state_dict(state_dict)
    for name in metrics._active_aggregators:
        metrics._active_aggregators[name] = metrics._aggregators[name]


@around(fairseq.options, "parse_args_and_arch")
def keep_bfloat16_off_tpus(parse: Former, *args: Any, **kwargs: Any) -> Any:
    """Let `fairseq-train --bf16` train on a GPU or a CPU.

    fairseq takes bfloat16 on the command line for a TPU, and ends in an AttributeError where there
    is none; `fairseq-hydra-train` does not.
    """
    parsed = parse(*args, **kwargs)
    options = parsed[0] if isinstance(parsed, tuple) else parsed
    if getattr(options, "tpu", False):
        options.tpu = fairseq.utils.xm is not None
    return parsed


class BackgroundConsumer(iterators.BackgroundConsumer):
    """A thread in which fairseq reads batches ahead, that ends before the interpreter does.

    A run that stops within an epoch (`--max-update`) leaves such a thread. If it is in PyTorch's
    code when the interpreter ends, the process is aborted after training is done ("terminate called
    without an active exception", exit status 134).
    """

    reading: "weakref.WeakSet[threading.Thread]" = weakref.WeakSet()
    ending = False

    def start(self) -> None:
        self.reading.add(self)
        self._source = self._until_the_end(self._source)
        super().start()

    def _until_the_end(self, source: Iterable[object]) -> Iterator[object]:
        for number, item in enumerate(source, start=1):
            if self.ending:
                return
            if number == self._max_len:
                break  # and the processes that load data end: the loop has no more of them
            yield item
        else:
            return
        yield item

    def end(self) -> None:
        self.ending = True
        patience = time.monotonic() + 10  # then it waits for something that does not come
        while self.is_alive() and time.monotonic() < patience:
            while not self._queue.empty():
                self._queue.get()
            self.join(0.01)

    @classmethod
    def end_all(cls) -> None:
        for thread in list(cls.reading):
            thread.end()


iterators.BackgroundConsumer = BackgroundConsumer
atexit.register(BackgroundConsumer.end_all)


@around(fairseq.trainer, "_catalog_shared_params")
def leave_out_what_is_not_there(
    catalog: Former, module: nn.Module, memo: dict | None = None, prefix: str = ""
) -> list[list[str]] | None:
    """Biases that a model does not have are None, and no parameters that it shares.

    fairseq's log would name each of a ModernBERT as one, a hundred lines and more.
    """
    found = catalog(module, memo, prefix)
    if memo is not None:  # called by itself
        return found
    there = fairseq.trainer._get_module_by_path
    return [names for names in found if there(module, names[0]) is not None]


@around(iterators.EpochBatchIterator, "__init__")
def end_workers_with_their_epoch(
    initialise: Former, self: iterators.EpochBatchIterator, *args: Any, **kwargs: Any
) -> None:
    """Let the processes that load data see the epoch that they load.

    fairseq keeps them alive from epoch to epoch, with the dataset as it was when they were made: what
    depends on the epoch, such as the masks of its `masked_lm`, would be the same in all epochs, and
    another after a resume. Made again, after `set_epoch`, they know it.
    """
    initialise(self, *args, **kwargs)
    self.persistent_workers = False


# Runs with `--bf16` or `--fp16` train weights of 32 bits and compute with copies of 16. fairseq saves
# the copies alone, so a resumed run would start from rounded weights. Here the others are saved with
# the optimiser's state, so that it goes on as if it had never stopped.


def _parameters_of(optimizer: fp16_optimizer.FP16Optimizer) -> list[torch.Tensor]:
    parameters = optimizer.fp32_params  # a list, or a dict by device of flat tensors
    parameters = parameters.values() if isinstance(parameters, dict) else parameters
    return [parameter.data for parameter in parameters]


@around(fp16_optimizer._FP16OptimizerMixin, "state_dict")
def save_full_precision(state_dict: Former, self: fp16_optimizer.FP16Optimizer) -> dict:
    return {**state_dict(self), "fp32_params": _parameters_of(self)}


@around(fp16_optimizer._FP16OptimizerMixin, "load_state_dict")
def load_full_precision(
    load_state_dict: Former,
    self: fp16_optimizer.FP16Optimizer,
    state: dict,
    optimizer_overrides: dict | None = None,
) -> None:
    """Take full weights back only if the copies in the checkpoint are theirs.

    Weights that somebody has changed there stay changed.
    """
    state = dict(state)
    saved, own = state.pop("fp32_params", []), _parameters_of(self)
    load_state_dict(self, state, optimizer_overrides)
    if [each.shape for each in saved] != [each.shape for each in own]:
        return  # there are none
    rounded = self.fp16_params[0].dtype
    pairs = [(ours, theirs.to(ours.device)) for ours, theirs in zip(own, saved, strict=True)]
    if all(torch.equal(ours.to(rounded), theirs.to(rounded)) for ours, theirs in pairs):
        for ours, theirs in pairs:
            ours.copy_(theirs)


# Let `--report-acc-and-f1` and `--report-mcc` score any classification. fairseq takes labels for the
# numbers 0 and 1. Where they are, `f1` is that of class 1, as always; with words, or more classes, it
# is the mean over classes.


class _NumberedLabels:
    """A dictionary of labels that are words, to a criterion that takes them for numbers.

    From 2 on, so that none is taken for the class 1 whose F1 fairseq reports.
    """

    def __init__(self, labels: fairseq.data.Dictionary) -> None:
        self.nspecial = labels.nspecial

    def string(self, rows: torch.Tensor) -> str:
        return " ".join(str(row - self.nspecial + 2) for row in rows.tolist())


@around(sentence_prediction.SentencePredictionCriterion, "__init__")
def number_labels(initialise: Former, self: Any, cfg: Any, task: Any) -> None:
    initialise(self, cfg, task)
    if not self.keep_pred_and_targ or self.regression_target:
        return
    labels = self.label_dict.symbols[self.label_dict.nspecial :]
    # fairseq fills a dictionary up with symbols of these names
    labels = [label for label in labels if not label.startswith("madeupword")]
    try:
        list(map(int, labels))
    except ValueError:
        if self.report_pearson_and_spearman:
            raise InputError(
                f"--report-pearson-and-spearman needs labels that are numbers, and this task has "
                f'"{labels[0]}" among its labels: leave the option out'
            ) from None
        self.label_dict = _NumberedLabels(self.label_dict)


@around(sentence_prediction, "acc_and_f1")
def acc_and_f1(_: Former, predicted: numpy.ndarray, targets: numpy.ndarray) -> dict[str, float]:
    average = "binary" if {*predicted, *targets} <= {0, 1} else "macro"
    accuracy = float((predicted == targets).mean())
    f1 = float(sentence_prediction.f1_score(targets, predicted, average=average))
    return {"acc": accuracy, "f1": f1, "acc_and_f1": (accuracy + f1) / 2}


@contextmanager
def _missing_files_in_a_sentence(data: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, AssertionError) as error:
        if isinstance(error, AssertionError) and "could not find dataset" not in str(error):
            raise
        for folder in fairseq.utils.split_paths(data):
            if not Path(folder).is_dir():
                raise InputError(
                    f"there is no data folder {os.path.abspath(folder)}: name one of prepared data "
                    "(in fairseq-hydra-train by task.data=FOLDER, an absolute path)"
                ) from None
        raise InputError(f"the data folder {data} lacks a file: {error}") from None


@around(fairseq.tasks, "setup_task")
def say_what_data_are_missing(setup_task: Former, cfg: Any, *args: Any, **kwargs: Any) -> Any:
    """Say in a sentence that there is no data; fairseq has a traceback."""
    data = getattr(cfg, "data", None)
    if not isinstance(data, str):
        return setup_task(cfg, *args, **kwargs)
    with _missing_files_in_a_sentence(data):
        task = setup_task(cfg, *args, **kwargs)
    task.load_dataset = _missing_files_in_a_sentence(data)(task.load_dataset)
    return task


@around(fp16_optimizer._FP16OptimizerMixin, "build_fp32_params")
def say_that_there_is_no_gpu(
    build: Former, cls: type, args: Any, params: list, flatten: bool = True
) -> Any:
    """Say in a sentence that there is no GPU for `--fp16`; fairseq has a traceback."""
    if flatten and not torch.cuda.is_available():
        raise InputError(
            "--fp16 (in fairseq-hydra-train common.fp16=true) trains on a GPU, and PyTorch finds "
            "none here: leave it out, or give --bf16, which trains on CPU too"
        )
    return build(cls, args, params, flatten)


@around(fairseq.data.data_utils, "load_indexed_dataset")
def check_data(
    load_indexed_dataset: Former,
    path: str,
    dictionary: fairseq.data.Dictionary | None = None,
    dataset_impl: str | None = None,
    combine: bool = False,
    **options: Any,
) -> Any:
    """Say in a sentence that data are damaged; fairseq has tracebacks, or goes on."""
    for number in itertools.count() if combine else [0]:  # fairseq joins train, train1, ...
        part = f"{path}{number or ''}"
        if not any(os.path.lexists(f"{part}{end}") for end in (INDEX, TOKENS)):
            break
        if dataset_impl in (None, "mmap") and not _is_of_another_format(part):
            check_dataset(Path(part), None if dictionary is None else len(dictionary))
    return load_indexed_dataset(path, dictionary, dataset_impl, combine, **options)


def _is_of_another_format(path: str) -> bool:
    """Whether a dataset is in one of fairseq's other formats, which it reads as ever."""
    try:
        return indexed_dataset.infer_dataset_impl(path) not in (None, "mmap")
    except OSError:
        return False


@around(fairseq.data.Dictionary, "load")
def check_vocabulary(load: Former, cls: type, path: Any, *args: Any, **kwargs: Any) -> Any:
    """Say in a sentence that a dictionary is damaged, or of other data; fairseq has tracebacks."""
    try:
        dictionary = load(cls, path, *args, **kwargs)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except Exception:
        if isinstance(path, str):
            read_counts(path)  # says what is wrong
        raise
    if isinstance(path, str) and cls is fairseq.data.Dictionary:
        check_dictionary(Path(path), len(dictionary))
    return dictionary
