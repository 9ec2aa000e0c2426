"""Scores: the result in a sentence, tables by language, score against compute, compute to match."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ..terminal.table import flops_unit, format_flops
from .blocks import Block, Cell, Charts, Section, Table, in_order, label_styles, shown
from .charts import Line, Panel, with_room
from .curves import NEARLY, Curve, compute_to_match, compute_to_match_over_seeds
from .gather import Label, Result, Run
from .scores import Score, Summary, score_curve, summarise

_LEFT_OUT = (
    "Compute to match is left out: it needs scores of packs along the way, and the packs were scored "
    "at the end alone."
)

Seeds = dict[str, list[Result]]  # by seed, those of one pack or of several on its way
Row = dict[Label, Seeds]


@dataclass(frozen=True)
class Task:
    """All scores of one task by one measure.

    Attributes:
        name: empty if nothing says it.
        source: the language that the task is trained in.
        score: one of them.
        rows: the scores, by language and label.
    """

    name: str
    source: str | None
    score: Score
    rows: dict[str, Row]

    @property
    def measure(self) -> str:
        """What is measured; `score.measure` says the unit and what chance gives, too."""
        return self.score.measure.split(" (")[0]

    @property
    def unit(self) -> str:
        return "%" if self.score.per_cent else "bits"

    @property
    def targets(self) -> list[str]:
        return sorted(language for language in self.rows if language != self.source)

    @property
    def labels(self) -> list[Label]:
        return in_order(label for row in self.rows.values() for label in row)

    def title(self, text: str) -> str:
        return f"{self.name}: {text}" if self.name else f"{text[0].upper()}{text[1:]}"

    def mean(self, label: Label) -> float | None:
        """Over target languages and seeds; None unless the label has all of the languages."""
        rows = [self.rows[language] for language in self.targets]
        if not rows or not all(label in row for row in rows):
            return None
        return fmean(score.value for row in rows for score in _last(row[label]))


def read_tasks(runs: Sequence[Run], source: str | None) -> list[Task]:
    """The scores of all runs, in the order of the tasks' names."""
    tasks: dict[tuple[str, str], Task] = {}
    results = [result for run in runs for result in run.results]
    for result in sorted(results, key=lambda one: one.updates or 0):
        rows: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        task = Task(result.task, source, result.score, rows)
        task = tasks.setdefault((task.name, task.measure), task)
        points = task.rows[result.language][result.label][result.seed]
        if points and (points[-1].updates or 0) == (result.updates or 0):
            points.pop()  # what was scored twice counts once
        points.append(result)
    return [tasks[key] for key in sorted(tasks)]


def headline(tasks: Sequence[Task]) -> str:
    """The result in a sentence: what scores best in each task, and the next after it; or nothing."""
    found = []
    for task in tasks:
        means = [(label, mean) for label in task.labels if (mean := task.mean(label)) is not None]
        if means:
            means.sort(key=lambda one: one[1], reverse=task.score.per_cent)
            best = [
                f"{shown(label) or 'the pack'} with {mean:.1f} {task.unit}"
                for label, mean in means[:2]
            ]
            count = len(task.targets)
            over = f"mean of {count} languages" if count > 1 else task.targets[0]
            of = ", ".join(filter(None, (task.name, over)))
            found.append(f"{task.measure} ({of}): {', ahead of '.join(best)}")
    return f"Best {'; '.join(found)}." if found else ""


def score_section(tasks: Sequence[Task]) -> Section | None:
    """A table of each task, languages by variants; None without scores."""
    if not tasks:
        return None
    blocks: list[Block] = []
    if len(tasks) > 1 and max(len(task.rows) for task in tasks) > 2:
        blocks.append(_overview(tasks))
    return Section("scores", "Scores", [*blocks, *map(_table, tasks)])


def compute_section(tasks: Sequence[Task], costs: Sequence[Block]) -> Section | None:
    """Score against compute, compute to match, and what the runs have cost; None without any."""
    blocks: list[Block] = []
    for task in tasks:
        if chart := _charts(task):
            blocks.append(chart)
            if task.score.per_cent and (table := _match_table(task)):
                blocks.append(table)
    shares = any(task.score.per_cent for task in tasks)
    matched = any(isinstance(block, Table) for block in blocks)
    text = _LEFT_OUT if blocks and shares and not matched else ""
    blocks += costs
    return Section("compute", "Compute", blocks, text) if blocks else None


# ---- tables


