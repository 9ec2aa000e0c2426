"""Scores: the result in a sentence, tables by language, score against compute, compute to match."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ..cost.compute_to_match import (
    NEARLY,
    Curve,
    compute_to_match,
    compute_to_match_over_seeds,
    score_curve,
)
from ..kinds.scores import Score, Summary, summarise
from ..terminal.table import flops_unit, format_flops
from .blocks import Block, Cell, Charts, Folded, Section, Table, in_order, label_styles, shown
from .charts import Line, Panel, with_room
from .gather import Item, Label, Run

Seeds = dict[str, list[Item]]  # scores by seed, those of one pack or of several on its way
Row = dict[Label, Seeds]


@dataclass(frozen=True)
class Task:
    """All scores of one task by one measure."""

    name: str  # empty if nothing says it
    source: str | None  # the language that the task is trained in
    score: Score  # one of them
    rows: dict[str, Row]  # by language

    @property
    def measure(self) -> str:
        """What is measured, with its unit."""
        return f"{self.score.metric}{' (%)' * self.score.per_cent}"

    @property
    def targets(self) -> list[str]:
        return sorted(language for language in self.rows if language != self.source)

    @property
    def languages(self) -> list[str]:
        """The source, where it was scored, and the targets."""
        return [*([self.source] if self.source in self.rows else []), *self.targets]

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
    for result in sorted(results, key=lambda one: one.cost.updates or 0):
        rows: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        task = Task(result.task, source, result.content, rows)
        task = tasks.setdefault((task.name, result.content.metric), task)
        points = task.rows[result.language][result.label][result.seed]
        if points and (points[-1].cost.updates or 0) == (result.cost.updates or 0):
            points.pop()  # what was scored twice counts once
        points.append(result)
    return [tasks[key] for key in sorted(tasks)]


def headline(tasks: Sequence[Task]) -> str:
    """The result in a sentence: what scores best in each task, and the next after it; or nothing."""
    found = []
    for task in tasks:
        means = [(label, mean) for label in task.labels if (mean := task.mean(label)) is not None]
        means.sort(key=lambda one: one[1], reverse=task.score.per_cent)
        unit, count = "%" if task.score.per_cent else "bits", len(task.targets)
        best = [f"{shown(label) or 'the pack'} with {mean:.1f} {unit}" for label, mean in means[:2]]
        if best:
            over = f"mean of {count} languages" if count > 1 else task.targets[0]
            of = ", ".join(filter(None, (task.name, over)))
            found.append(f"{task.score.metric} ({of}): {', ahead of '.join(best)}")
    return f"Best {'; '.join(found)}." if found else ""


def score_section(tasks: Sequence[Task]) -> Section | None:
    """A table of each task, languages by variants; None without scores."""
    if not tasks:
        return None
    tables = [block for task in tasks for block in (_table(task), *_of_labels(task))]
    return Section("scores", "Scores", tables)


def compute_section(tasks: Sequence[Task], costs: Sequence[Block]) -> Section | None:
    """Score against compute, compute to match, and what the runs have cost; None without any."""
    blocks: list[Block] = []
    for task in tasks:
        if chart := _charts(task):
            blocks.append(chart)
            if task.score.per_cent and (table := _match_table(task)):
                blocks.append(table)
    blocks += costs
    return Section("compute", "Compute", blocks) if blocks else None


# ---- tables


def _table(task: Task) -> Table:
    common = [label for label in task.labels if _is_common(label, task)]
    columns = [label for label in task.labels if label not in common]
    rows: list[list[Cell]] = []
    for language in task.languages:
        row = task.rows[language]
        of_all = {label.group: row[label] for label in common if label in row}
        found = [row.get(label, of_all.get(label.group)) for label in columns]
        items = _last(next(iter(row.values())))[0].n
        rows.append([language, f"{items:,}", *map(_score_cell, found)])
    if len(task.targets) > 1:
        name = f"mean without {task.source}" if task.source in task.rows else "mean"
        means = map(task.mean, columns)
        rows.append([name, " ", *("" if mean is None else f"{mean:.1f}" for mean in means)])
    counts = sorted({len(seeds) for row in task.rows.values() for seeds in row.values()})
    seeds = " or ".join(map(str, counts))
    note = f"Means of {seeds} seeds; small: the lowest to the highest."
    if counts == [1]:
        note = "Small: the 95 % interval over the items."
    note += " A pack of no variant stands in all columns of its run." if common else ""
    headers = ["", "items", *map(shown, columns)]
    return Table(task.title(task.score.measure), headers, rows, note)


def _of_labels(task: Task) -> Iterator[Folded]:
    """F1 of each label, where that was measured: a table for each variant, labels by languages."""
    tables = []
    for label in task.labels:
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        languages = [language for language in task.languages if label in task.rows[language]]
        for language in languages:
            for score in _last(task.rows[language][label]):
                for name, numbers in score.labels.items():
                    found[name][language].append(100 * numbers["f1"])
        rows = [
            [name, *(f"{fmean(of[one]):.1f}" if one in of else "" for one in languages)]
            for name, of in sorted(found.items())
        ]
        note = "F1 in per cent, means over seeds; a dash: neither the data nor the model has it."
        tables.append(Table(shown(label) or task.score.metric, ["", *languages], rows, note))
    tables = [table for table in tables if table.rows]
    if tables:
        yield Folded(task.title("each label"), tables)


def _is_common(label: Label, task: Task) -> bool:
    """Whether a pack of no variant stands for all variants of its run, as that of the source does."""
    groups = [[one for one in row if one.group == label.group] for row in task.rows.values()]
    alone = all(members == [label] for members in groups if label in members)
    return not label.variant and alone and any(one.variant for some in groups for one in some)


def _score_cell(seeds: Seeds | None) -> Cell:
    if seeds is None:
        return ""
    value, low, high = _summary(seeds)
    return f"{value:.1f}", f"{low:.1f} to {high:.1f}"


def _last(seeds: Seeds) -> list[Score]:
    return [points[-1].content for points in seeds.values()]


def _summary(seeds: Seeds) -> Summary:
    return summarise(_last(seeds))


# ---- against compute


def _charts(task: Task) -> Charts | None:
    found = {language: _lines(task.rows[language]) for language in task.targets}
    found = {language: lines for language, lines in found.items() if lines}
    if not found:
        return None
    lines = [line for some in found.values() for line in some]
    size, flops = flops_unit(max(x for line in lines for x in line.x))
    references = _references(task, with_source=len(found) < 3)
    heights = [y for line in lines for y in (*line.lows, *line.highs)]
    y_range = with_room([*heights, *(height for _, height in references)])  # languages compare
    panels = []
    for language, lines in found.items():
        title = language if len(found) > 1 else task.measure
        lines = [replace(line, x=[x / size for x in line.x]) for line in lines]
        panels.append(Panel(title, f"compute ({flops})", lines, references, y_range))
    return Charts(
        f"score-{task.name or task.score.metric}",
        task.title(f"{task.measure} against compute"),
        panels,
        "Compute is that of the adaptation; a language side that was not trained stands at 0. "
        "Bands are the intervals of the table.",
    )


def _lines(row: Row) -> list[Line]:
    """A line for each label whose packs' compute is known; none unless there are two to compare."""
    controls = [label for label in in_order(row) if is_control(row[label])]
    starts = {label.group: [(0, _summary(row[label]))] for label in controls}
    points = {label: _summaries(row[label]) for label in in_order(row) if label not in controls}
    points = {label: found for label, found in points.items() if found}
    if len(points) < 2:
        return []
    looks, lines = label_styles(row), []
    for label, found in [*points.items(), *((label, []) for label in controls)]:
        x, summaries = zip(*starts.get(label.group, []), *found, strict=True)
        lines.append(Line(shown(label), looks[label], x, *zip(*summaries, strict=True)))
    return lines


