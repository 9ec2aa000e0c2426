"""Every workaround for a fairseq, PyTorch or NumPy version, each with its reason.

Imported before anything else of fairseq is used. Supported: Python 3.10 to 3.13 (3.11 is what the
tests run on), `fairseq-fixed` 0.12.3.1, PyTorch 2.6 or newer, NumPy 1.24 or newer.
"""

import argparse
import ast
import atexit
import functools
import itertools
import logging
import math
import os
import sys
import threading
import time
import types
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy
import torch

from ...bodies.weights import (
    DIVERGED,
    HARMLESS,
    check_finite,
    check_sums,
    explain_other_file,
    unreadable,
    without_prefix,
)
from ...corpus.indexed import INDEX, TOKENS, check_dataset
from ...corpus.record import check_dictionary
from ...errors import InputError, SetupError
from ...vocabulary.tokenizers import read_counts

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
    import fairseq.optim.adam
    import fairseq.options
    import fairseq.tasks
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


from . import run_folder  # noqa: E402


def allow_checkpoint_classes() -> None:
    """Name the classes that fairseq's own checkpoints hold, none of which runs code when loaded.

    Besides the harmless things of `bodies/weights.py`: what rank 0 sends to the other ranks when a run
    resumes (fairseq/distributed/utils.py, `_broadcast_object_slow`). Can go when fairseq names them
    itself.
    """
    torch.serialization.add_safe_globals([*HARMLESS, _TensorPlaceholder])


def check_checkpoints_of_fairseq() -> None:
    """Let a checkpoint that fairseq loads itself be read, or refused, as this package's verbs do.

    fairseq ends in a traceback for what is no checkpoint (`load_checkpoint_to_cpu`), loads NaN, and
    does not know the names that DistributedDataParallel gives. --restore-file and
    --finetune-from-model come this way.
    """
    load_checkpoint_to_cpu = fairseq.checkpoint_utils.load_checkpoint_to_cpu

    def load(path: str, *arguments: object, **options: object) -> dict:
        local = PathManager.get_local_path(path)
        try:
            explain_other_file(local)
            check_sums(local)
            state = load_checkpoint_to_cpu(path, *arguments, **options)
        except (FileNotFoundError, InputError):
            raise
        except Exception as error:  # whatever PyTorch and fairseq meet in a damaged file
            raise unreadable(local, error) from error
        if isinstance(state.get("model"), dict):
            state["model"] = without_prefix(state["model"])
            check_finite(path, state["model"], DIVERGED)
        return state

    fairseq.checkpoint_utils.load_checkpoint_to_cpu = load


def give_numpy_compat_back() -> None:
    """`--sample-break-mode eos` reads `numpy.compat.long`, which NumPy 2 no longer has.

    fairseq/data/token_block_dataset.py; can go when fairseq asks for int64.
    """
    if not hasattr(numpy, "compat"):
        numpy.compat = types.SimpleNamespace(long=numpy.int64)


def accept_every_path_to_this_package() -> None:
    """Let `--user-dir` name this package by any path, once it has been imported by another.

    fairseq compares paths as strings, so a symbolic link to the package counts as a second package
    of the same name and ends the run (fairseq/utils.py, `import_user_module`). A second *copy* of
    the package is still refused, with both places named.
    """
    package = Path(__file__).resolve().parents[2]
    import_user_module = fairseq.utils.import_user_module

    def import_once(args: argparse.Namespace) -> None:
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

    import_once.memo = getattr(import_user_module, "memo", set())
    fairseq.utils.import_user_module = import_once


def count_on_after_resume() -> None:
    """Let a resumed run add to the meters that it has read from its checkpoint.

    fairseq puts meters of their own in the place of those that it goes on updating
    (fairseq/logging/metrics.py, `load_state_dict`): sums over the whole run, such as its tokens,
    stand still from then on, in the log and in later checkpoints.
    """
    load_state_dict = metrics.load_state_dict

    def load_and_activate(state_dict: dict) -> None:
        load_state_dict(state_dict)
        for name in metrics._active_aggregators:
            metrics._active_aggregators[name] = metrics._aggregators[name]

    metrics.load_state_dict = load_and_activate