def _overview(tasks: Sequence[Task]) -> Table:
    labels = in_order(label for task in tasks for label in task.labels)
    source = tasks[0].source
    return Table(
        "Mean over languages" + (f" without {source}" if source else ""),
        ["", *map(shown, labels)],
        [
            [
                Cell(task.name or task.measure, f"{task.measure}{', %' * task.score.per_cent}"),
                *(_mean_cell(task, label) for label in labels),
            ]
            for task in tasks
        ],
        note="Bits: the lower the better; all others: the higher the better.",
    )


def _table(task: Task) -> Table:
    columns = [label for label in task.labels if not _spans(label, task)]
    groups = list(dict.fromkeys(label.group for label in columns))
    has_source = task.source in task.rows
    rows = []
    for language in [*([task.source] if has_source else []), *task.targets]:
        row = task.rows[language]
        items = _last(next(iter(row.values())))[0].n
        cells = [cell for group in groups for cell in _group_cells(row, columns, group)]
        rows.append([language, f"{items:,}", *cells])
    several = len(task.targets) > 1
    if several:
        name = f"mean without {task.source}" if has_source else "mean"
        rows.append([name, " ", *(_mean_cell(task, label) for label in columns)])
    counts = sorted({len(seeds) for row in task.rows.values() for seeds in row.values()})
    seeds = " or ".join(map(str, counts))
    note = f"Means of {seeds} seeds; small: the lowest to the highest."
    return Table(
        task.title(task.score.measure),
        ["", "items", *map(shown, columns)],
        rows,
        note="Small: the 95 % interval over the items." if counts == [1] else note,
        last_apart=several,
    )


def _spans(label: Label, task: Task) -> bool:
    """Whether a label without a variant stands for all variants of its run: the source's own pack."""
    groups = [[one for one in row if one.group == label.group] for row in task.rows.values()]
    alone = all(members == [label] for members in groups if label in members)
    others = any(one.variant for members in groups for one in members)
    return not label.variant and alone and others


def _group_cells(row: Row, columns: Sequence[Label], group: str) -> list[Cell]:
    """The cells of one run, or one over all of its columns."""
    columns = [label for label in columns if label.group == group]
    common = Label(group, "")
    if common in row and common not in columns:
        return [_score_cell(row[common], len(columns))]
    return [_score_cell(row[label]) if label in row else Cell("") for label in columns]


def _score_cell(seeds: Seeds, columns: int = 1) -> Cell:
    value, low, high = _summary(seeds)
    return Cell(f"{value:.1f}", f"{low:.1f} to {high:.1f}", columns)


def _mean_cell(task: Task, label: Label) -> Cell:
    mean = task.mean(label)
    return Cell("" if mean is None else f"{mean:.1f}")


def _last(seeds: Seeds) -> list[Score]:
    return [points[-1].score for points in seeds.values()]


def _summary(seeds: Seeds) -> Summary:
    return summarise(_last(seeds))


# ---- against compute


def _charts(task: Task) -> Charts | None:
    curves = {
        language: lines for language in task.targets if (lines := _lines(task.rows[language]))
    }
    if not curves:
        return None
    size, flops = flops_unit(max(x for lines in curves.values() for line in lines for x in line.x))
    unit = " (%)" if task.score.per_cent else ""
    references = _references(task, len(curves) < 3)
    heights = [y for lines in curves.values() for line in lines for y in (*line.lows, *line.highs)]
    y_range = with_room([*heights, *(height for _, height in references)])  # languages compare
    panels = [
        Panel(
            language if len(curves) > 1 else f"{task.measure}{unit}",
            f"compute ({flops})",
            [replace(line, x=[x / size for x in line.x]) for line in lines],
            references,
            y_range,
        )
        for language, lines in curves.items()
    ]
    return Charts(
        f"score-{task.name or task.measure}",
        task.title(f"{task.measure}{unit} against compute"),
        panels,
        3 if len(panels) > 2 else 2,
        note="Compute is that of the adaptation; a language side that was not trained stands at 0. "
        "Bands are the intervals of the table.",
    )


def _lines(row: Row) -> list[Line]:
    """A line for each label whose packs' compute is known; none unless there are two to compare."""
    controls = {label.group: label for label in row if is_control(row[label])}
    looks = label_styles(row)
    curves, starts = [], []
    for label in in_order(row):
        control = controls.get(label.group)
        if label == control:
            starts.append(_line(label, looks, [(0, _summary(row[label]))]))
        elif points := _summaries(row[label]):
            start = [(0, _summary(row[control]))] if control else []
            curves.append(_line(label, looks, [*start, *points]))
    return [*curves, *starts] if len(curves) > 1 else []