def is_control(seeds: Seeds) -> bool:
    """Whether packs were not trained: the one update of the examples' control has no learning rate."""
    updates = [result.cost.updates for points in seeds.values() for result in points]
    return all(count is not None and count <= 1 for count in updates)


def _summaries(seeds: Seeds) -> list[tuple[float, Summary]]:
    """FLOPs and score over seeds, at each evaluation that all seeds have."""
    runs = [[point for point in points if point.cost.flops] for points in seeds.values()]
    evaluations = zip(*(reversed(run) for run in runs), strict=False)
    return [
        (fmean(one.cost.flops for one in ones), summarise([one.content for one in ones]))
        for ones in reversed(list(evaluations))
    ]


def _references(task: Task, with_source: bool) -> list[tuple[str, float]]:
    """Chance, and the score in the source language, where all have the same."""
    scores = [_last(seeds) for row in task.rows.values() for seeds in row.values()]
    own = task.rows.get(task.source, {}).values() if with_source else ()
    found = [("chance", score.chance) for some in scores for score in some]
    found += [(task.source, round(_summary(seeds).value, 1)) for seeds in own]
    names = [name for name, _ in {*found}]
    return [
        (f"{name}, {height:.1f}", height)
        for name, height in dict.fromkeys(found)
        if names.count(name) == 1 and height is not None
    ]


