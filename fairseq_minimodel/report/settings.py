"""The section of settings: the options of each training run and of each preparation of text."""

from collections import defaultdict
from collections.abc import Sequence

from ..bodies.training_log import options_of
from .blocks import Folded, Section, Table
from .gather import SAVED, Run

_NOTHING = ("", "None")
_LOGGING = "job_logging_cfg."  # hydra's, which is not a setting of training


def settings_section(runs: Sequence[Run]) -> Section | None:
    """Options that differ between runs of a kind, and those that do not; None without any."""
    kinds: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for run in runs:
        several = f"{run.name}: " if len(runs) > 1 else ""
        for training in run.trainings:
            options = {
                name: value.replace(f"{run.folder}/", "")  # paths as seen from the run
                for name, value in training.content.options.items()
                if name != SAVED and not name.startswith(_LOGGING)
            }
            if options:
                kinds[training.task or "training"][f"{several}{training.place}"] = options
        for data in run.data:
            record = {key: data.content.get(key) for key in ("options", "inputs", "shards")}
            record["inputs"] = ", ".join(one["name"] for one in record["inputs"] or [])
            kinds["prepare"][f"{several}{data.place}"] = options_of(record)
    folded = [_folded(*one) for one in kinds.items()]
    return Section("settings", "Settings", folded) if folded else None


def _folded(kind: str, runs: dict[str, dict[str, str]]) -> Folded:
    names = sorted({name for options in runs.values() for name in options})
    values = {name: [options.get(name, "") for options in runs.values()] for name in names}
    different = [name for name in names if len(set(values[name])) > 1]
    same = [[name, found[0]] for name, found in values.items()
            if name not in different and found[0] not in _NOTHING]  # fmt: skip
    blocks = []
    if different:
        rows = [[run, *(runs[run].get(name, "") for name in different)] for run in runs]
        blocks.append(Table("What differs", ["", *different], rows, words=True))
    if same:
        caption = "The same in all" if len(runs) > 1 else next(iter(runs))
        note = "Options without a value are left out."
        blocks.append(Table(caption, ["", "value"], same, note, words=True))
    differing = "1 option differs" if len(different) == 1 else f"{len(different)} options differ"
    count = f"{len(runs)} runs, {differing}" if len(runs) > 1 else "1 run"
    return Folded(f"{kind} ({count})", blocks)