def _line(label: Label, looks: dict, points: Sequence[tuple[float, Summary]]) -> Line:
    x, summaries = zip(*points, strict=True)
    return Line(shown(label), looks[label], x, *zip(*summaries, strict=True))


def is_control(seeds: Seeds) -> bool:
    """Whether packs were not trained: the one update of the examples' control has no learning rate."""
    results = [result for points in seeds.values() for result in points]
    return all(result.updates is not None and result.updates <= 1 for result in results)


def _summaries(seeds: Seeds) -> list[tuple[float, Summary]]:
    """FLOPs and score over seeds, at each evaluation that all seeds have."""
    runs = [[point for point in points if point.flops] for points in seeds.values()]
    evaluations = zip(*(reversed(run) for run in runs), strict=False)
    return [
        (fmean(one.flops for one in ones), summarise([one.score for one in ones]))
        for ones in reversed(list(evaluations))
    ]


def _references(task: Task, with_source: bool) -> list[tuple[str, float]]:
    """Chance, and the score in the source language, where all have the same."""
    references = []
    all_seeds = [seeds for row in task.rows.values() for seeds in row.values()]
    chances = {score.chance for seeds in all_seeds for score in _last(seeds)}
    if len(chances) == 1 and None not in chances:
        references.append(("chance", *chances))
    if with_source and task.source in task.rows:
        found = {round(_summary(seeds).value, 1) for seeds in task.rows[task.source].values()}
        references += [(task.source, value) for value in found if len(found) == 1]
    return [(f"{name}, {height:.1f}", height) for name, height in references]


# ---- compute to match


def _match_table(task: Task) -> Table | None:
    """Compute to match, where packs were scored along the way."""
    rows, references = [], []
    for language in task.targets:
        for curves in _comparable_curves(task.rows[language]):
            reference = _reference(curves)
            references.append(shown(reference))
            for label in curves:
                if label != reference:
                    sides = (curves[reference], curves[label])
                    name = Cell(shown(label), language if len(task.targets) > 1 else "")
                    rows.append([name, *_match_cells(*sides, 1.0), *_match_cells(*sides, NEARLY)])
    if not rows:
        return None
    best, nearly = f"best of {references[0]}", f"{100 * NEARLY:.0f} % of it"
    return Table(
        task.title("compute to match"),
        ["", best, "compute", "times less", nearly, "compute", "times less"],
        rows,
        note=f"Compute with which {references[0]} reaches its best score (or {nearly}), over the "
        "compute with which the variant does: above 1 the variant is cheaper. Compute is the "
        f"variant's, that of {references[0]} small below it; between evaluations it is interpolated. "
        "Over several seeds: of the mean curves; small: a 95 % interval by bootstrap over seeds.",
    )


def _comparable_curves(row: Row) -> Iterator[dict[Label, dict[str, Curve]]]:
    """For each run with two variants or more that were scored along the way, their curves by seed."""
    for group in sorted({label.group for label in row}):
        labels = [label for label in in_order(row) if label.group == group]
        control = next((row[label] for label in labels if is_control(row[label])), {})
        trained = [label for label in labels if not is_control(row[label])]
        curves = {label: _curves(row[label], control, shown(label)) for label in trained}
        curves = {label: found for label, found in curves.items() if found}
        if len(curves) > 1:
            yield curves


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
    standard = [label for label in curves if label.variant == "standard"]

    def cost(label: Label) -> float:
        return max(curve.flops[-1] for curve in curves[label].values())

    return standard[0] if standard else max(curves, key=cost)


def _match_cells(
    references: dict[str, Curve], curves: dict[str, Curve], fraction: float
) -> list[Cell]:
    both = [seed for seed in references if seed in curves]
    interval = ""
    if len(both) > 1:
        sides = ([side[seed] for seed in both] for side in (references, curves))
        match, low, high, *_ = compute_to_match_over_seeds(*sides, fraction)
        ends = ("open" if end is None else f"{end:.2f}" for end in (low, high))
        interval = " to ".join(ends) if low or high else ""
    else:
        reference, curve = (next(iter(side.values())) for side in (references, curves))
        match = compute_to_match(reference, curve, fraction)
    return [
        Cell(f"{100 * match.score:.1f} %"),
        Cell(
            "" if match.flops is None else format_flops(match.flops),
            format_flops(match.reference_flops),
        ),
        Cell(match.ratio_in_words(), interval),
    ]