# ---- compute to match


def _match_table(task: Task) -> Table | None:
    """Compute to match, where packs were scored along the way."""
    rows, name = [], ""
    for language in task.targets:
        for curves in _comparable_curves(task.rows[language]):
            reference = _reference(curves)
            name = name or shown(reference)
            for label in curves:
                if label != reference:
                    sides = curves[reference], curves[label]
                    first = shown(label), language if len(task.targets) > 1 else ""
                    rows.append([first, *_match_cells(*sides, 1.0), *_match_cells(*sides, NEARLY)])
    if not rows:
        return None
    nearly = f"{100 * NEARLY:.0f} % of it"
    return Table(
        task.title("compute to match"),
        ["", f"best of {name}", "compute", "times less", nearly, "compute", "times less"],
        rows,
        f"Compute with which {name} reaches its best score (or {nearly}), over the "
        "compute with which the variant does: above 1 the variant is cheaper. Compute is the "
        f"variant's, that of {name} small below it; between evaluations it is interpolated. "
        "Over several seeds: of the mean curves; small: a 95 % interval by bootstrap over seeds.",
    )


def _comparable_curves(row: Row) -> Iterator[dict[Label, dict[str, Curve]]]:
    """For each run with two variants or more that were scored along the way, their curves by seed."""
    for group in sorted({label.group for label in row}):
        seeds_of = {label: row[label] for label in in_order(row) if label.group == group}
        control = next((seeds for seeds in seeds_of.values() if is_control(seeds)), {})
        starts = {seed: points[-1].content.value / 100 for seed, points in control.items()}
        found: dict[Label, dict[str, Curve]] = defaultdict(dict)
        for label, seeds in seeds_of.items():
            for seed, points in seeds.items():
                known = [
                    (one.cost.flops, one.content.value / 100) for one in points if one.cost.flops
                ]
                if len(known) > 1 and not is_control(seeds):
                    found[label][seed] = score_curve(shown(label), known, starts.get(seed))
        if len(found) > 1:
            yield found


def _reference(curves: dict[Label, dict[str, Curve]]) -> Label:
    """What the others are measured by: Standard, or else what has cost most."""
    cost = {label: max(one.flops[-1] for one in found.values()) for label, found in curves.items()}
    return max(curves, key=lambda label: (label.variant == "standard", cost[label]))


def _match_cells(
    references: dict[str, Curve], curves: dict[str, Curve], fraction: float
) -> list[Cell]:
    both = [(references[seed], curves[seed]) for seed in references if seed in curves]
    interval = ""
    if len(both) > 1:
        match, *ends, _, _ = compute_to_match_over_seeds(*zip(*both, strict=True), fraction)
        if any(ends):
            interval = " to ".join("open" if end is None else f"{end:.2f}" for end in ends)
    else:
        reference, curve = (next(iter(side.values())) for side in (references, curves))
        match = compute_to_match(reference, curve, fraction)
    flops = "" if match.flops is None else format_flops(match.flops)
    return [
        f"{100 * match.score:.1f} %",
        (flops, format_flops(match.reference_flops)),
        (match.ratio_in_words(), interval),
    ]
