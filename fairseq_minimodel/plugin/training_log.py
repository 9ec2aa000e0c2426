"""What a training run shows: what was chosen, figures soon and often, the result, and what is next.

fairseq prints all its settings, the whole model and each step of its own work, and then nothing for
100 updates. All of that is still there with LOGLEVEL=DEBUG. Nothing here acts before fairseq's own
training has begun, which logs its configuration: a program that imports the package keeps its log.
Figures, their names and the JSON lines (`--log-format json`) are fairseq's.
"""

import logging
import re
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from fairseq.dataclass.configs import FairseqConfig
from fairseq.logging import metrics, progress_bar
from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..bodies.architectures import ARCHITECTURES
from ..bodies.cost import TOKENS
from ..kinds.registry import kind_of_task
from ..models.accounting import total
from ..modules.method import NONE
from ..terminal.progress import Bar
from ..terminal.text import plain
from .compat.around import Former, around
from .compat.command_line import leave_out_warnings_of_dependencies

FIRST_FIGURE, BETWEEN_FIGURES = 5, 60  # seconds
TRAINING = "fairseq_cli.train"
SCORING = "scoring"  # of translations
# Beginnings of what fairseq says of its own work, which nobody needs to see.
STEPS = (
    "task: ", "model: ", "criterion: ", "num. shared model params", "num. expert model params",
    "dictionary: ", "[input] dictionary", "[label] dictionary", "detected shared parameter",
    "training on ", "max tokens per device", "Preparing to ", "No existing checkpoint found",
    "loading pretrained model from", "Overwriting classification_heads", "loading train data",
    "can_reuse_epoch_itr", "reuse_dataloader", "rebuild_batches", "creating new batches",
    "begin dry-run validation", "begin validation", "grouped total_num_itrs", "begin training epoch",
    "Start iterating over samples", "Saving checkpoint to", "Finished saving checkpoint",
    "end of epoch", "Stopping training due to num_updates", "--user-dir=",
)  # fmt: skip
EXAMPLES_ARE_LOADED = "fairseq.data.data_utils"  # as the task says itself, in its own units
MODULE = "fairseq-minimodel module --checkpoint {} --output MODULE"


class TrainingRun:
    """A run of fairseq's training in this process, the first of its processes.

    Attributes:
        cfg: fairseq's configuration.
        valid: figures of the last validation of the first validation set.
        bar: of the updates of the run; None where there is no terminal.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.valid: dict[str, Any] = {}
        self.bar: Bar | None = None
        self.shown: float | None = None
        self.patience = FIRST_FIGURE

    def count_updates(self, epoch: int, batches: int) -> Bar:
        """The bar of this run, which goes on from epoch to epoch."""
        if self.bar is None:
            limit = self.cfg.optimization.max_update or self.cfg.optimization.max_epoch * batches
            done = max(updates(), (epoch - 1) * batches if not updates() else 0)
            self.bar = Bar(total=limit or None, initial=done, unit=" updates", leave=False)
        return self.bar

    def figures_are_due(self) -> bool:
        """Whether so much time has passed since the last ones that some have to be shown."""
        if self.shown is None:
            self.shown = time.monotonic()  # when the first update begins
        return time.monotonic() - self.shown >= self.patience

    def has_shown(self) -> None:
        self.shown, self.patience = time.monotonic(), BETWEEN_FIGURES

    def result(self, seconds: str) -> str:
        """The closing line.

        Args:
            seconds: as fairseq says it.
        """
        metric = self.cfg.checkpoint.best_checkpoint_metric
        parts = [f"{updates():,} updates"]
        if tokens := total(TOKENS):
            parts.append(f"{tokens:,.0f} tokens")
        if metric in self.valid:
            last = number(self.valid[metric])
            best = number(self.valid.get(f"best_{metric}", last))
            kind = kind_of_task(self.cfg.task._name)
            unit = kind.loss_unit if kind and metric == "loss" else ""
            parts.append(f"validation {metric} {last:g} {unit}".rstrip() + f" (best {best:g})")
        if "accuracy" in self.valid and metric != "accuracy":
            parts.append(f"validation accuracy {number(self.valid['accuracy']):g} %")
        return "; ".join([f"done training in {seconds}: {', '.join(parts)}", *self._next()])

    def _next(self) -> Iterator[str]:
        saved = self.cfg.checkpoint
        if saved.no_save or saved.no_last_checkpoints:
            return
        last = f"{saved.save_dir}/checkpoint_last{saved.checkpoint_suffix or ''}.pt"
        name = getattr(self.cfg.model, "_name", None)
        kind = kind_of_task(self.cfg.task._name) if name in ARCHITECTURES else None
        command = kind.tasks[self.cfg.task._name] if kind else None
        if command and str(getattr(self.cfg.model, "task_module", NONE)) != NONE:
            command = MODULE
        yield f"next: {command.format(last)}" if command else f"saved: {last}"


run: TrainingRun | None = None


class Listener(logging.Filter):
    """Follows what fairseq's training says, and says some of it otherwise."""

    def filter(self, record: logging.LogRecord) -> bool:
        global run
        if isinstance(record.msg, DictConfig) and "optimization" in record.msg:
            run = TrainingRun(record.msg)
            leave_out_warnings_of_dependencies()
            for handler in logging.root.handlers:
                handler.addFilter(is_of_interest)
        if run is None or logging.root.isEnabledFor(logging.DEBUG):
            return True
        if record.msg is run.cfg:
            record.msg = str(chosen_settings(run.cfg))
        elif isinstance(record.msg, nn.Module):
            record.msg = in_short(record.msg, run.cfg)
        elif str(record.msg).startswith("done training in "):
            if run.bar is not None:
                run.bar.close()
            seconds = record.msg.removeprefix("done training in ").replace("seconds", "s")
            record.msg = run.result(seconds)
            run = None
        return True


