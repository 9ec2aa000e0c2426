"""The section of settings: the options of each training run and of each preparation of text."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .blocks import Block, Cell, Folded, Section, Table
from .gather import SAVED, Run, Training
from .logs import flat

_NOTHING = ("", "None")
_LOGGING = "job_logging_cfg."  # hydra's, which is no setting of training


@dataclass(frozen=True)
class Settings:
    """The options of one run, under its name."""

    name: str
    options: dict[str, str]


def options_section(runs: Sequence[Run]) -> Section | None:
    """Options that differ between runs of a kind, and those that do not; None without any."""
    kinds: dict[str, list[Settings]] = defaultdict(list)
    for run in runs:
        several = f"{run.name}: " if len(runs) > 1 else ""
        for training in run.trainings:
            if training.log.options:
                kinds[training.task or "training"].append(
                    Settings(f"{several}{training.place}", _options(run, training))
                )
        for data in run.data:
            record = {key: data.record.get(key) for key in ("options", "inputs", "shards")}
            record["inputs"] = ", ".join(one["name"] for one in record["inputs"] or [])
            kinds["prepare"].append(Settings(f"{several}{data.place}", dict(flat(record))))
    if not kinds:
        return None
    return Section("settings", "Settings", [_folded(kind, kinds[kind]) for kind in kinds])


def _options(run: Run, training: Training) -> dict[str, str]:
    """The options, with paths in the run folder as seen from there; its own is the run's name."""
    folder = f"{run.folder}/"
    options = {name: value.replace(folder, "") for name, value in training.log.options.items()}
    return {
        name: value
        for name, value in options.items()
        if name != SAVED and not name.startswith(_LOGGING)
    }


def _folded(kind: str, runs: Sequence[Settings]) -> Folded:
    names = sorted({name for run in runs for name in run.options})
    values = {name: {run.options.get(name, "") for run in runs} for name in names}
    different = [name for name in names if len(values[name]) > 1]
    same = [name for name in names if name not in different and not values[name] <= {*_NOTHING}]
    blocks: list[Block] = []
    if different:
        blocks.append(
            Table(
                "What differs",
                ["", *different],
                [
                    [run.name, *(Cell(run.options.get(name, "")) for name in different)]
                    for run in runs
                ],
                words=True,
            )
        )
    if same:
        table = Table(
            "The same in all" if len(runs) > 1 else runs[0].name,
            ["", "value"],
            [[name, runs[0].options[name]] for name in same],
            note="Options without a value are left out.",
            words=True,
        )
        blocks.append(
            Folded(f"{len(same)} options are the same in all", [table]) if different else table
        )
    differing = "1 option differs" if len(different) == 1 else f"{len(different)} options differ"
    many = f"{len(runs)} runs, {differing}"
    return Folded(f"{kind} ({many if len(runs) > 1 else '1 run'})", blocks)
