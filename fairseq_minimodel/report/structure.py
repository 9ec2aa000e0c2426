"""The structure that was chosen for a task, as text and as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch
from matplotlib.path import Path as Curve

from ..files.atomic import atomic_file
from ..files.outputs import PICTURE, check_file
from ..modules.structure import EDGES, OPERATIONS, describe, node_name
from ..packs.module import load_module, structure_of

# Okabe and Ito (2008), as in `curves.py`; the first two, which compute nothing, are greys
_COLOURS = ("#bbbbbb", "#555555", "#D55E00", "#009E73", "#0072B2", "#CC79A7")
_RADIUS = 0.6
_PLACES = ((0, 1.7), (0, -1.7), (3.6, 0), (7.2, 0), (10.8, 0))  # of the nodes, by number
# What pulls the curves of edges that would else run through a node.
_CONTROLS = {
    (0, 3): (3.6, 3.1), (1, 3): (3.6, -3.1), (0, 4): (5.4, 5.4), (1, 4): (5.4, -5.4),
    (2, 4): (7.2, 2.4),
}  # fmt: skip


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
    for edge, operation in zip(EDGES, choice, strict=True):
        _draw_edge(axes, edge, operation)
    for node, place in enumerate(_PLACES):
        axes.add_patch(Circle(place, _RADIUS, facecolor="white", edgecolor="black", zorder=3))
        axes.text(*place, node_name(node), ha="center", va="center", fontsize=13, zorder=4)
    axes.text(
        12,
        -3.85,
        "Both inputs are the cell's input, projected. A node is the sum of its edges; the mean of the "
        "nodes, projected back, is added to the cell's input.",
        ha="right",
        fontsize=10.5,
        color="#555555",
    )
    with atomic_file(path, PICTURE) as temporary:
        figure.savefig(temporary, format="png")


def _draw_edge(axes: Axes, edge: tuple[int, int], operation: int) -> None:
    start, end = (numpy.array(_PLACES[node], dtype=float) for node in edge)
    control = numpy.array(_CONTROLS.get(edge, (start + end) / 2))
    start += _towards(start, control)
    end += _towards(end, control)
    colour = _COLOURS[operation]
    axes.add_patch(
        FancyArrowPatch(
            path=Curve([start, control, end], [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3]),
            arrowstyle="-|>",
            mutation_scale=18,
            linewidth=1 if operation == 0 else 2,
            linestyle=(0, (5, 4)) if operation == 0 else "solid",
            color=colour,
        )
    )
    middle = start / 4 + control / 2 + end / 4
    axes.text(
        *middle,
        OPERATIONS[operation],
        ha="center",
        va="center",
        fontsize=12,
        color="#888888" if operation == 0 else colour,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        zorder=2,
    )


def _towards(place: numpy.ndarray, other: numpy.ndarray) -> numpy.ndarray:
    """From the centre of a node to its rim."""
    way = other - place
    return way / numpy.linalg.norm(way) * (_RADIUS + 0.05)