def is_of_interest(record: logging.LogRecord) -> bool:
    """Whether a record is shown while a run trains; a filter of handlers, which makes it plain, too."""
    record.msg, record.args = plain(record.getMessage()), ()
    if run is not None and run.bar is not None:
        run.bar.clear()  # drawn again with the next update
    if (
        record.levelno != logging.INFO
        or not record.name.startswith("fairseq")
        or logging.root.isEnabledFor(logging.DEBUG)
    ):
        return True
    return record.name != EXAMPLES_ARE_LOADED and not str(record.msg).startswith(STEPS)


def chosen_settings(cfg: DictConfig) -> dict[str, Any]:
    """The settings that are not fairseq's or our defaults, in the form of the whole."""
    known = OmegaConf.to_container(
        OmegaConf.structured(FairseqConfig), resolve=False, enum_to_str=True
    )
    chosen: dict[str, Any] = {"_name": None}
    settings = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    others = {name for values in settings.values() if isinstance(values, dict) for name in values}
    for group, values in settings.items():
        if group not in known or group == SCORING or not values:
            continue
        if isinstance(values, Namespace):  # of a model of the old way: all options of the run
            values = {name: value for name, value in vars(values).items() if name not in others}
            values = {"_name": settings[group].arch, **values}
        defaults = _defaults(group, values["_name"])
        if defaults is None:
            defaults = known[group] if isinstance(known[group], dict) else {}
        different = {
            name: value
            for name, value in values.items()
            if name == "_name" or value != _default(defaults, name, cfg)
        }
        if different != {"_name": None}:
            chosen[group] = different
    return chosen


def _defaults(group: str, name: str | None) -> dict[str, Any] | None:
    """Of a task, a model, an optimiser, ..."""
    registered = {
        "task": TASK_DATACLASS_REGISTRY,
        "model": MODEL_DATACLASS_REGISTRY,
        **{key: registry["dataclass_registry"] for key, registry in REGISTRIES.items()},
    }.get(group, {})
    dataclass = registered.get(ARCH_MODEL_NAME_REGISTRY.get(name, name))
    if dataclass is None:
        return None
    return OmegaConf.to_container(OmegaConf.structured(dataclass), resolve=False, enum_to_str=True)


def _default(defaults: dict[str, Any], name: str, cfg: DictConfig) -> object:
    """The default of a setting, which may be what another is: "${common.seed}"."""
    default = defaults.get(name)
    followed = re.fullmatch(r"\$\{(.+)\}", default) if isinstance(default, str) else None
    if followed is None:
        return default
    other = OmegaConf.select(cfg, followed[1])
    return OmegaConf.to_container(other) if OmegaConf.is_config(other) else other


