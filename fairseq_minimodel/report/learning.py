"""The section of learning curves: loss against updates and against compute."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy

from ..terminal.table import flops_unit, format_flops, format_seconds
from .blocks import (
    Block,
    Cell,
    Charts,
    Folded,
    Section,
    Table,
    Text,
    in_order,
    label_styles,
    shown,
)
from .charts import Line, Panel, Style, thinned
from .gather import Label, Run, Training
from .logs import HEAD, Figures

UNITS = {
    "masked_lm": "bits a masked token",
    "language_adaptation": "bits a masked token",
    "meta_masked_lm": "bits a masked token",
    "sentence_prediction": "bits an example",
    "span_qa": "bits a window",
}
MASKED, _UNKNOWN = UNITS["masked_lm"], "bits"
_EARLY = 0.05  # of a run: before that the loss falls so far that nothing else could be seen
_LEAST_ACCURACY = 10  # points on an axis; less would make much of a single example
_MOST_WITH_TRAINING = 8  # runs in a chart; with more the loss in training would only hide the other
_ROWS_SHOWN = 12  # of a table; longer ones are folded

Points = list[tuple[float, float]]


def learning_section(runs: Sequence[Run], source: str | None) -> Section | None:
    """Learning curves of all training runs, those in one language in one chart; None without any.

    The language `source` comes first, fine-tuning last.
    """
    trainings = [training for run in runs for training in run.trainings]
    if not trainings:
        return None
    charts: dict[tuple[bool, str, str], list[Training]] = defaultdict(list)
    for training in trainings:
        if training.updates > 1 and (training.log.training or training.log.validation):
            unit = UNITS.get(training.task, _UNKNOWN)
            charts[unit != MASKED, training.language, unit].append(training)
    blocks: list[Block] = []
    if charts:
        blocks.append(
            Text(
                "Validation loss with markers, the loss in training behind it, thin. "
                "Runs that differ in the seed alone have one colour."
            )
        )
    for tuned, language, unit in sorted(charts, key=lambda one: (one[0], one[1] != source, *one)):
        blocks.append(_charts(language, unit, charts[tuned, language, unit]))
    table = _table(runs)
    folded = len(trainings) > _ROWS_SHOWN
    blocks.append(Folded(f"All {len(trainings)} training runs", [table]) if folded else table)
    return Section("learning", "Learning curves", blocks)


def _charts(language: str, unit: str, trainings: Sequence[Training]) -> Charts:
    looks = label_styles(training.label for training in trainings)
    order = in_order(looks)
    trainings = sorted(trainings, key=lambda one: (order.index(one.label), one.seed))
    panels = [_loss_panel(unit, "updates", trainings, looks, at_updates)]
    if most := max((training.flops or 0) for training in trainings):
        size, name = flops_unit(most)
        panels.append(_loss_panel(unit, f"compute ({name})", trainings, looks, at_flops, size))
    panels += _head_panels(unit, trainings, looks)
    accuracy = [
        Line(shown(one.label), looks[one.label], *_columns(points))
        for one in trainings
        if (points := _points(one.log.validation, "accuracy"))
    ]
    if accuracy:
        low, high = _range(accuracy)
        low = max(min(low, high - _LEAST_ACCURACY), -0.3)
        y_range = (low, max(high, low + _LEAST_ACCURACY) + 0.3)
        panels.append(Panel("Accuracy in validation (%)", "updates", accuracy, y_range=y_range))
    title = language or "Data not known"
    if unit not in (MASKED, _UNKNOWN):
        title = f"Fine-tuning: {title}"
    note = "The loss in training is left out." if len(looks) > _MOST_WITH_TRAINING else ""
    drawn = [panel for panel in panels if panel.lines]
    return Charts(f"learning-{language or 'unknown'}", title, drawn, 2, note)


def at_updates(training: Training, points: Points) -> Points:
    """Points as they are."""
    return points


def at_flops(training: Training, points: Points) -> Points:
    """Points over the FLOPs so far, which the log has at its intervals: evenly between those."""
    known = sorted(
        (updates, row["flops"]) for updates, row in training.log.training.items() if "flops" in row
    )
    if not known:
        return []
    updates, flops = zip((0, 0), *known, strict=True)
    return [(float(numpy.interp(x, updates, flops)), y) for x, y in points if x <= updates[-1]]


def _loss_panel(
    unit: str,
    x_label: str,
    trainings: Sequence[Training],
    looks: dict[Label, Style],
    over: Callable[[Training, Points], Points],
    size: float = 1,
) -> Panel:
    """The losses over what `over` makes of updates, in units of `size`."""
    lines = []
    for training in trainings:
        for figures, faint in ((training.log.training, True), (training.log.validation, False)):
            if faint and len(looks) > _MOST_WITH_TRAINING and training.log.validation:
                continue
            points = over(training, _points(figures, "loss"))
            if points:
                x, y = _columns(points)
                lines.append(
                    Line(
                        shown(training.label),
                        looks[training.label],
                        [value / size for value in x],
                        y,
                        faint=faint,
                    )
                )
    return Panel(f"Loss ({unit})", x_label, lines, y_range=_range(lines))


def _head_panels(
    unit: str, trainings: Sequence[Training], looks: dict[Label, Style]
) -> Iterator[Panel]:
    """The loss after each layer that has an MLM head, of the runs with several."""
    lines: dict[str, list[Line]] = defaultdict(list)
    for training in trainings:
        figures = training.log.validation
        heads = {key for row in figures.values() for key in row if key.startswith(HEAD)}
        for head in heads if len(heads) > 1 else ():
            columns = _columns(_points(figures, head))
            lines[head].append(Line(shown(training.label), looks[training.label], *columns))
    y_range = _range([line for members in lines.values() for line in members])
    for head in sorted(lines, key=_layer):
        yield Panel(
            f"Loss after layer {_layer(head)} ({unit})", "updates", lines[head], (), y_range
        )


def _layer(head: str) -> int:
    return int(head.removeprefix(HEAD))


def _points(figures: dict[int, Figures], key: str) -> Points:
    points = [
        (updates, row[key])
        for updates, row in sorted(figures.items())
        if key in row and numpy.isfinite(row[key])
    ]
    return thinned(points)


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _range(lines: Sequence[Line]) -> tuple[float, float] | None:
    """Of the axis: what comes after the first steep fall."""
    late = [
        y for line in lines for x, y in zip(line.x, line.y, strict=True) if x >= _EARLY * line.x[-1]
    ]
    if not late:
        return None
    low, high = min(late), max(late)
    room = 0.06 * (high - low) or 0.1
    return low - room, high + room


def _table(runs: Sequence[Run]) -> Table:
    validations = [training.log.validation for run in runs for training in run.trainings]
    heads = {
        key for rows in validations for row in rows.values() for key in row if key.startswith(HEAD)
    }
    heads = sorted(heads, key=_layer)
    return Table(
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
                _last(one.log.validation, "loss"),
                *(_last(one.log.validation, head) for head in heads),
            ]
            for run in runs
            for one in run.trainings
        ],
        note="Losses are the last of each run, in bits: a masked token, or in fine-tuning an example "
        "or a window of text. A layer's is the loss of the MLM head after it. The loss in training is "
        "the mean over the last interval of the log.",
    )  # fmt: skip


def _last(figures: dict[int, Figures], key: str) -> str:
    values = [row[key] for _, row in sorted(figures.items()) if key in row]
    return f"{values[-1]:.3f}" if values else ""
