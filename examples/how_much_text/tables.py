"""The scores of examples/how_much_text/run.sh: starts by amounts of text, and longer training.

    python examples/how_much_text/tables.py OUT

Reads OUT/scores; writes OUT/how_much_text.png. A cell is a mean over the samples of text and pairs, and
for topics over the seeds of the task, with the lowest and the highest of them all; a single score has
its 95 % interval.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from fairseq_minimodel.errors import InputError, print_input_errors_plainly
from fairseq_minimodel.files.atomic import atomic_file
from fairseq_minimodel.files.outputs import PICTURE
from fairseq_minimodel.kinds.scores import Score, read_score, summarise
from fairseq_minimodel.report.charts import style
from fairseq_minimodel.terminal.table import format_table

TASKS = {
    "topics": "SIB-200, topics",
    "retrieval": "Tatoeba, retrieval",
    "loss": "MLM loss of the full model",
}
COMPARED = "sw"  # the language of the grid; the others were trained for longer
NAMES = {
    "focus": "no translations (focus)",
    "words": "a word list",
    "sentences": "sentences by the word list",
    "all": "all pairs",
}


class Place(NamedTuple):
    """Where a pack stands in the grid."""

    start: str
    tokens: int  # of text that it was trained on; 0: the start alone
    updates: int


Cells = dict[Place, list[Score]]


def main(out: Path) -> None:
    scores = read_scores(out)
    for (task, language), cells in scores.items():
        [first, *_] = next(iter(cells.values()))
        print(f"\n{TASKS[task]}, {language}: {first.measure}\n")
        print(by_text(cells) if language == COMPARED else by_updates(cells))
    if ("topics", COMPARED) in scores:
        path = out / "how_much_text.png"
        draw(scores["topics", COMPARED], scores["retrieval", COMPARED], path)
        print(f"\n{path}")


def read_scores(out: Path) -> dict[tuple[str, str], Cells]:
    """By task and language, in the order of TASKS."""
    scores: dict[tuple[str, str], Cells] = defaultdict(lambda: defaultdict(list))
    for task in TASKS:
        for path in sorted((out / "scores").glob(f"{task}:*.json")):
            for row in json.loads(path.read_text(encoding="utf-8")):
                start, tokens, _, updates = Path(row["pack"]).parts[-4:]
                place = Place(start, int(tokens), int(updates))
                scores[task, row["language"]][place].append(read_score(row))
    if not scores:
        raise InputError(f"{out} has no scores: run the example to its end first")
    return scores


def name_of(start: str) -> str:
    return NAMES.get(start) or f"{int(start):,} pairs"


def in_order(starts: set[str]) -> list[str]:
    """Without translations, the word list, then by the number of pairs."""
    return sorted(
        starts,
        key=lambda one: (one.isdigit(), int(one) if one.isdigit() else list(NAMES).index(one)),
    )


def by_text(cells: Cells) -> str:
    amounts = sorted({place.tokens for place in cells})
    rows = []
    for start in in_order({place.start for place in cells}):
        found = {place.tokens: scores for place, scores in cells.items() if place.start == start}
        rows.append([name_of(start), *(shown(found.get(tokens)) for tokens in amounts)])
    return format_table(["", *map(name_of_amount, amounts)], rows)


def by_updates(cells: Cells) -> str:
    [start] = {place.start for place in cells}
    updates = sorted({place.updates for place in cells})
    rows = []
    for tokens in sorted({place.tokens for place in cells} - {0}):
        found = [cells.get(Place(start, tokens if count else 0, count)) for count in updates]
        rows.append([f"{name_of(start)}, {name_of_amount(tokens)}", *map(shown, found)])
    return format_table(["updates", *(f"{count:,}" for count in updates)], rows)


def name_of_amount(tokens: int) -> str:
    return f"{tokens:,} tokens" if tokens else "start alone"


def shown(scores: list[Score] | None) -> str | None:
    return scores and str(summarise(scores))


def draw(topics: Cells, retrieval: Cells, path: Path) -> None:
    """Scores of the starts against pairs, and topics against text."""
    with atomic_file(path, PICTURE) as partial:
        figure = Figure((8, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        pairs = ["focus", *in_order({one.start for one in topics if one.start.isdigit()})]
        for number, (cells, name) in enumerate(((topics, "topics"), (retrieval, "retrieval"))):
            curve(left, number, name, [cells[Place(start, 0, 0)] for start in pairs])
            for start, line in (("words", ":"), ("sentences", "--")):
                listed = summarise(cells[Place(start, 0, 0)]).value
                look = {"color": style(number).colour, "linestyle": line, "linewidth": 1.2}
                left.axhline(listed, label=f"{name}, {name_of(start)}", **look)
        left.set_xticks(range(len(pairs)), ["0", *(f"{int(one):,}" for one in pairs[1:])])
        left.set(title="start alone, no training", xlabel="sentence pairs", ylabel="%")
        last = {place._replace(updates=0): scores for place, scores in topics.items()}
        amounts = sorted({place.tokens for place in last})
        for number, start in enumerate(in_order({one.start for one in last if one.tokens})):
            found = [last[Place(start, tokens, 0)] for tokens in amounts]
            curve(right, number, name_of(start), found)
        right.set_xticks(range(len(amounts)), [f"{tokens:,}" for tokens in amounts])
        right.set(title="topics, with MLM training", xlabel="tokens of text")
        for axes in (left, right):
            axes.set_ylim(0, 100)
            axes.grid(axis="y", alpha=0.2)
            axes.spines[["top", "right"]].set_visible(False)
            below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18), "ncols": 2}
            axes.legend(frameon=False, fontsize="small", **below)
        figure.savefig(partial, format="png", dpi=150)


def curve(axes, number: int, name: str, points: list[list[Score]]) -> None:
    look, found = style(number), [summarise(scores) for scores in points]
    places = range(len(found))
    axes.plot(
        places, [one.value for one in found], color=look.colour, marker=look.marker, label=name
    )
    lows, highs = [one.low for one in found], [one.high for one in found]
    axes.fill_between(places, lows, highs, color=look.colour, alpha=0.15, linewidth=0)


if __name__ == "__main__":
    print_input_errors_plainly()
    main(Path(sys.argv[1]))