def in_short(model: nn.Module, cfg: DictConfig) -> str:
    """A model in one line."""
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    name = type(model).__name__
    sizes = ""
    if getattr(cfg.model, "_name", None) in ARCHITECTURES:
        sizes = (
            f" of {cfg.model.encoder_layers} layers, width {cfg.model.encoder_embed_dim}, "
            f"{len(model.encoder.dictionary):,} symbols"
        )
    parameters = sum(one.numel() for one in model.parameters())
    return f"{name}{sizes}: {parameters:,} parameters, of which {trained:,} are trained"


def updates() -> int:
    """Updates of the run so far."""
    meter = metrics.get_meter("default", "num_updates")
    return int(meter.val or 0) if meter else 0


def number(value: object) -> float:
    """A figure of fairseq's, which may be a meter."""
    return float(progress_bar.format_stat(value))


class FollowedBar(progress_bar.BaseProgressBar):
    """A bar of fairseq's, whose figures the run is told of."""

    def __init__(self, bar: progress_bar.BaseProgressBar, following: TrainingRun) -> None:
        self.bar, self.run = bar, following

    def __len__(self) -> int:
        return len(self.bar)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.bar)

    def log(self, stats: dict, tag: str | None = None, step: int | None = None) -> None:
        self.bar.log(stats, tag=tag, step=step)

    def print(self, stats: dict, tag: str | None = None, step: int | None = None) -> None:
        self.bar.print(stats, tag=tag, step=step)
        self.run.has_shown()

    def update_config(self, config: dict) -> None:
        self.bar.update_config(config)


class Validation(FollowedBar):
    """Over a validation set; the run keeps the figures of the first."""

    def print(self, stats: dict, tag: str | None = None, step: int | None = None) -> None:
        if tag == self.run.cfg.dataset.valid_subset.split(",")[0]:
            self.run.valid = dict(stats)
        super().print(stats, tag, step)


class Figures(FollowedBar):
    """Over the batches of an epoch; shows something in good time."""

    def __iter__(self) -> Iterator[Any]:
        self.run.figures_are_due()  # from now on
        for batches in self.bar:
            yield batches
            if self.run.figures_are_due():
                self._show()

    def _show(self) -> None:
        self.run.has_shown()
        try:
            stats = metrics.get_smoothed_values("train_inner")
        except KeyError:
            return
        if not stats.get("loss"):  # there was no update since the last figures
            return
        stats["wall"] = round(metrics.get_meter("default", "wall").elapsed_time, 0)
        screen = self.bar  # not what writes to TensorBoard and the like
        while hasattr(screen, "wrapped_bar"):
            screen = screen.wrapped_bar
        interval, screen.log_interval = getattr(screen, "log_interval", None), 1
        screen.log(stats, tag="train_inner", step=updates())
        screen.log_interval = interval

    def log(self, stats: dict, tag: str | None = None, step: int | None = None) -> None:
        super().log(stats, tag, step)
        self.run.has_shown()


class UpdatesBar(progress_bar.TqdmProgressBar):
    """On a terminal: counts the updates of the run, where fairseq counts the batches of an epoch."""

    def __init__(self, iterable: Any, epoch: int) -> None:
        progress_bar.BaseProgressBar.__init__(self, iterable, epoch)
        self.tqdm = run.count_updates(epoch, len(iterable))

    def __iter__(self) -> Iterator[Any]:
        self.tqdm.set_description(self.prefix, refresh=False)
        for batches in self.iterable:
            yield batches
            self.tqdm.update(updates() - self.tqdm.n)


@around(progress_bar, "progress_bar")
def follow(
    make_bar: Former, iterator: Any, *args: Any, **options: Any
) -> progress_bar.BaseProgressBar:
    """A validation has a prefix, an epoch of training has none; other programs have no run."""
    if run is None:
        return make_bar(iterator, *args, **options)
    if options.get("prefix") is not None:
        return Validation(make_bar(iterator, *args, **options), run)
    tqdm_bar = progress_bar.TqdmProgressBar
    progress_bar.TqdmProgressBar = lambda iterable, epoch, prefix: UpdatesBar(iterable, epoch)
    try:
        return Figures(make_bar(iterator, *args, **options), run)
    finally:
        progress_bar.TqdmProgressBar = tqdm_bar


logging.getLogger(TRAINING).addFilter(Listener())
