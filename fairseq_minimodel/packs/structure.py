"""The structure that was chosen for a task, as text and as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch

from ..files.atomic import atomic_file
from ..files.outputs import PICTURE, check_file
from ..modules.tams import EDGES, OPERATIONS, describe, node_name
from .module import load_module, structure_of

# Okabe and Ito (2008), as in `report/charts.py`; the first two, which compute nothing, are greys
_COLOURS = ("#bbbbbb", "#555555", "#D55E00", "#009E73", "#0072B2", "#CC79A7")
_RADIUS = 0.6
_PLACES = ((0, 1.7), (0, -1.7), (3.6, 0), (7.2, 0), (10.8, 0))  # of the nodes, by number
_NOTE = (
    "The inputs are two projections of the cell's input. A node is the sum of its edges; the mean of "
    "the nodes, projected back, is added to the cell's input."
)
# How far the curves of edges that would else run through a node bend, for their length.
_BENDS = {(0, 3): -0.3, (1, 3): 0.3, (0, 4): -0.42, (1, 4): 0.42, (2, 4): -0.33}


def structure(module: Path, drawing: Path | None) -> None:
    """Print the structure that a task module has chosen, and draw it into a file if one is given.

    Raises:
        InputError: the module has no such structure, or something else stands at `drawing`.
    """
    if drawing:
        check_file(drawing, PICTURE)
    choice = structure_of(load_module(module))
    print(describe(choice))
    if drawing:
        draw_structure(choice, drawing)
        print(f"drawn: {drawing}")


def draw_structure(choice: Sequence[int], path: str | Path) -> None:
    """Draw a cell, as a PNG of 1200 x 720 pixels.

    Args:
        choice: an operation for each edge, as `Structure.chosen` has it.
        path: of the PNG, written as a whole or not at all.
    """
    figure = Figure(figsize=(12, 7.2), dpi=100)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set_axis_off()
    axes.set(xlim=(-1, 12), ylim=(-4.0, 3.5), aspect="equal")
    circles = [Circle(place, _RADIUS, fc="white", ec="black", zorder=3) for place in _PLACES]
    for node, circle in enumerate(circles):
        axes.add_patch(circle)
        axes.text(*circle.center, node_name(node), ha="center", va="center", fontsize=13, zorder=4)
    for (source, target), operation in zip(EDGES, choice, strict=True):
        colour, nothing = _COLOURS[operation], operation == 0
        bend = _BENDS.get((source, target), 0)
        (x, y), (end_x, end_y) = _PLACES[source], _PLACES[target]
        axes.add_patch(FancyArrowPatch(
            _PLACES[source], _PLACES[target], patchA=circles[source], patchB=circles[target],
            arrowstyle="-|>", connectionstyle=f"arc3,rad={bend}", mutation_scale=18, color=colour,
            linewidth=1 if nothing else 2, linestyle=(0, (5, 4)) if nothing else "solid",
        ))  # fmt: skip
        middle = (x + end_x + bend * (end_y - y)) / 2, (y + end_y - bend * (end_x - x)) / 2
        axes.text(
            *middle, OPERATIONS[operation], ha="center", va="center", fontsize=12, zorder=2,
            color="#888888" if nothing else colour,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        )  # fmt: skip
    axes.text(12, -3.85, _NOTE, ha="right", fontsize=10.5, color="#555555")
    with atomic_file(path, PICTURE) as temporary:
        figure.savefig(temporary, format="png")
