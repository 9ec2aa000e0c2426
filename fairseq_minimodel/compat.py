"""Every workaround for a fairseq, PyTorch or NumPy version, each with its reason.

Imported before anything else of fairseq is used. Supported: Python 3.10 to 3.13 (3.11 is what the
tests run on), `fairseq-fixed` 0.12.3.1, PyTorch 2.6 or newer, NumPy 1.24 or newer.
"""

import argparse
import atexit
import collections
import logging
import os
import pickle
import sys
import threading
import time
import types
import typing
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy
import torch

from .errors import SetupError
from .weights import (
    DIVERGED,
    allow_harmless_globals,
    check_finite,
    explain_other_file,
    unreadable,
    without_prefix,
)

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
    import fairseq.models
    import fairseq.options
    import fairseq.tasks
    import fairseq.utils
    import fairseq.version
    from fairseq.data import iterators
    from fairseq.distributed.utils import _TensorPlaceholder
    from fairseq.file_io import PathManager
    from fairseq.logging import metrics
except Exception as error:  # the original fairseq 0.12.2 fails on Python 3.11 with a ValueError
    raise SetupError(
        f"fairseq-minimodel needs a working fairseq, and importing it failed ({error}); "
        f"from the folder of this project: {INSTALL_COMMANDS}"
    ) from None

logging.root.removeHandler(_placeholder)

import omegaconf  # noqa: E402


def allow_checkpoint_classes() -> None:
    """Name the classes that fairseq's own checkpoints hold, none of which runs code when loaded.

    Besides the harmless things that people's checkpoints hold (`weights.py`): what rank 0 sends to the
    other ranks when a run resumes, which fairseq pickles after it has turned the configuration into
    OmegaConf objects (fairseq/distributed/utils.py, `_broadcast_object_slow`). Can go when fairseq
    names them itself.
    """
    allow_harmless_globals()
    torch.serialization.add_safe_globals(
        [
            omegaconf.DictConfig,
            omegaconf.ListConfig,
            omegaconf.base.ContainerMetadata,
            omegaconf.base.Metadata,
            omegaconf.nodes.AnyNode,
            typing.Any,
            dict,
            list,
            int,
            collections.defaultdict,
            _TensorPlaceholder,
        ]
    )


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
            state = load_checkpoint_to_cpu(path, *arguments, **options)
        except FileNotFoundError:
            raise
        except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
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
    package = Path(__file__).resolve().parent
    import_user_module = fairseq.utils.import_user_module

    def import_once(args: argparse.Namespace) -> None:
        asked = getattr(args, "user_dir", None)
        if asked is not None and Path(asked).resolve().name == package.name:
            if Path(asked).resolve() == package:
                return sys.modules[package.name].register()
            if Path(asked, "compat.py").exists():
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
            for item in source:
                if self.ending:
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


allow_checkpoint_classes()
check_checkpoints_of_fairseq()
give_numpy_compat_back()
accept_every_path_to_this_package()
count_on_after_resume()
keep_bfloat16_off_tpus()
end_reading_ahead()
