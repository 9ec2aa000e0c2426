"""Charts: one function draws a panel of curves, as SVG for a page and as PNG.

In the SVG, letters and axes have the colour and the font of the page's text, in its light and dark
scheme; the colours of the curves have a contrast of 3 or more with both.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..cost.compute_to_match import Curve
from ..errors import InputError
from ..files.atomic import atomic_file
from ..files.outputs import PICTURE
from ..terminal.table import flops_unit

# Those of Okabe and Ito (2008), the light ones darkened: with any common colour blindness they are
# told apart, with the markers also in grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b8578f", "#b98100", "#3d93c9")
INK, GREY = "#444441", "#7f7d77"
_DASHES = ("-", "--", ":", "-.")
_STEPS = (1, 2, 2.5, 5, 10)  # of the numbers at an axis
_MOST_MARKERS = 12  # on a line
_MOST_POINTS = 300  # of a line
_WIDTH, _HEIGHT, _DOTS = 4, 2.5, 250  # inches, and dots an inch of a PNG
_STYLE = {
    "font.size": 9.5, "text.parse_math": False, "lines.markersize": 4.5, "lines.linewidth": 1.6,
    "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True, "axes.xmargin": 0.03,
    "axes.titlesize": "medium", "axes.titlelocation": "left", "xaxis.labellocation": "right",
    "grid.color": INK, "grid.alpha": 0.18, "axes.edgecolor": INK, "axes.labelcolor": INK,
    "text.color": INK, "xtick.labelcolor": INK, "ytick.labelcolor": INK, "legend.frameon": False,
    "figure.constrained_layout.use": True, "svg.fonttype": "none",
    **{f"axes.spines.{side}": False for side in ("top", "right", "left")},
    **{f"{axis}tick.{which}.size": 0 for axis in "xy" for which in ("major", "minor")},
}  # fmt: skip
# What matplotlib writes for a file of its own, and a page has already or must not have twice.
_NOT_IN_A_PAGE = re.compile(
    r'<metadata>.*?</metadata>|<style.*?</style>| xmlns(:\w+)?="[^"]*"| id="[A-Za-z2.]+_\d+"'
    r'| font-family: [^;"]*;|(?<=\.\d\d)\d+',  # and more digits than a screen shows
    re.DOTALL,
)


class Style(NamedTuple):
    """How a curve looks: any two of colour, marker and dashes tell most curves apart."""

    colour: str
    marker: str
    dashes: str


def style(place: int | None, turns: int = 0) -> Style:
    """The style of the curve with this number, the first 24 differ; None: of what was not trained.

    `turns` changes the dashes.
    """
    if place is None:
        return Style(GREY, "X", _DASHES[(2 + turns) % len(_DASHES)])
    turn, colour = divmod(place, len(COLOURS))
    marker = "os^DvP"[(place + turn) % 6]
    return Style(COLOURS[colour], marker, _DASHES[(turn + turns) % len(_DASHES)])


@dataclass(frozen=True)
class Line:
    """One line of a panel."""

    name: str  # for the legend, where curves of one name stand once
    style: Style
    x: Sequence[float]
    y: Sequence[float]
    lows: Sequence[float] = ()  # of an interval at each point
    highs: Sequence[float] = ()
    faint: bool = False  # drawn thin and without markers, as what lies behind another curve


@dataclass(frozen=True)
class Panel:
    """A pair of axes with curves in it."""

    title: str
    x_label: str  # with the unit
    lines: Sequence[Line]
    references: Sequence[tuple[str, float]] = ()  # names and heights of horizontal lines
    y_range: tuple[float, float] | None = None  # None: as the curves need it

    @property
    def description(self) -> str:
        """What a reader hears who does not see it."""
        ends = [f"{line.name} ends at {line.y[-1]:.4g}" for line in self.lines if not line.faint]
        heights = [f"{name} {height:.4g}" for name, height in self.references]
        return f"{self.title}, against {self.x_label}. " + "; ".join([*ends, *heights]) + "."


def thinned(points: Sequence) -> list:
    """At most 300 of the points, evenly spread, the first and the last among them."""
    count = min(len(points), _MOST_POINTS)
    return [points[round(place * (len(points) - 1) / max(1, count - 1))] for place in range(count)]


def with_room(values: Sequence[float]) -> tuple[float, float]:
    """A range of an axis that holds the values, with a little room at its ends."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.1
    return low - room, high + room


