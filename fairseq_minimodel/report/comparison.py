"""The section of scores: tables by language, score against compute, compute to match."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import fmean

from ..terminal.table import flops_unit, format_flops
from .blocks import (
    Block,
    Cell,
    Charts,
    Section,
    Table,
    Text,
    in_order,
    label_styles,
    shown,
)
from .charts import Line, Panel, Style
from .curves import (
    NEARLY,
    ComputeToMatch,
    Curve,
    compute_to_match,
    compute_to_match_over_seeds,
)
from .gather import Label, Result, Run
from .scores import Summary, score_curve, summarise

MATCH = "compute to match"

Seeds = dict[str, list[Result]]  # by seed, those of one pack or of several on its way
Row = dict[Label, Seeds]
Results = dict[str, Row]  # of one task, by language


def comparison_section(runs: Sequence[Run], source: str | None) -> Section | None:
    """Scores of all tasks; None without any. `source` is the language that tasks are trained in."""
    tasks: dict[tuple[str, str], Results] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    )
    for run in runs:
        for result in run.results:
            kind = result.score.measure.split(" (")[0]
            tasks[result.task, kind][result.language][result.label][result.seed].append(result)
    if not tasks:
        return None
    for results in tasks.values():
        for labels in results.values():
            for seeds in labels.values():
                for points in seeds.values():  # what was scored twice counts once
                    last = {result.updates or 0: result for result in points}
                    points[:] = [last[updates] for updates in sorted(last)]
    blocks: list[Block] = []
    overview = _overview(tasks, source)
    if overview:
        blocks.append(overview)
    for (task, _), results in sorted(tasks.items()):
        blocks += _task_blocks(task, results, source)
    drawn = any(isinstance(block, Charts) for block in blocks)
    shares = any(_first(results).score.per_cent for results in tasks.values())
    if drawn and shares and not any(map(_is_match, blocks)):
        blocks.append(
            Text(
                "Compute to match is left out: it needs scores of packs along the way, and the packs "
                "were scored at the end alone."
            )
        )
    return Section("scores", "Scores", blocks)


def _overview(tasks: dict[tuple[str, str], Results], source: str | None) -> Table | None:
    """The mean over languages in each task, where there are several of both."""
    if len(tasks) < 2 or max(map(len, tasks.values())) < 3:
        return None
    labels = in_order(
        label for results in tasks.values() for row in results.values() for label in row
    )
    rows = []
    for (task, _), results in sorted(tasks.items()):
        languages = _targets(results, source)
        measure = _measure(results)
        cells = [_mean(results, languages, label) for label in labels]
        unit = ", %" if _first(results).score.per_cent else ""
        rows.append([Cell(task or measure, f"{measure}{unit}"), *cells])
    return Table(
        "Mean over languages" + (f" without {source}" if source else ""),
        ["", *map(shown, labels)],
        rows,
        note="Bits: the lower the better; all others: the higher the better.",
    )


def _task_blocks(task: str, results: Results, source: str | None) -> list[Block]:
    blocks: list[Block] = [_table(task, results, source)]
    targets = _targets(results, source)
    curves = {language: lines for language in targets if (lines := _lines(results[language]))}
    if not curves:
        return blocks
    most = max(x for lines in curves.values() for line in lines for x in line.x)
    size, flops = flops_unit(most)
    measure = _measure(results)
    unit = " (%)" if _first(results).score.per_cent else ""
    references = _references(results, source if len(curves) < 3 else None)
    panels = [
        Panel(
            language if len(curves) > 1 else f"{measure}{unit}",
            f"compute ({flops})",
            [
                Line(
                    line.name, line.style, [x / size for x in line.x], line.y, line.lows, line.highs
                )
                for line in lines
            ],
            references,
            _common_range(curves, references),
        )
        for language, lines in curves.items()
    ]
    blocks.append(
        Charts(
            f"score-{task or measure}",
            _title(task, f"{measure}{unit} against compute"),
            panels,
            3 if len(panels) > 2 else 2,
            note="Compute is that of the adaptation; a language side that was not trained stands at 0. "
            "Bars are the intervals of the table.",
        )
    )
    if _first(results).score.per_cent:
        blocks += _match_blocks(task, results, targets)
    return blocks


def _title(task: str, text: str) -> str:
    return f"{task}: {text}" if task else f"{text[0].upper()}{text[1:]}"


def _measure(results: Results) -> str:
    return _first(results).score.measure.split(" (")[0]


def _first(results: Results) -> Result:
    return next(
        points[-1]
        for row in results.values()
        for seeds in row.values()
        for points in seeds.values()
    )


def _targets(results: Results, source: str | None) -> list[str]:
    return sorted(language for language in results if language != source)


# ---- tables


def _table(task: str, results: Results, source: str | None) -> Table:
    labels = in_order(label for row in results.values() for label in row)
    columns = [label for label in labels if not _spans(label, results)]
    languages = [*([source] if source in results else []), *_targets(results, source)]
    groups = list(dict.fromkeys(label.group for label in columns))
    rows = []
    for language in languages:
        row = results[language]
        items = next(points[-1] for seeds in row.values() for points in seeds.values()).score.n
        cells = [cell for group in groups for cell in _group_cells(row, columns, group)]
        rows.append([Cell(language), Cell(f"{items:,}"), *cells])
    targets = _targets(results, source)
    if len(targets) > 1:
        name = f"mean without {source}" if source in results else "mean"
        rows.append([Cell(name), Cell(" "), *(_mean(results, targets, label) for label in columns)])
    seeds = {len(seeds) for row in results.values() for seeds in row.values()}
    spread = (
        "Small: the 95 % interval over the items."
        if seeds == {1}
        else f"Means of {' or '.join(map(str, sorted(seeds)))} seeds; small: the lowest to the highest."
    )
    return Table(
        _title(task, _first(results).score.measure),
        ["", "items", *map(shown, columns)],
        rows,
        note=spread,
        last_apart=len(targets) > 1,
    )


def _spans(label: Label, results: Results) -> bool:
    """Whether a label without a variant stands for all variants of its run: the source's own pack."""
    groups = [[other for other in row if other.group == label.group] for row in results.values()]
    return (
        not label.variant
        and all(label not in members or len(members) == 1 for members in groups)
        and any(other.variant for members in groups for other in members)
    )


