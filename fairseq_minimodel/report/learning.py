"""Learning curves: loss against updates and against compute; and what every training run has cost."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy

from ..bodies.training_log import HEAD, Figures
from ..kinds import MASKED
from ..kinds.registry import KINDS, kind_of_task
from ..terminal.table import counted, flops_unit, format_flops, format_seconds
from .blocks import Block, Charts, Folded, Section, Table, in_order, label_styles, shown
from .charts import Line, Panel, Style, thinned, with_room
from .gather import Item, Label, Run

_UNKNOWN = "bits"
_EARLY = 0.05  # of a run: before that the loss falls so far that nothing else could be seen
_LEAST_ACCURACY = 10  # points on an axis; less would make much of a single example
_ROWS_SHOWN = 12  # of a table; longer ones are folded

Points = list[tuple[float, float]]


def learning_section(runs: Sequence[Run], source: str | None) -> Section | None:
    """Learning curves of all training runs, those in one language in one chart; None without any.

    The language `source` comes first, fine-tuning last.
    """
    charts: dict[tuple[bool, str, str], list[Item]] = defaultdict(list)
    for training in (training for run in runs for training in run.trainings):
        log, kind = training.content, kind_of_task(training.task)
        if log.updates > 1:
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


def _charts(language: str, unit: str, trainings: Sequence[Item]) -> Charts:
    looks = label_styles(training.label for training in trainings)
    order = in_order(looks)
    trainings = sorted(trainings, key=lambda one: (order.index(one.label), one.seed))
    loss = f"Loss ({unit})"
    panels = [
        _panel(loss, trainings, looks, "loss"),
        _panel(loss, trainings, looks, "loss", over_flops=True),
    ]
    several = [training for training in trainings if len(_heads([training])) > 1]
    heads = [
        _panel(f"Loss after layer {_layer(head)} ({unit})", several, looks, head)
        for head in _heads(several)
    ]
    y_range = _range([line for panel in heads for line in panel.lines])
    panels += [replace(panel, y_range=y_range) for panel in heads]
    accuracy = _panel("Accuracy in validation (%)", trainings, looks, "accuracy")
    if accuracy.y_range:
        low, high = accuracy.y_range
        panels.append(replace(accuracy, y_range=(min(low, high - _LEAST_ACCURACY), high)))
    title = language or "Data not known"
    if unit not in (KINDS[MASKED].loss_unit, _UNKNOWN):
        title = f"Fine-tuning: {title}"
    drawn = [panel for panel in panels if panel.lines]
    return Charts(f"learning-{language or 'unknown'}", title, drawn)


def _panel(
    title: str,
    trainings: Sequence[Item],
    looks: dict[Label, Style],
    key: str,
    over_flops: bool = False,
) -> Panel:
    """A figure of the logs in validation against updates or FLOPs; the loss in training, too."""
    size, unit = flops_unit(max((one.cost.flops or 0 for one in trainings), default=0))
    lines = []
    for one in trainings:
        in_training = one.content.training if key == "loss" else {}
        for rows, faint in ((in_training, True), (one.content.validation, False)):
            points = [(at, row[key]) for at, row in sorted(rows.items()) if key in row]
            points = thinned([point for point in points if numpy.isfinite(point[1])])
            if over_flops:
                points = [(x / size, y) for x, y in at_flops(one, points)]
            if points:
                x, y = map(list, zip(*points, strict=True))
                lines.append(Line(shown(one.label), looks[one.label], x, y, faint=faint))
    x_label = f"compute ({unit})" if over_flops else "updates"
    return Panel(title, x_label, lines, y_range=_range(lines))


def at_flops(training: Item, points: Points) -> Points:
    """Points over the FLOPs so far, which the log has at its intervals: evenly between those."""
    rows = sorted(training.content.training.items())
    known = [(updates, row["flops"]) for updates, row in rows if "flops" in row]
    if not known:
        return []
    updates, flops = zip((0, 0), *known, strict=True)
    return [(float(numpy.interp(x, updates, flops)), y) for x, y in points if x <= updates[-1]]


def _heads(trainings: Iterable[Item]) -> list[str]:
    """The keys of the losses after layers, by layer."""
    rows = [row for training in trainings for row in training.content.validation.values()]
    return sorted({key for row in rows for key in row if key.startswith(HEAD)}, key=_layer)


def _layer(head: str) -> int:
    return int(head.removeprefix(HEAD))


def _range(lines: Sequence[Line]) -> tuple[float, float] | None:
    """Of the axis: what comes after the first steep fall."""
    points = [(x / line.x[-1], y) for line in lines for x, y in zip(line.x, line.y, strict=True)]
    late = [y for x, y in points if x >= _EARLY]
    return with_room(late) if late else None


def cost_blocks(runs: Sequence[Run]) -> list[Block]:
    """What each training run has cost and where it ended, as a table; folded if it is long."""
    trainings = [(run, training) for run in runs for training in run.trainings]
    if not trainings:
        return []
    heads = _heads(training for _, training in trainings)
    rows = []
    for run, one in trainings:
        log, cost = one.content, one.cost
        rows.append([
            (str(one.place), run.name if len(runs) > 1 else ""),
            one.language,
            f"{cost.updates:,}",
            f"{cost.tokens:,.0f}" if cost.tokens else "",
            format_flops(cost.flops) if cost.flops else "",
            format_seconds(cost.seconds) if cost.seconds else "",
            _last(log.training, "loss"),
            *(_last(log.validation, key) for key in ("loss", *heads)),
        ])  # fmt: skip
    table = Table(
        "Training runs",
        ["", "data", "updates", "tokens", "compute", "time", "loss in training",
         "loss in validation", *(f"layer {_layer(head)}" for head in heads)],
        rows,
        "Losses are the last of each run, in bits: per masked token, or in fine-tuning per "
        "example or per window of text. A layer's is the loss of the MLM head after it. The loss in "
        "training is the mean over the last interval of the log.",
    )  # fmt: skip
    return [Folded(counted(len(rows), "training run"), [table], open=len(rows) <= _ROWS_SHOWN)]


def _last(figures: dict[int, Figures], key: str) -> str:
    values = [row[key] for _, row in sorted(figures.items()) if key in row]
    return f"{values[-1]:.3f}" if values else ""
