"""What lies in run folders, by kind: logs of training, language packs, prepared data, scores.

No layout is demanded; files are known by what they say of themselves. Names for people are made of
the paths: `seed1/packs/standard/de` is the variant "standard" with the seed 1, in the language de.
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..bodies.checkpoint import read_checkpoint
from ..bodies.cost import TrainingCost, cost_of_log, training_cost
from ..bodies.training_log import TrainingLog, options_of, read_log
from ..corpus.record import RECORD_NAME, read_prepared
from ..errors import InputError
from ..files.records import read_json, record
from ..kinds.scores import AGAIN, Place, Score, read_score
from ..packs.pack import DESCRIPTION, Description, read_description
from ..terminal.progress import SHORT, Progress
from ..vocabulary.symbols import fingerprint, read_symbols

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint_last.pt"
SAVED = "checkpoint.save_dir"
SEED = re.compile(r"seed[-_]?(\d+)")
# Folders whose names say what is in them, not which of several it is.
_KINDS = ("adapted", "checkpoints", "data", "finetuned", "logs", "models", "outputs", "packs",
          "scores")  # fmt: skip
_NO_TASKS = ("score", "scores", "results")
_SHARD = re.compile(r"shard\d+")
_UNKNOWN = TrainingCost(updates=None, tokens=None, seconds=None, flops=None)


class Label(NamedTuple):
    """What tells one result from another, beside its language and its seed."""

    group: str  # the run folder; empty if there is only one, or they differ in the seed alone
    variant: str  # empty if the paths tell none apart


@dataclass(frozen=True)
class Item:
    """A training run, a language pack, a folder of prepared data, or a score.

    Attributes:
        content: the log (without figures if only a checkpoint is there), what language.json or
            prepare.json says, or the score.
        place: its folder below that of the run; of a training, where its checkpoints are or were.
        language: of its data; of a fine-tuning the name of the task.
        task: fairseq's name of a training's task, or what the file of a score is called; perhaps "".
        cost: of the training, of the whole run.
    """

    label: Label
    seed: str
    place: Path
    language: str
    content: TrainingLog | Description | dict | Score
    task: str = ""
    cost: TrainingCost = _UNKNOWN


def gather(folders: Sequence[Path]) -> list["Run"]:
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
    names = [name or folder.name for name, folder in zip(_apart(folders), folders, strict=True)]
    several = len({SEED.sub("", name) for name in names}) > 1
    return [Run(folder, name, several) for folder, name in zip(folders, names, strict=True)]


class Run:
    """What lies in one run folder: `trainings`, `packs`, `data` and `results`, lists of items.

    Args:
        grouped: whether its name is part of its labels.
    """

    def __init__(self, folder: Path, name: str, grouped: bool) -> None:
        self.folder, self.name = folder, name
        self._seed = seed[1] if (seed := SEED.search(name)) else ""
        self._group = (SEED.sub("", name).strip("/-_") or folder.parent.name) if grouped else ""
        files = sorted(_files_below(folder))
        self.packs = [self._pack(path) for path in files if path.name == DESCRIPTION]
        self.data = [self._data(path) for path in files if path.name == RECORD_NAME]
        self.trainings = self._trainings(files)
        scores = [one for one in files if one.suffix == ".json"]
        scores = [one for one in scores if one.name not in (DESCRIPTION, RECORD_NAME)]
        self.results = [result for path in scores for result in self._results(path)]
        if not (self.packs or self.data or self.trainings or self.results):
            raise InputError(
                f"{self.folder} holds nothing to report: no log of fairseq-train with JSON lines "
                "(--log-format json), no language pack, no prepared data and no scores; name the "
                "folder of a run"
            )

    def _pack(self, path: Path) -> Item:
        about, place = read_description(path), path.parent.relative_to(self.folder)
        cost = TrainingCost(about.updates, about.tokens, about.seconds, about.flops)
        return Item(*self._label(place, about.language), place, about.language, about, cost=cost)

    def _data(self, path: Path) -> Item:
        content, place = read_prepared(path), path.parent.relative_to(self.folder)
        vocabulary = fingerprint(read_symbols(path.parent / "dict.txt"))
        languages = {one.language for one in self.packs if one.content.vocabulary == vocabulary}
        language = languages.pop() if len(languages) == 1 else path.parent.name
        return Item(Label(self._group, ""), self._seed, place, language, content)

    # ---- training

    def _trainings(self, files: Sequence[Path]) -> list[Item]:
        logs = self._logs([path for path in files if path.suffix == ".log"])
        places = {key: self._place(log) for key, log in logs.items()}
        others = []
        for path in files:
            place = path.parent.relative_to(self.folder)
            if path.name != CHECKPOINT or place in places.values():
                continue
            checkpoint = read_checkpoint(path, finite=False)
            saved = (checkpoint.config.get("checkpoint") or {}).get("save_dir")
            if saved in places and not (self.folder / places[saved]).is_dir():
                places[saved] = place  # the folder has another name now
                continue
            log = TrainingLog(path, options_of(checkpoint.config))
            others.append(self._training(place, log, training_cost(checkpoint)))
        found = [self._training(places[key], log, cost_of_log(log)) for key, log in logs.items()]
        return found + others

    def _logs(self, paths: Sequence[Path]) -> dict[str, TrainingLog]:
        """The logs by the folder of their checkpoints; those of resumed runs in one."""
        logs: dict[str, TrainingLog] = {}
        size = sum(path.stat().st_size for path in paths)
        with Progress(f"logs of {self.name}", size, after=SHORT) as progress:
            for log in (log for path in paths for log in read_log(path, progress)):
                key = log.options.get(SAVED) or str(log.file)
                if key in logs:
                    logs[key].go_on_with(log)
                else:
                    logs[key] = log
        return logs

    def _place(self, log: TrainingLog) -> Path:
        if saved := log.options.get(SAVED):
            return self._below(saved) or Path(Path(saved).name)
        return log.file.relative_to(self.folder).with_suffix("")

    def _training(self, place: Path, log: TrainingLog, cost: TrainingCost) -> Item:
        folder = Path(log.options.get("task.data", "").split(":")[0])
        if _SHARD.fullmatch(folder.name):
            folder = folder.parent
        below = self._below(str(folder))
        language = next((one.language for one in self.data if one.place == below), folder.name)
        label, seed = self._label(place, language)
        label = label._replace(variant=label.variant or place.name)
        return Item(label, seed, place, language, log, log.options.get("task._name", ""), cost)

    # ---- scores

    def _results(self, path: Path) -> Iterator[Item]:
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
        paths = list({(of.body or "").removesuffix(".pt") for of in ofs})
        bodies = dict(zip(paths, _apart([Path(path) for path in paths]), strict=True))
        task = self._task(path, {one.label.variant for one in packs}, {of.language for of in ofs})
        for row, of, pack in zip(rows, ofs, packs, strict=True):
            label = pack.label
            if len(bodies) > 1:  # one command has compared several bodies, or task modules
                body = bodies[(of.body or "").removesuffix(".pt")]
                label = label._replace(variant=", ".join(filter(None, (label.variant, body))))
            try:
                score = read_score(row)
            except (KeyError, TypeError) as error:
                raise InputError(
                    f"{path} has a row without the scores that evaluate, retrieve or perplexity "
                    f"write ({error}); {AGAIN}"
                ) from None
            yield Item(label, pack.seed, pack.place, of.language, score, task, pack.cost)

    def _pack_of(self, of: Place) -> Item:
        """The pack of a score, or as much as its path tells."""
        place = self._below(of.pack)
        if found := next((pack for pack in self.packs if pack.place == place), None):
            return found
        parts = Path(of.pack).parts  # elsewhere: what is likely to tell it from others
        begin = parts.index("packs") + 1 if "packs" in parts else -2
        place = place or Path(*parts[begin:])
        return Item(*self._label(place, of.language), place, of.language, {})

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
        seeds, parts = [self._seed], []
        for part in place.parts:
            if match := SEED.fullmatch(part):
                seeds.append(match[1])
            elif part not in (*_KINDS, language) and not part.startswith("checkpoint_"):
                parts.append(part.removesuffix(f"-{language}").removeprefix(f"{language}-"))
        return Label(self._group, "/".join(parts)), ".".join(filter(None, seeds))

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


def source_language(runs: Sequence[Run], given: str | None) -> str | None:
    """The language of pretraining: the given one, or that of ordinary masked LM in the logs.

    Raises:
        InputError: nothing in the runs is in the given language.
    """
    languages = {one.language for run in runs for one in (*run.packs, *run.data, *run.results)}
    if given is None:
        trainings = [one for run in runs for one in run.trainings if one.task == "masked_lm"]
        return next((one.language for one in trainings if one.language in languages), None)
    if given not in languages:
        raise InputError(
            f"--source {given}: the runs have nothing in that language; there is "
            f"{', '.join(sorted(languages)) or 'no language'}"
        )
    return given


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


def _apart(paths: Sequence[Path]) -> list[str]:
    """What tells paths apart: without the parts that all have at the beginning or at the end."""
    rest = [path.parts for path in paths]
    for end, others in ((0, slice(1, None)), (-1, slice(None, -1))):
        while all(rest) and len({parts[end] for parts in rest}) == 1:
            rest = [parts[others] for parts in rest]
    return ["/".join(parts) for parts in rest]