def _group_cells(row: Row, columns: Sequence[Label], group: str) -> list[Cell]:
    """The cells of one run, or one over all of its columns."""
    columns = [label for label in columns if label.group == group]
    common = Label(group, "")
    if common in row and common not in columns:
        return [_score_cell(row[common], len(columns))]
    return [_score_cell(row[label]) if label in row else Cell("") for label in columns]


def _score_cell(seeds: Seeds, columns: int = 1) -> Cell:
    summary = summarise([points[-1].score for points in seeds.values()])
    return Cell(f"{summary.value:.1f}", f"{summary.low:.1f} to {summary.high:.1f}", columns)


def _mean(results: Results, languages: Sequence[str], label: Label) -> Cell:
    """The mean over languages and seeds; empty unless the label has them all."""
    if not all(label in results[language] for language in languages):
        return Cell("")
    values = [
        points[-1].score.value
        for language in languages
        for points in results[language][label].values()
    ]
    return Cell(f"{fmean(values):.1f}") if values else Cell("")


# ---- against compute


def _lines(row: Row) -> list[Line]:
    """A line for each label whose packs' compute is known; none unless there are two to compare."""
    controls = {label.group: label for label in row if is_control(row[label])}
    looks = label_styles(row)
    lines = []
    for label in in_order(row):
        control = controls.get(label.group)
        if label != control:
            start = row[control] if control else None
            lines += _line(label, looks[label], _summaries(row[label], start))
    if len(lines) < 2:
        return []
    for label in controls.values():
        start = summarise([points[-1].score for points in row[label].values()])
        lines += _line(label, looks[label], [(0, start)])
    return lines


def _line(label: Label, style: Style, points: Sequence[tuple[float, Summary]]) -> list[Line]:
    if not points:
        return []
    x, summaries = zip(*points, strict=True)
    values, lows, highs = zip(*summaries, strict=True)
    return [Line(shown(label), style, x, values, lows, highs)]


def is_control(seeds: Seeds) -> bool:
    """Whether packs were not trained: the one update of the examples' control has no learning rate."""
    return all(
        result.updates is not None and result.updates <= 1
        for points in seeds.values()
        for result in points
    )


def _summaries(seeds: Seeds, control: Seeds | None) -> list[tuple[float, Summary]]:
    """FLOPs and score over seeds, at each evaluation; before training the control's."""
    runs = [[point for point in points if point.flops] for points in seeds.values()]
    count = min(map(len, runs))
    if count == 0:
        return []
    found = [
        (fmean(run[place].flops for run in runs), summarise([run[place].score for run in runs]))
        for place in range(-count, 0)
    ]
    if control:
        found.insert(0, (0, summarise([points[-1].score for points in control.values()])))
    return found


