"""Charts: panels of curves, as SVG inside a page and as PNG, both drawn by one function.

In the SVG colours are variables of the page's style sheet, so that they follow its light or dark
scheme, letters are the page's own, and titles and legend are left to the page: they wrap there.
"""

import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter, MaxNLocator

from ..files.atomic import atomic_file
from ..files.outputs import PICTURE

# Okabe and Ito (2008): told apart with any common colour blindness, and in grey by their markers.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK, RULE, GREY = "#444441", "#deddd8", "#75756f"
VARIABLES = {
    **{colour: f"--curve-{place}" for place, colour in enumerate(COLOURS)},
    **{INK: "--chart-ink", RULE: "--chart-rule", GREY: "--curve-control"},
}
# matplotlib's markers and lines, and what stands for them in the page's legend.
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "×", "": ""}
DASHES = {"-": "─", "--": "╌", ":": "┈", "-.": "╌·"}
_MOST_MARKERS = 12  # on a line
_MOST_POINTS = 300  # of a line
_WIDTH = 1.6  # of a line, in points
# Inches of a panel, by how many stand side by side where there is room: letters keep their size.
_SIZES = {1: (5, 2.6), 2: (4.1, 2.6), 3: (3.1, 2.2)}
# What matplotlib writes for a file of its own, and a page has already or must not have twice.
_NOT_IN_A_PAGE = re.compile(
    r'<metadata>.*?</metadata>|<style.*?</style>| xmlns(:\w+)?="[^"]*"| id="[A-Za-z2.]+_\d+"'
    r'| font-family: [^;"]*;|(?<=\.\d\d)\d+',  # and more digits than a screen shows
    re.DOTALL,
)


class Style(NamedTuple):
    """How a curve looks: by colour, marker and dashes, any two of which tell most curves apart."""

    colour: str
    marker: str
    dashes: str

    @property
    def variable(self) -> str:
        """The colour's name in the page."""
        return VARIABLES[self.colour]

    @property
    def glyphs(self) -> str:
        """A picture of the line, in letters."""
        return DASHES[self.dashes] + MARKERS[self.marker] + DASHES[self.dashes]

    def turned(self, turns: int) -> "Style":
        """The same colour and marker with other dashes."""
        names = list(DASHES)
        return self._replace(dashes=names[(names.index(self.dashes) + turns) % len(names)])


CONTROL = Style(GREY, "X", ":")


def style(place: int) -> Style:
    """The style of the curve with this number; the first 24 differ."""
    turn, colour = divmod(place, len(COLOURS))
    return Style(COLOURS[colour], "os^DvP"[(place + turn) % 6], "-").turned(turn)


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Attributes:
        name: for the legend, where curves of one name stand once.
        x, y: its points.
        lows, highs: ends of an interval at each point; empty if there are none.
        faint: drawn thin and without markers, as what lies behind another curve.
    """

    name: str
    style: Style
    x: Sequence[float]
    y: Sequence[float]
    lows: Sequence[float] = ()
    highs: Sequence[float] = ()
    faint: bool = False


@dataclass(frozen=True)
class Panel:
    """A pair of axes with curves in it.

    Attributes:
        title: what stands above it.
        x_label: with the unit.
        references: names and heights of horizontal lines.
        y_range: of the axis; None: as the curves need it.
        log_x: whether the axis below is logarithmic.
    """

    title: str
    x_label: str
    lines: Sequence[Line]
    references: Sequence[tuple[str, float]] = ()
    y_range: tuple[float, float] | None = None
    log_x: bool = False

    @property
    def description(self) -> str:
        """What a reader hears who does not see it."""
        ends = [f"{line.name} ends at {line.y[-1]:.4g}" for line in self.lines if not line.faint]
        heights = [f"{name} {height:.4g}" for name, height in self.references]
        return f"{self.title}, against {self.x_label}. " + "; ".join([*ends, *heights]) + "."


def legend_of(panels: Iterable[Panel]) -> list[tuple[str, Style]]:
    """Each name in the panels with its style, once; the references last."""
    panels = list(panels)
    found = {line.name: line.style for panel in panels for line in panel.lines}
    for panel in panels:
        found |= {name: _of_reference(place) for place, (name, _) in enumerate(panel.references)}
    return list(found.items())


def thinned(points: Sequence) -> list:
    """At most 300 of the points, evenly spread, the first and the last among them."""
    count = min(len(points), _MOST_POINTS)
    return [points[round(place * (len(points) - 1) / max(1, count - 1))] for place in range(count)]


def with_room(values: Sequence[float]) -> tuple[float, float]:
    """A range of an axis that holds the values, with a little room at its ends."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.1
    return low - room, high + room