def keep_bfloat16_off_tpus() -> None:
    """Let `fairseq-train --bf16` train on a GPU or a CPU.

    fairseq takes bfloat16 on the command line for a TPU, and ends in an AttributeError where there
    is none (fairseq/options.py, `parse_args_and_arch`); `fairseq-hydra-train` does not.
    """
    parse_args_and_arch = fairseq.options.parse_args_and_arch

    def parse(*arguments: object, **options: object) -> object:
        parsed = parse_args_and_arch(*arguments, **options)
        args = parsed[0] if isinstance(parsed, tuple) else parsed
        if getattr(args, "tpu", False):
            args.tpu = fairseq.utils.xm is not None
        return parsed

    fairseq.options.parse_args_and_arch = parse


def end_reading_ahead() -> None:
    """End the threads in which fairseq reads batches ahead before the interpreter ends.

    A run that stops within an epoch (`--max-update`) leaves such a thread. If it is in PyTorch's
    code when the interpreter ends, the process is aborted after training is done ("terminate called
    without an active exception", exit status 134; fairseq/data/iterators.py, `BackgroundConsumer`).
    """
    reading: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    class BackgroundConsumer(iterators.BackgroundConsumer):
        ending = False

        def start(self) -> None:
            reading.add(self)
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

    def end_all() -> None:
        for thread in list(reading):
            thread.end()

    iterators.BackgroundConsumer = BackgroundConsumer
    atexit.register(end_all)


def end_workers_with_their_epoch() -> None:
    """Let the processes that load data see the epoch that they load.

    fairseq keeps them alive from epoch to epoch, with the dataset as it was when they were made
    (fairseq/data/iterators.py): what depends on the epoch, such as the masks of its `masked_lm`, would
    be the same in all epochs, and another after a resume. Made anew, after `set_epoch`, they know it.
    """
    initialise = iterators.EpochBatchIterator.__init__

    @functools.wraps(initialise)
    def without_persistent_workers(self: iterators.EpochBatchIterator, *args, **kwargs) -> None:
        initialise(self, *args, **kwargs)
        self.persistent_workers = False

    iterators.EpochBatchIterator.__init__ = without_persistent_workers


def save_full_precision() -> None:
    """Let runs with `--bf16` or `--fp16` go on as if they had never stopped.

    Such a run trains weights of 32 bits and computes with copies of 16. fairseq saves the copies alone
    (fairseq/optim/fp16_optimizer.py), so a resumed run would start from rounded weights. Here the
    others are saved with the optimiser's state. They are taken back only if the copies in the
    checkpoint are theirs: weights that somebody has changed there stay changed.
    """
    mixin = fp16_optimizer._FP16OptimizerMixin
    state_dict, load_state_dict = mixin.state_dict, mixin.load_state_dict

    def parameters_of(optimizer: fp16_optimizer.FP16Optimizer) -> list[torch.Tensor]:
        parameters = optimizer.fp32_params  # a list, or a dict by device of flat tensors
        parameters = parameters.values() if isinstance(parameters, dict) else parameters
        return [parameter.data for parameter in parameters]

    def state_with_weights(self: fp16_optimizer.FP16Optimizer) -> dict:
        return {**state_dict(self), "fp32_params": parameters_of(self)}

    def load_state_and_weights(
        self: fp16_optimizer.FP16Optimizer, state: dict, optimizer_overrides: dict | None = None
    ) -> None:
        state = dict(state)
        saved, own = state.pop("fp32_params", []), parameters_of(self)
        load_state_dict(self, state, optimizer_overrides)
        if [each.shape for each in saved] != [each.shape for each in own]:
            return  # there are none
        rounded = self.fp16_params[0].dtype
        pairs = [(ours, theirs.to(ours.device)) for ours, theirs in zip(own, saved, strict=True)]
        if all(torch.equal(ours.to(rounded), theirs.to(rounded)) for ours, theirs in pairs):
            for ours, theirs in pairs:
                ours.copy_(theirs)

    mixin.state_dict, mixin.load_state_dict = state_with_weights, load_state_and_weights


