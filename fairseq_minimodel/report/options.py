"""The section of settings: the options of each training run and of each preparation of text."""

from collections import defaultdict
from collections.abc import Sequence

from .blocks import Block, Folded, Section, Table
from .gather import SAVED, Run, Training
from .logs import flat

_NOTHING = ("", "None")
_LOGGING = "job_logging_cfg."  # hydra's, which is not a setting of training


def options_section(runs: Sequence[Run]) -> Section | None:
    """Options that differ between runs of a kind, and those that do not; None without any."""
    kinds: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for run in runs:
        several = f"{run.name}: " if len(runs) > 1 else ""
        for training in run.trainings:
            if training.log.options:
                name = f"{several}{training.place}"
                kinds[training.task or "training"][name] = _options(run, training)
        for data in run.data:
            record = {key: data.record.get(key) for key in ("options", "inputs", "shards")}
            record["inputs"] = ", ".join(one["name"] for one in record["inputs"] or [])
            kinds["prepare"][f"{several}{data.place}"] = dict(flat(record))
    if not kinds:
        return None
    return Section("settings", "Settings", [_folded(*one) for one in kinds.items()])


def _options(run: Run, training: Training) -> dict[str, str]:
    """The options, with paths in the run folder as seen from there; its own is the run's name."""
    return {
        name: value.replace(f"{run.folder}/", "")
        for name, value in training.log.options.items()
        if name != SAVED and not name.startswith(_LOGGING)
    }


def _folded(kind: str, runs: dict[str, dict[str, str]]) -> Folded:
    names = sorted({name for options in runs.values() for name in options})
    values = {name: [options.get(name, "") for options in runs.values()] for name in names}
    different = [name for name in names if len(set(values[name])) > 1]
    same = [name for name in names if name not in different and values[name][0] not in _NOTHING]
    blocks: list[Block] = []
    if different:
        rows = [[run, *(runs[run].get(name, "") for name in different)] for run in runs]
        blocks.append(Table("What differs", ["", *different], rows, words=True))
    if same:
        table = Table(
            "The same in all" if len(runs) > 1 else next(iter(runs)),
            ["", "value"],
            [[name, values[name][0]] for name in same],
            note="Options without a value are left out.",
            words=True,
        )
        blocks.append(
            Folded(f"{len(same)} options are the same in all", [table]) if different else table
        )
    differing = "1 option differs" if len(different) == 1 else f"{len(different)} options differ"
    count = f"{len(runs)} runs, {differing}" if len(runs) > 1 else "1 run"
    return Folded(f"{kind} ({count})", blocks)