def svg(panel: Panel, name: str, columns: int) -> Markup:
    """The panel as an <svg> element for a page of HTML.

    Args:
        name: which no other panel of the page has.
        columns: panels side by side, 2 or 3.
    """
    figure = Figure(figsize=_SIZES[columns], layout="constrained")
    _draw(figure.subplots(), panel)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True)
    drawn = _NOT_IN_A_PAGE.sub("", file.getvalue().partition("<svg")[2])
    drawn = drawn.replace("xlink:href", "href")
    for colour, variable in VARIABLES.items():
        drawn = drawn.replace(colour, f"var({variable})")
    label = Markup('<svg role="img" aria-label="{}"').format(panel.description)
    return label + Markup(drawn)


def draw_png(panels: Sequence[Panel], path: str | Path, title: str, columns: int) -> None:
    """Draw panels side by side, with a title and a legend, as a PNG of 200 dots an inch. Atomic."""
    width, height = _SIZES[columns]
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    names, styles = zip(*legend_of(panels), strict=True)
    legend_columns = int(columns * width / (0.6 + 0.085 * max(map(len, names))))
    legend_columns = max(1, min(len(names), legend_columns))
    height = rows * (height + 0.3) + 0.5 + 0.2 * math.ceil(len(names) / legend_columns)
    figure = Figure(figsize=(columns * width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08, hspace=0.04, wspace=0.03)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for one, panel in zip(axes, panels, strict=False):
        _draw(one, panel)
        one.set_title(_plain_text(panel.title), loc="left", fontsize=10, color=INK)
    for empty in axes[len(panels) :]:
        empty.set_visible(False)
    if title:
        figure.suptitle(_plain_text(title), x=0.01, ha="left", fontsize=13)
    figure.legend(
        [Line2D([], [], marker=one.marker, markersize=4.5, **_look(one)) for one in styles],
        [_plain_text(name) for name in names],
        loc="outside lower left",
        ncols=legend_columns,
        frameon=False,
        fontsize=9,
    )
    with atomic_file(path, PICTURE) as partial:
        figure.savefig(partial, format="png", dpi=200)


def _draw(axes: Axes, panel: Panel) -> None:
    for line in panel.lines:
        axes.plot(
            line.x,
            line.y,
            **_look(line.style, line.faint),
            alpha=0.45 if line.faint else 1,
            marker="" if line.faint else line.style.marker,
            markersize=4.5,
            markeredgewidth=0,
            markevery=math.ceil(len(line.x) / _MOST_MARKERS),
            zorder=2 if line.faint else 3,
        )
        if line.lows:
            axes.fill_between(
                line.x, line.lows, line.highs, color=line.style.colour, alpha=0.15, linewidth=0
            )
    for place, (_, height) in enumerate(panel.references):
        axes.axhline(height, **_look(_of_reference(place), thin=True), zorder=1)
    if panel.y_range:
        axes.set_ylim(*panel.y_range)
    axes.margins(x=0.03)
    axes.set_xlabel(panel.x_label, loc="right", fontsize=9, color=INK)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if panel.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(LogFormatter())
        axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    else:
        axes.set_xlim(left=min(0, axes.get_xlim()[0]))
        whole = all(float(x).is_integer() for line in panel.lines for x in line.x)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=whole))
        if axes.get_xlim()[1] >= 1000:
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.tick_params(which="both", length=0, labelsize=9, labelcolor=INK, pad=4)
    axes.grid(axis="y", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(color=INK, linewidth=0.7)


def _look(style: Style, thin: bool = False) -> dict[str, object]:
    return {
        "color": style.colour,
        "linewidth": 0.9 if thin else _WIDTH,
        "linestyle": style.dashes,
    }


def _of_reference(place: int) -> Style:
    return Style(GREY, "", ("--", "-.", ":")[place % 3])


def _plain_text(text: str) -> str:
    """matplotlib would set what stands between dollars as a formula."""
    return text.replace("$", r"\$")