def _references(results: Results, source: str | None) -> list[tuple[str, float]]:
    first = _first(results).score
    references = []
    chances = {
        points[-1].score.chance
        for row in results.values()
        for seeds in row.values()
        for points in seeds.values()
    }
    if first.chance is not None and len(chances) == 1:
        references.append((f"chance, {first.chance:.1f}", first.chance))
    if source in results:
        values = {_score_cell(seeds).text for seeds in results[source].values()}
        if len(values) == 1:
            [seeds] = list(results[source].values())[:1]
            score = summarise([points[-1].score for points in seeds.values()])
            references.append((f"{source}, {score.value:.1f}", score.value))
    return references


def _common_range(
    curves: dict[str, list[Line]], references: Sequence[tuple[str, float]]
) -> tuple[float, float]:
    """One range for the panels of a task, so that languages compare."""
    lines = [line for row in curves.values() for line in row]
    values = [value for line in lines for value in (*line.lows, *line.highs)]
    values += [height for _, height in references]
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.1
    return low - room, high + room


# ---- compute to match


def _match_blocks(task: str, results: Results, languages: Sequence[str]) -> list[Block]:
    """A table of compute to match, where packs were scored along the way."""
    rows, references = [], []
    for language in languages:
        for curves in _comparable_curves(results[language]):
            reference = _reference(curves)
            references.append(shown(reference))
            for label in curves:
                if label != reference:
                    sides = (curves[reference], curves[label])
                    name = Cell(shown(label), language if len(languages) > 1 else "")
                    rows.append([name, *_match_cells(*sides, 1.0), *_match_cells(*sides, NEARLY)])
    if not rows:
        return []
    best, nearly = f"best of {references[0]}", f"{100 * NEARLY:.0f} % of it"
    return [
        Table(
            _title(task, MATCH),
            ["", best, "compute", "times less", nearly, "compute", "times less"],
            rows,
            note=f"Compute with which {references[0]} reaches its best score (or {nearly}), over the "
            "compute with which the variant does: above 1 the variant is cheaper. Compute is the "
            f"variant's, that of {references[0]} small below it; between evaluations it is "
            "interpolated. Over several seeds: of the mean curves; small: a 95 % interval by bootstrap "
            "over seeds.",
        )
    ]


def _comparable_curves(
    row: Row,
) -> Iterator[dict[Label, dict[str, Curve]]]:
    """For each run with two variants or more that were scored along the way, their curves by seed."""
    for group in sorted({label.group for label in row}):
        labels = [label for label in in_order(row) if label.group == group]
        control = next((row[label] for label in labels if is_control(row[label])), {})
        curves = {
            label: found
            for label in labels
            if not is_control(row[label]) and (found := _curves(row[label], control, shown(label)))
        }
        if len(curves) > 1:
            yield curves


def _is_match(block: Block) -> bool:
    return isinstance(block, Table) and block.caption.lower().endswith(MATCH)


def _curves(seeds: Seeds, control: Seeds, name: str) -> dict[str, Curve]:
    """Score against compute of each seed that was scored along the way, too."""
    curves = {}
    for seed, points in seeds.items():
        start = control[seed][-1].score.value / 100 if seed in control else None
        found = [(point.flops, point.score.value / 100) for point in points if point.flops]
        if len(found) > 1:
            curves[seed] = score_curve(name, found, start)
    return curves


def _reference(curves: dict[Label, dict[str, Curve]]) -> Label:
    """What the others are measured by: Standard, or else what has cost most."""
    for label in curves:
        if label.variant == "standard":
            return label
    return max(curves, key=lambda label: max(curve.flops[-1] for curve in curves[label].values()))


def _match_cells(
    references: dict[str, Curve], curves: dict[str, Curve], fraction: float
) -> list[Cell]:
    both = [seed for seed in references if seed in curves]
    interval = ""
    if len(both) > 1:
        sides = ([side[seed] for seed in both] for side in (references, curves))
        result = compute_to_match_over_seeds(*sides, fraction)
        match = result.match
        ends = ("open" if end is None else f"{end:.2f}" for end in (result.low, result.high))
        interval = " to ".join(ends) if result.low or result.high else ""
    else:
        [reference], [curve] = (list(side.values())[:1] for side in (references, curves))
        match = compute_to_match(reference, curve, fraction)
    return [
        Cell(f"{100 * match.score:.1f} %"),
        Cell(_compute(match), format_flops(match.reference_flops)),
        Cell(match.ratio_in_words(), interval),
    ]


def _compute(match: ComputeToMatch) -> str:
    return "" if match.flops is None else format_flops(match.flops)
