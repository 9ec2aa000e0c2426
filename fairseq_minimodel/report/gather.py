"""What lies in run folders, by kind: logs of training, language packs, prepared data, scores.

No layout is demanded; files are known by what they say of themselves. Names for people are made of
the paths: `seed1/packs/standard/de` is the variant "standard" with the seed 1, in the language de.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..bodies.checkpoint import read_checkpoint
from ..bodies.cost import training_cost
from ..corpus.record import read_prepared
from ..errors import InputError
from ..files.records import read_json, record
from ..kinds.scores import AGAIN, Place, Score, read_score
from ..packs.pack import DESCRIPTION, Description, read_description
from ..terminal.progress import SHORT, Progress
from ..vocabulary.symbols import fingerprint, read_symbols
from .logs import TrainingLog, flat, read_log

logger = logging.getLogger(__name__)

PREPARED = "prepare.json"
CHECKPOINT = "checkpoint_last.pt"
SAVED = "checkpoint.save_dir"
SEED = re.compile(r"seed[-_]?(\d+)")
# Folders whose names say what is in them, not which of several it is.
_KINDS = {
    "adapted",
    "checkpoints",
    "data",
    "finetuned",
    "logs",
    "models",
    "outputs",
    "packs",
    "scores",
}
_NO_TASKS = ("score", "scores", "results")
_SHARD = re.compile(r"shard\d+")


class Label(NamedTuple):
    """What tells one result from another, beside its language and its seed."""

    group: str  # the run folder; empty if there is only one, or they differ in the seed alone
    variant: str  # empty if the paths tell none apart


@dataclass(frozen=True)
class Training:
    """A training run.

    Attributes:
        place: folder of its checkpoints, below the run folder where it is there.
        language: of its data; of a fine-tuning the name of the task.
        task: fairseq's name of the task; empty if the log does not say.
        log: its figures, of which there are none if only the checkpoint is there.
        updates, tokens, flops, seconds: of the whole run; None: not known.
    """

    label: Label
    seed: str
    place: Path
    language: str
    task: str
    log: TrainingLog
    updates: int
    tokens: float | None
    flops: float | None
    seconds: float | None


@dataclass(frozen=True)
class Pack:
    """A language pack, by its description alone."""

    label: Label
    seed: str
    folder: Path
    description: Description

    @property
    def language(self) -> str:
        return self.description.language

    @property
    def versions(self) -> dict[str, str]:
        """Of the software that made it."""
        return self.description.versions


@dataclass(frozen=True)
class Data:
    """A folder that `prepare` has made, and what its prepare.json says."""

    folder: Path
    place: Path
    language: str
    record: dict[str, Any]

    @property
    def versions(self) -> dict[str, str]:
        """Of the software that made it."""
        return self.record.get("versions", {})


@dataclass(frozen=True)
class Result:
    """A score of a pack.

    Attributes:
        task: what the file of the score is called; empty if that says nothing.
        updates, flops: of the pack's training; None: not known.
    """

    label: Label
    seed: str
    task: str
    language: str
    score: Score
    updates: int | None
    flops: float | None


@dataclass(frozen=True)
class Run:
    """What lies in one run folder."""

    name: str
    folder: Path
    trainings: list[Training]
    packs: list[Pack]
    data: list[Data]
    results: list[Result]


def gather(folders: Sequence[Path]) -> list[Run]:
    """Read run folders. Checkpoints are read only where no log tells of their training.

    Raises:
        InputError: a folder is missing or holds nothing of interest, or a file in it is damaged.
    """
    folders = [Path(folder).absolute() for folder in folders]
    for index, folder in enumerate(folders):
        if not folder.is_dir():
            raise InputError(f"no folder {folder}: name the folder of a run")
        if folder.resolve() in [other.resolve() for other in folders[:index]]:
            raise InputError(f"{folder} is named twice")
    names = _names(folders)
    several = len({SEED.sub("", name) for name in names}) > 1
    return [
        _Reader(folder, name, several).read() for folder, name in zip(folders, names, strict=True)
    ]


def _names(folders: Sequence[Path]) -> list[str]:
    """As much of the ends of the paths as tells them apart."""
    for count in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-count:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


class _Reader:
    """Reads one run folder."""

    def __init__(self, folder: Path, name: str, grouped: bool) -> None:
        self.folder, self.name = folder, name
        self.seed = seed[1] if (seed := SEED.search(name)) else ""
        self.group = (SEED.sub("", name).strip("/-_") or folder.parent.name) if grouped else ""

    def read(self) -> Run:
        files = sorted(_files_below(self.folder))
        self.packs = [self._pack(path) for path in files if path.name == DESCRIPTION]
        self.data = [self._data(path) for path in files if path.name == PREPARED]
        trainings = self._trainings(files)
        results = [
            result
            for path in files
            if path.suffix == ".json" and path.name not in (DESCRIPTION, PREPARED)
            for result in self._results(path)
        ]
        if not (self.packs or self.data or trainings or results):
            raise InputError(
                f"{self.folder} holds nothing to report: no log of fairseq-train with JSON lines "
                "(--log-format json), no language pack, no prepared data and no scores; name the "
                "folder of a run"
            )
        return Run(self.name, self.folder, trainings, self.packs, self.data, results)

    def _pack(self, path: Path) -> Pack:
        description = read_description(path)
        place = path.parent.relative_to(self.folder)
        return Pack(*self._label(place, description.language), path.parent, description)

    def _data(self, path: Path) -> Data:
        record, folder = read_prepared(path), path.parent
        vocabulary = fingerprint(read_symbols(folder / "dict.txt"))
        languages = {
            pack.language for pack in self.packs if pack.description.vocabulary == vocabulary
        }
        language = languages.pop() if len(languages) == 1 else folder.name
        return Data(folder, folder.relative_to(self.folder), language, record)

    # ---- training

    def _trainings(self, files: Sequence[Path]) -> list[Training]:
        logs = self._logs([path for path in files if path.suffix == ".log"])
        places = {key: self._place(log) for key, log in logs.items()}
        lost = {key for key, place in places.items() if not (self.folder / place).is_dir()}
        others = []
        for path in files:
            place = path.parent.relative_to(self.folder)
            if path.name != CHECKPOINT or place in places.values():
                continue
            checkpoint = read_checkpoint(path, finite=False)
            saved = (checkpoint.config.get("checkpoint") or {}).get("save_dir")
            if saved in lost:  # the folder has another name now
                places[saved] = place
                lost.remove(saved)
            else:
                log, cost = (
                    TrainingLog(path, dict(flat(checkpoint.config))),
                    training_cost(checkpoint),
                )
                figures = (cost.updates, cost.tokens, cost.flops, cost.seconds)
                others.append(self._training(place, log, *figures))
        trainings = []
        for key, log in logs.items():
            last = {
                name: one for _, row in sorted(log.training.items()) for name, one in row.items()
            }
            sums = (last.get(name) for name in ("tokens", "flops", "wall"))
            trainings.append(self._training(places[key], log, log.updates, *sums))
        return trainings + others

    def _logs(self, paths: Sequence[Path]) -> dict[str, TrainingLog]:
        """The logs by the folder of their checkpoints; those of resumed runs in one."""
        logs: dict[str, TrainingLog] = {}
        size = sum(path.stat().st_size for path in paths)
        with Progress(f"logs of {self.name}", size, after=SHORT) as progress:
            for path in paths:
                for log in read_log(path, progress):
                    key = log.options.get(SAVED) or str(path)
                    if key in logs:
                        logs[key].go_on_with(log)
                    else:
                        logs[key] = log
        return logs

    def _place(self, log: TrainingLog) -> Path:
        if saved := log.options.get(SAVED):
            return self._below(saved) or Path(Path(saved).name)
        return log.file.relative_to(self.folder).with_suffix("")

    def _training(self, place: Path, log: TrainingLog, *cost: float | None) -> Training:
        folder = Path(log.options.get("task.data", "").split(":")[0])
        if _SHARD.fullmatch(folder.name):
            folder = folder.parent
        below = self._below(str(folder))
        language = next((one.language for one in self.data if one.place == below), folder.name)
        label, seed = self._label(place, language)
        if not label.variant:
            label = label._replace(variant=place.name)
        return Training(label, seed, place, language, log.options.get("task._name", ""), log, *cost)

    # ---- scores

    def _results(self, path: Path) -> Iterator[Result]:
        with open(path, "rb") as file:
            start = file.read(100).lstrip()[:1]
        if start != b"[":  # scores are a list
            if start != b"{":
                logger.warning("%s is left out: it is not JSON", path)
            return
        rows = read_json(path, AGAIN)
        if not all(isinstance(row, dict) and {"language", "pack"} <= row.keys() for row in rows):
            return
        ofs = [record(row, Place, path, AGAIN, others=True) for row in rows]
        packs = [self._pack_of(of) for of in ofs]
        bodies = {of.body or "" for of in ofs}
        task = self._task(path, {label.variant for label, *_ in packs}, {of.language for of in ofs})
        for row, of, (label, seed, *cost) in zip(rows, ofs, packs, strict=True):
            if len(bodies) > 1:  # one command has compared several bodies, or task modules
                body = _end_of(of.body or "", bodies)
                label = label._replace(variant=f"{label.variant}, {body}".removeprefix(", "))
            try:
                score = read_score(row)
            except (KeyError, TypeError) as error:
                raise InputError(
                    f"{path} has a row without the scores that evaluate, retrieve or perplexity "
                    f"write ({error}); {AGAIN}"
                ) from None
            yield Result(label, seed, task, of.language, score, *cost)

    def _pack_of(self, of: Place) -> tuple[Label, str, int | None, float | None]:
        """Label and seed of the pack of a score, and updates and FLOPs of its training."""
        place = self._below(of.pack)
        for pack in self.packs:
            if place and pack.folder == self.folder / place:
                return pack.label, pack.seed, pack.description.updates, pack.description.flops
        return *self._label(place or _end_of_place(of.pack), of.language), None, None

    def _task(self, path: Path, variants: set[str], languages: set[str]) -> str:
        """What a file of scores is called, without variant, seed, language and the word scores."""
        place = path.relative_to(self.folder)
        name = place.stem
        for variant in variants:
            name = name.removesuffix(f"-{variant}")
        language = next(iter(languages)) if len(languages) == 1 else ""
        return self._label(place.parent / ("" if name in _NO_TASKS else name), language)[0].variant

    # ---- names

    def _label(self, place: Path, language: str) -> tuple[Label, str]:
        """The label and the seed that a path makes."""
        seeds, parts = [self.seed], []
        for part in place.parts:
            if match := SEED.fullmatch(part):
                seeds.append(match[1])
            elif part not in (*_KINDS, language) and not part.startswith("checkpoint_"):
                parts.append(part.removesuffix(f"-{language}").removeprefix(f"{language}-"))
        return Label(self.group, "/".join(parts)), ".".join(filter(None, seeds))

    def _below(self, path: str) -> Path | None:
        """Where something lies now that was at `path`: runs are moved, and read by other machines."""
        parts = Path(path).parts
        for count in range(len(parts), 0, -1):
            place = Path(*parts[-count:])
            if not place.is_absolute() and (self.folder / place).exists():
                return place
            if place.is_absolute() and place.is_relative_to(self.folder) and place.exists():
                return place.relative_to(self.folder)
        return None


def _files_below(folder: Path) -> Iterator[Path]:
    """All files at any depth, also behind links to folders, but not in hidden folders."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(parent, name) for name in files):
            if path.is_file():
                yield path
            elif path.is_symlink():
                logger.warning("%s is left out: it is a link that leads to no file", path)


def _end_of_place(path: str) -> Path:
    """What is likely to tell a pack that is elsewhere from others."""
    parts = Path(path).parts
    begin = parts.index("packs") + 1 if "packs" in parts else -2
    return Path(*parts[begin:])


def _end_of(path: str, others: Iterable[str]) -> str:
    """The part of a path that tells it from others, looked for from the end."""
    mine, *rest = (Path(one).with_suffix("").parts for one in (path, *({*others} - {path})))
    for place in reversed(range(len(mine))):
        if all(mine[place : place + 1] != other[place : place + 1] for other in rest):
            return mine[place]
    return path