def svg(panel: Panel, name: str) -> Markup:
    """The panel as an <svg> element for a page of HTML in which no other has this name."""
    file = io.StringIO()
    _draw(panel, file, "svg", salt=name)
    drawn = _NOT_IN_A_PAGE.sub("", file.getvalue().partition("<svg")[2])
    drawn = drawn.replace("xlink:href", "href").replace(INK, "currentColor")
    label = Markup('<svg role="img" aria-label="{}"').format(panel.description)
    return label + Markup(drawn)


def draw_png(panel: Panel, path: str | Path, title: str) -> None:
    """Draw a panel under a title as a PNG that is 1000 pixels wide. Atomic."""
    with atomic_file(path, PICTURE) as partial:
        _draw(panel, partial, "png", title)


def _draw(panel: Panel, file: Path | TextIO, form: str, title: str = "", salt: str = "") -> None:
    """Draw a panel with its legend; `salt`: what the names in an SVG are made of."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure = Figure((_WIDTH, _HEIGHT))
        axes = figure.subplots()
        names = {}
        for line in panel.lines:
            (names[line.name],) = axes.plot(
                line.x,
                line.y,
                color=line.style.colour,
                linestyle=line.style.dashes,
                marker="" if line.faint else line.style.marker,
                markevery=math.ceil(len(line.x) / _MOST_MARKERS),
                markeredgewidth=0,
                alpha=0.45 if line.faint else 1,
                zorder=2 if line.faint else 3,
            )
            if line.lows:
                shade = {"color": line.style.colour, "alpha": 0.15, "linewidth": 0}
                axes.fill_between(line.x, line.lows, line.highs, **shade)
        for place, (name, height) in enumerate(panel.references):
            dashes = ("--", "-.", ":")[place % 3]
            names[name] = axes.axhline(height, color=GREY, linestyle=dashes, linewidth=1, zorder=1)
        axes.set(title=panel.title, xlabel=panel.x_label)
        if panel.y_range:
            axes.set_ylim(*panel.y_range)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        axes.set_xlim(left=min(0, axes.get_xlim()[0]))
        whole = all(float(x).is_integer() for line in panel.lines for x in line.x)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=_STEPS, integer=whole))
        if axes.get_xlim()[1] >= 1000:
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        columns = max(1, int(_WIDTH / (0.55 + 0.08 * max(map(len, names)))))
        rows = math.ceil(len(names) / columns)
        figure.legend(names.values(), names.keys(), loc="outside lower left", ncols=columns)
        figure.suptitle(title, x=0.01, ha="left")
        figure.set_figheight(_HEIGHT + 0.2 * rows + 0.3 * bool(title))
        page = {"transparent": True} if form == "svg" else {"dpi": _DOTS}
        figure.savefig(file, format=form, **page)


def draw_score_against_flops(
    curves: Sequence[Curve],
    path: str | Path,
    *,
    references: Mapping[str, float] | None = None,
    score_label: str = "accuracy",
    title: str = "",
) -> None:
    """Draw the curves over their training compute, as a PNG that is 1000 pixels wide.

    Args:
        curves: each gets a colour, a marker, a legend entry, and a band from its lows to its highs.
        path: of the PNG, written as a whole or not at all.
        references: name to score, drawn as horizontal lines: chance, source language, control.
        score_label: name of the score, which is shown in per cent.
        title: above the picture.

    Raises:
        InputError: no curves.
    """
    if not curves:
        raise InputError("0 curves: a picture takes at least 1")
    size, unit = flops_unit(max(curve.flops[-1] for curve in curves))
    lines = []
    for place, curve in enumerate(curves):
        scores = (curve.scores, curve.lows, curve.highs)
        y, lows, highs = ([100 * score for score in some] for some in scores)
        x = [flops / size for flops in curve.flops]
        lines.append(Line(curve.name, style(place), x, y, lows, highs))
    named = (references or {}).items()
    heights = [(f"{name}, {100 * score:.1f}", 100 * score) for name, score in named]
    x_label = f"training compute ({unit})"
    draw_png(Panel(f"{score_label} (%)", x_label, lines, heights), path, title)
