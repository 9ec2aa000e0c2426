"""What fairseq's training writes to its log: the settings, and figures as JSON lines.

Both `fairseq-train --log-format json` and `fairseq-hydra-train` write such logs; a file may hold
several runs one after the other, and a run that was resumed may stand in several files.
"""

import ast
import contextlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..terminal.progress import Progress

_SETTINGS = "{'_name': "  # how they begin, after the name of a logger, which --log-file leaves out
_UPDATES = "num_updates"
_EPOCH = "train"  # prefix of an epoch's means, which are not points of a curve
_SUMS = ("flops", "tokens", "wall")  # over the whole run
_KEPT = (_UPDATES, "loss", "accuracy", *_SUMS)  # and the losses of heads
HEAD = "loss_l"
_IS_HEAD = re.compile(rf"{HEAD}\d+").fullmatch

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


def read_log(path: Path, progress: Progress | None = None) -> list[TrainingLog]:
    """The training runs of a log, in their order; none if it holds no figures of training.

    Lines are read one by one. A line that was cut off, by a run that was killed, is passed over.

    Args:
        progress: told of the bytes that are read.
    """
    logs: list[TrainingLog] = []
    with open(path, "rb") as lines:
        for text in lines:
            if progress:
                progress.update(len(text))
            line = text.decode(errors="replace")
            if _SETTINGS in line:
                settings = _plain(line[line.index(_SETTINGS) :].strip())
                logs.append(TrainingLog(path, dict(flat(settings))))
            elif _UPDATES in line and (figures := _figures(line)):
                logs = logs or [TrainingLog(path)]
                _add(logs[-1], figures)
    return [log for log in logs if log.updates]


def read_figures(path: str | Path) -> Iterator[Figures]:
    """The numbers of each JSON line of a log, by fairseq's names: "valid_loss", "num_updates", ...

    Names of an epoch's means have no "train_".
    """
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if figures := _figures(line):
                numbers = dict(_as_numbers(figures.items()))
                yield {name.removeprefix("train_"): value for name, value in numbers.items()}


def _figures(line: str) -> dict[str, object] | None:
    try:
        figures = json.loads(line[line.index('{"') :])
    except ValueError:
        return None
    return figures if isinstance(figures, dict) else None


def _add(log: TrainingLog, figures: dict[str, object]) -> None:
    name = next((key for key in figures if key.endswith(_UPDATES)), None)
    if name is None:
        return
    prefix = name.removesuffix(_UPDATES)
    values = dict(_numbers(figures, prefix))
    updates = int(values.pop(_UPDATES, 0))
    subset = prefix.removesuffix("_")
    if not subset:
        log.training.setdefault(updates, {}).update(values)
    elif subset == _EPOCH:  # the sums over the whole run are good, the means are of an epoch
        sums = {key: value for key, value in values.items() if key in _SUMS}
        log.training.setdefault(updates, {}).update(sums)
    elif subset == (log.subset or subset):  # of several subsets, the first
        log.subset = subset
        log.validation[updates] = values


def _numbers(figures: dict[str, object], prefix: str) -> Iterator[tuple[str, float]]:
    own = ((key.removeprefix(prefix), value) for key, value in figures.items()
           if key.startswith(prefix))  # fmt: skip
    return _as_numbers((name, value) for name, value in own if name in _KEPT or _IS_HEAD(name))


def _as_numbers(pairs: Iterable[tuple[str, object]]) -> Iterator[tuple[str, float]]:
    for name, value in pairs:
        with contextlib.suppress(TypeError, ValueError):
            yield name, float(value)


def _plain(text: str) -> object:
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


def flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested settings, each with its path: "optimization.lr"."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    elif name:
        yield name, str(value)
