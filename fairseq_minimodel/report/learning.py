"""Learning curves: loss against updates and against compute; and what every training run has cost."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy

from ..kinds import MASKED
from ..kinds.registry import KINDS, kind_of_task
from ..terminal.table import flops_unit, format_flops, format_seconds
from .blocks import Block, Cell, Charts, Folded, Section, Table, in_order, label_styles, shown
from .charts import Line, Panel, Style, thinned, with_room
from .gather import Label, Run, Training
from .logs import HEAD, Figures

_UNKNOWN = "bits"
_EARLY = 0.05  # of a run: before that the loss falls so far that nothing else could be seen
_LEAST_ACCURACY = 10  # points on an axis; less would make much of a single example
_MOST_WITH_TRAINING = 8  # runs in a chart; with more the loss in training would only hide the other
_ROWS_SHOWN = 12  # of a table; longer ones are folded

Points = list[tuple[float, float]]
Looks = dict[Label, Style]


def learning_section(runs: Sequence[Run], source: str | None) -> Section | None:
    """Learning curves of all training runs, those in one language in one chart; None without any.

    The language `source` comes first, fine-tuning last.
    """
    charts: dict[tuple[bool, str, str], list[Training]] = defaultdict(list)
    for training in (training for run in runs for training in run.trainings):
        if training.updates > 1 and (training.log.training or training.log.validation):
            kind = kind_of_task(training.task)
            unit = kind.loss_unit if kind else _UNKNOWN
            charts[kind is not KINDS[MASKED], training.language, unit].append(training)
    if not charts:
        return None
    order = sorted(charts, key=lambda one: (one[0], one[1] != source, *one))
    return Section(
        "learning",
        "Learning curves",
        [_charts(*key[1:], charts[key]) for key in order],
        "Validation loss with markers, the loss in training behind it, thin. Runs that differ in the "
        "seed alone have one colour.",
    )


def _charts(language: str, unit: str, trainings: Sequence[Training]) -> Charts:
    looks = label_styles(training.label for training in trainings)
    order = in_order(looks)
    trainings = sorted(trainings, key=lambda one: (order.index(one.label), one.seed))
    many = len(looks) > _MOST_WITH_TRAINING
    loss, updates = f"Loss ({unit})", "updates"
    lines = _loss_lines(trainings, looks, not many)
    panels = [Panel(loss, updates, lines, y_range=_range(lines))]
    size, flops = flops_unit(max((training.flops or 0) for training in trainings))
    lines = _loss_lines(trainings, looks, not many, size)
    panels.append(Panel(loss, f"compute ({flops})", lines, y_range=_range(lines)))
    panels += _head_panels(unit, trainings, looks)
    if accuracy := _lines(trainings, looks, "accuracy"):
        low, high = _range(accuracy)
        low = max(min(low, high - _LEAST_ACCURACY), -0.3)
        y_range = (low, max(high, low + _LEAST_ACCURACY) + 0.3)
        panels.append(Panel("Accuracy in validation (%)", updates, accuracy, y_range=y_range))
    title = language or "Data not known"
    if unit not in (KINDS[MASKED].loss_unit, _UNKNOWN):
        title = f"Fine-tuning: {title}"
    note = "The loss in training is left out." if many else ""
    drawn = [panel for panel in panels if panel.lines]
    return Charts(f"learning-{language or 'unknown'}", title, drawn, 2, note)


def _loss_lines(
    trainings: Sequence[Training], looks: Looks, with_training: bool, size: float | None = None
) -> list[Line]:
    lines = []
    for one in trainings:
        if with_training or not one.log.validation:
            lines += _lines([one], looks, "loss", "training", size)
        lines += _lines([one], looks, "loss", "validation", size)
    return lines


def _lines(
    trainings: Iterable[Training],
    looks: Looks,
    key: str,
    part: str = "validation",
    size: float | None = None,
) -> list[Line]:
    """A figure of the log against updates; with `size` against FLOPs, in units of so many."""
    lines = []
    for training in trainings:
        rows: dict[int, Figures] = getattr(training.log, part)
        points = thinned(
            [
                (at, row[key])
                for at, row in sorted(rows.items())
                if numpy.isfinite(row.get(key, numpy.nan))
            ]
        )
        if size:
            points = [(x / size, y) for x, y in at_flops(training, points)]
        if points:
            x, y = map(list, zip(*points, strict=True))
            name, look = shown(training.label), looks[training.label]
            lines.append(Line(name, look, x, y, faint=part == "training"))
    return lines


def at_flops(training: Training, points: Points) -> Points:
    """Points over the FLOPs so far, which the log has at its intervals: evenly between those."""
    known = sorted(
        (updates, row["flops"]) for updates, row in training.log.training.items() if "flops" in row
    )
    if not known:
        return []
    updates, flops = zip((0, 0), *known, strict=True)
    return [(float(numpy.interp(x, updates, flops)), y) for x, y in points if x <= updates[-1]]


def _head_panels(unit: str, trainings: Sequence[Training], looks: Looks) -> list[Panel]:
    """The loss after each layer that has an MLM head, of the runs with several."""
    several = [training for training in trainings if len(_heads([training])) > 1]
    panels = [
        Panel(f"Loss after layer {_layer(head)} ({unit})", "updates", _lines(several, looks, head))
        for head in _heads(several)
    ]
    y_range = _range([line for panel in panels for line in panel.lines])
    return [dataclasses.replace(panel, y_range=y_range) for panel in panels]


def _heads(trainings: Iterable[Training]) -> list[str]:
    """The keys of the losses after layers, by layer."""
    rows = [row for training in trainings for row in training.log.validation.values()]
    return sorted({key for row in rows for key in row if key.startswith(HEAD)}, key=_layer)


def _layer(head: str) -> int:
    return int(head.removeprefix(HEAD))


def _range(lines: Sequence[Line]) -> tuple[float, float] | None:
    """Of the axis: what comes after the first steep fall."""
    late = [
        y for line in lines for x, y in zip(line.x, line.y, strict=True) if x >= _EARLY * line.x[-1]
    ]
    return with_room(late) if late else None


def cost_blocks(runs: Sequence[Run]) -> list[Block]:
    """What each training run has cost and where it ended, as a table; folded if it is long."""
    trainings = [training for run in runs for training in run.trainings]
    if not trainings:
        return []
    heads = _heads(trainings)
    table = Table(
        "Training runs",
        ["", "data", "updates", "tokens", "compute", "time", "loss in training",
         "loss in validation", *(f"layer {_layer(head)}" for head in heads)],
        [
            [
                Cell(str(one.place), run.name if len(runs) > 1 else ""),
                one.language,
                f"{one.updates:,}",
                f"{one.tokens:,.0f}" if one.tokens else "",
                format_flops(one.flops) if one.flops else "",
                format_seconds(one.seconds) if one.seconds else "",
                _last(one.log.training, "loss"),
                *(_last(one.log.validation, key) for key in ("loss", *heads)),
            ]
            for run in runs
            for one in run.trainings
        ],
        note="Losses are the last of each run, in bits: per masked token, or in fine-tuning per "
        "example or per window of text. A layer's is the loss of the MLM head after it. The loss in "
        "training is the mean over the last interval of the log.",
    )  # fmt: skip
    if len(trainings) > _ROWS_SHOWN:
        return [Folded(f"All {len(trainings)} training runs", [table])]
    return [table]


def _last(figures: dict[int, Figures], key: str) -> str:
    values = [row[key] for _, row in sorted(figures.items()) if key in row]
    return f"{values[-1]:.3f}" if values else ""