# What a setting that is a value may be made of, and the sums and products that fairseq's own have.
VALUES = (
    ast.Expression, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Load,
    ast.BinOp, ast.Add, ast.Mult, ast.UnaryOp, ast.USub,
)  # fmt: skip
MOST_REPEATED = 1_000_000


def read_value(text: str) -> object:
    """The value that a text stands for: numbers, texts, lists of them; nothing is called.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text is needed, not {text!r}")  # as the built-in `eval`
    try:
        tree = ast.parse(text.strip(), mode="eval")
        nodes = list(ast.walk(tree))
        factors = [
            side.value
            for node in nodes
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)
            for side in (node.left, node.right)
            if isinstance(side, ast.Constant) and isinstance(side.value, int)
        ]
        # a list that is repeated so often would fill the memory
        if all(isinstance(node, VALUES) for node in nodes) and math.prod(factors) <= MOST_REPEATED:
            return eval(compile(tree, "<setting>", "eval"), {"__builtins__": {}})
    except (SyntaxError, TypeError, ValueError, MemoryError, RecursionError):
        pass
    raise InputError(
        f'the setting "{text}" is not a value: give numbers, as in 0.9 or (0.9, 0.98); it is never run'
    )


def read_settings_as_values() -> None:
    """Keep text of settings, which a config or a checkpoint may bring, from being run as code.

    fairseq reads some of it with `eval`, such as `--adam-betas`. The name in a module hides the
    built-in one.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("fairseq.") and module is not None:
            vars(module).setdefault("eval", read_value)


def check_adam_betas() -> None:
    """Name the option where `--adam-betas` is not two numbers; fairseq has a traceback."""
    read_config = fairseq.optim.adam.FairseqAdam.optimizer_config.fget

    def optimizer_config(self: fairseq.optim.adam.FairseqAdam) -> dict:
        try:
            config = read_config(self)
            first, second = map(float, config["betas"])
        except (TypeError, ValueError):
            first = second = math.nan
        if not (0 <= first < 1 and 0 <= second < 1):
            raise InputError(
                f'--adam-betas "{self.cfg.adam_betas}" is not two numbers from 0 to below 1, as in '
                '"(0.9, 0.98)"'
            )
        return config

    fairseq.optim.adam.FairseqAdam.optimizer_config = property(optimizer_config)


class _NumberedLabels:
    """A dictionary of labels that are words, to a criterion that takes them for numbers.

    From 2 on, so that none is taken for the class 1 whose F1 fairseq reports.
    """

    def __init__(self, labels: fairseq.data.Dictionary) -> None:
        self.nspecial = labels.nspecial

    def string(self, rows: torch.Tensor) -> str:
        return " ".join(str(row - self.nspecial + 2) for row in rows.tolist())


def score_labels_that_are_words() -> None:
    """Let `--report-acc-and-f1` and `--report-mcc` score any classification.

    fairseq takes labels for the numbers 0 and 1 (fairseq/criterions/sentence_prediction.py). Where they
    are, `f1` is that of class 1, as always; with words, or more classes, it is the mean over classes.
    """
    criterion = sentence_prediction.SentencePredictionCriterion
    initialise = criterion.__init__

    @functools.wraps(initialise)
    def with_numbers(self: object, cfg: object, task: object) -> None:
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

    def acc_and_f1(predicted: numpy.ndarray, targets: numpy.ndarray) -> dict[str, float]:
        average = "binary" if {*predicted, *targets} <= {0, 1} else "macro"
        accuracy = float((predicted == targets).mean())
        f1 = float(sentence_prediction.f1_score(targets, predicted, average=average))
        return {"acc": accuracy, "f1": f1, "acc_and_f1": (accuracy + f1) / 2}

    criterion.__init__ = with_numbers
    sentence_prediction.acc_and_f1 = acc_and_f1


