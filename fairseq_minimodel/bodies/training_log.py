"""What fairseq's training writes to its log: the settings, and figures as JSON lines.

Both `fairseq-train --log-format json` and `fairseq-hydra-train` write such logs; a file may hold
several runs one after the other, and a run that was resumed may stand in several files.
"""

import ast
import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..terminal.progress import Progress

_SETTINGS = "{'_name': "  # how they begin, after the name of a logger, which --log-file leaves out
_UPDATES = "num_updates"
_EPOCH = "train_"  # before the names of an epoch's means, which are not points of a curve
SUMS = ("flops", "tokens", "wall")  # over the whole run
HEAD = "loss_l"  # of a head, before the number of its layer
_KEPT = re.compile(rf"loss|accuracy|{HEAD}\d+|{'|'.join(SUMS)}")

Figures = dict[str, float]


@dataclass
class TrainingLog:
    """One training run.

    Attributes:
        file: the log in which it begins.
        options: fairseq's settings, flat: "optimization.lr" and so on; empty if the log has none.
        training: figures of each interval of the log, by number of updates: "loss" and "loss_l4" of
            heads, "accuracy", and the sums over the run, "flops", "tokens" and "wall", in seconds.
        validation: figures of each validation, likewise.
        subset: name of the validation set.
    """

    file: Path
    options: dict[str, str] = field(default_factory=dict)
    training: dict[int, Figures] = field(default_factory=dict)
    validation: dict[int, Figures] = field(default_factory=dict)
    subset: str = ""

    @property
    def updates(self) -> int:
        return max([*self.training, *self.validation], default=0)

    def go_on_with(self, later: "TrainingLog") -> None:
        """Add a resume. What this log has from where the other begins was lost, and goes."""
        first = min([*later.training, *later.validation], default=math.inf)
        for mine, its in ((self.training, later.training), (self.validation, later.validation)):
            for updates in [updates for updates in mine if updates >= first]:
                del mine[updates]
            mine.update(its)
        self.options = later.options or self.options

    def add(self, figures: Figures) -> None:
        """Add a line of the log; one without a number of updates is passed over."""
        name = next((key for key in figures if key.endswith(_UPDATES)), None)
        if name is None:
            return
        updates, prefix = int(figures[name]), name.removesuffix(_UPDATES)
        own = {key[len(prefix) :]: figures[key] for key in figures if key.startswith(prefix)}
        own = {key: value for key, value in own.items() if _KEPT.fullmatch(key)}
        if prefix == _EPOCH:  # the sums over the whole run are good, the means are of an epoch
            own = {key: own[key] for key in own if key in SUMS}
        if prefix in ("", _EPOCH):
            self.training.setdefault(updates, {}).update(own)
        elif prefix == (self.subset or prefix):  # of several subsets, the first
            self.subset = prefix
            self.validation[updates] = own


def read_log(path: Path, progress: Progress | None = None) -> list[TrainingLog]:
    """The training runs of a log, in their order; none if it holds no figures of training.

    Lines are read one by one. A line that was cut off, by a run that was killed, is passed over.
    `progress` is told of the bytes that are read.
    """
    logs: list[TrainingLog] = []
    with open(path, "rb") as lines:
        for text in lines:
            if progress:
                progress.update(len(text))
            line = text.decode(errors="replace")
            if _SETTINGS in line:
                settings = _plain(line[line.index(_SETTINGS) :].strip())
                logs.append(TrainingLog(path, options_of(settings)))
            elif _UPDATES in line and (figures := _figures(line)):
                logs = logs or [TrainingLog(path)]
                logs[-1].add(figures)
    return [log for log in logs if log.updates]


def read_figures(path: str | Path) -> Iterator[Figures]:
    """The numbers of each JSON line of a log, by fairseq's names: "valid_loss", "num_updates", ...

    Names of an epoch's means have no "train_".
    """
    with open(path, encoding="utf-8", errors="replace") as lines:
        for figures in filter(None, map(_figures, lines)):
            yield {name.removeprefix(_EPOCH): value for name, value in figures.items()}


def _figures(line: str) -> Figures:
    try:
        found = json.loads(line[line.index('{"') :])
    except ValueError:
        return {}
    numbers = {}
    for name, value in found.items():
        with contextlib.suppress(TypeError, ValueError):
            numbers[name] = float(value)
    return numbers


def _plain(text: str) -> dict:
    """The settings as fairseq prints them: Python's literals, with words and Namespaces among them."""
    letters = text.encode()

    def plain(node: ast.AST) -> object:
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return {str(plain(key)): plain(value) for key, value in pairs if key}
        if isinstance(node, ast.Call):
            return {word.arg: plain(word.value) for word in node.keywords if word.arg}
        if isinstance(node, ast.Constant):
            return node.value
        return letters[node.col_offset : node.end_col_offset].decode()  # all is on one line

    try:
        return plain(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError):
        return {}


def flat(settings: Mapping[str, object], before: str = "") -> dict[str, object]:
    """The leaves of nested settings, each with its path: "optimization.lr"."""
    leaves = {}
    for name, value in settings.items():
        inner = isinstance(value, dict)
        leaves |= flat(value, f"{before}{name}.") if inner else {f"{before}{name}": value}
    return leaves


def options_of(settings: dict) -> dict[str, str]:
    """Nested settings as text by their paths: "optimization.lr"."""
    return {name: str(value) for name, value in flat(settings).items()}