def say_what_is_missing() -> None:
    """Say in a sentence that there is no data, or no GPU for `--fp16`; fairseq has tracebacks."""
    setup_task = fairseq.tasks.setup_task
    mixin = fp16_optimizer._FP16OptimizerMixin
    build_fp32_params = mixin.build_fp32_params.__func__

    @contextmanager
    def missing_files_in_a_sentence(data: str) -> Iterator[None]:
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

    @functools.wraps(setup_task)
    def setup(cfg: object, *args: object, **kwargs: object) -> fairseq.tasks.FairseqTask:
        data = getattr(cfg, "data", None)
        if not isinstance(data, str):
            return setup_task(cfg, *args, **kwargs)
        with missing_files_in_a_sentence(data):
            task = setup_task(cfg, *args, **kwargs)
        task.load_dataset = missing_files_in_a_sentence(data)(task.load_dataset)
        return task

    def build(cls: type, args: object, params: list, flatten: bool = True) -> object:
        if flatten and not torch.cuda.is_available():
            raise InputError(
                "--fp16 (in fairseq-hydra-train common.fp16=true) trains on a GPU, and PyTorch finds "
                "none here: leave it out, or give --bf16, which trains on CPU too"
            )
        return build_fp32_params(cls, args, params, flatten)

    fairseq.tasks.setup_task = setup
    mixin.build_fp32_params = classmethod(build)


def check_data_of_fairseq() -> None:
    """Say in a sentence that data or a dictionary are damaged; fairseq has tracebacks, or goes on."""
    load_indexed_dataset = fairseq.data.data_utils.load_indexed_dataset
    load_dictionary = fairseq.data.Dictionary.load.__func__

    @functools.wraps(load_indexed_dataset)
    def load_checked(
        path: str,
        dictionary: fairseq.data.Dictionary | None = None,
        dataset_impl: str | None = None,
        combine: bool = False,
        **options: object,
    ) -> object:
        for number in itertools.count() if combine else [0]:  # fairseq joins train, train1, ...
            part = f"{path}{number or ''}"
            if not any(os.path.lexists(f"{part}{end}") for end in (INDEX, TOKENS)):
                break
            if dataset_impl in (None, "mmap") and not _is_of_another_format(part):
                check_dataset(Path(part), None if dictionary is None else len(dictionary))
        return load_indexed_dataset(path, dictionary, dataset_impl, combine, **options)

    def load(cls: type, path: object, *arguments: object, **options: object) -> object:
        try:
            dictionary = load_dictionary(cls, path, *arguments, **options)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except Exception:
            if isinstance(path, str):
                read_counts(path)  # says what is wrong
            raise
        if isinstance(path, str) and cls is fairseq.data.Dictionary:
            check_dictionary(Path(path), len(dictionary))
        return dictionary

    fairseq.data.data_utils.load_indexed_dataset = load_checked
    fairseq.data.Dictionary.load = classmethod(load)


def _is_of_another_format(path: str) -> bool:
    """Whether a dataset is in one of fairseq's other formats, which it reads as ever."""
    try:
        return indexed_dataset.infer_dataset_impl(path) not in (None, "mmap")
    except OSError:
        return False


allow_checkpoint_classes()
check_checkpoints_of_fairseq()
check_data_of_fairseq()
give_numpy_compat_back()
accept_every_path_to_this_package()
count_on_after_resume()
keep_bfloat16_off_tpus()
end_reading_ahead()
end_workers_with_their_epoch()
save_full_precision()
read_settings_as_values()
check_adam_betas()
score_labels_that_are_words()
say_what_is_missing()
run_folder.keep_runs_whole()
