"""Charts of the report: panels of curves, as SVG inside the page and as PNG beside it.

Both are drawn by the same function. In the SVG colours are variables of the page's style sheet, so that
they follow its light or dark scheme, letters are the page's own, and the legend is left to the page: it
wraps there as the screen is wide. The PNG has it all, in light colours.
"""

import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from ..files.atomic import atomic_file
from ..files.outputs import PICTURE
from .curves import COLOURS

INK, FAINT, CONTROL = "#444441", "#deddd8", "#75756f"
# Each colour of a chart, and the variable of the page that stands for it.
VARIABLES = {
    **{colour.lower(): f"--curve-{index}" for index, colour in enumerate(COLOURS)},
    INK: "--chart-ink",
    FAINT: "--chart-rule",
    CONTROL: "--curve-control",
}
# matplotlib's markers, and the same as paths of SVG around (0, 0), for legends of the page.
MARKERS = {
    "o": "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
    "s": "M-2.7-2.7h5.4v5.4h-5.4z",
    "^": "M0-3.4L3.4 2.8H-3.4z",
    "D": "M0-3.9L3.9 0L0 3.9L-3.9 0z",
    "v": "M0 3.4L3.4-2.8H-3.4z",
    "P": "M-1.1-3.4h2.2v2.3h2.3v2.2h-2.3v2.3h-2.2v-2.3h-2.3v-2.2h2.3z",
    "X": "M-3-1.5L-1.5-3L0-1.5L1.5-3L3-1.5L1.5 0L3 1.5L1.5 3L0 1.5L-1.5 3L-3 1.5L-1.5 0z",
}
DASHES = ((), (5, 2), (1.5, 1.5), (6, 1.5, 1.5, 1.5))  # in line widths
_CROSS = "X"  # of the control alone
_MOST_MARKERS = 12  # on a line
_NAMED_GROUP = "curve-"
_WIDTH = 1.6  # of a line, in points
# Inches of a panel, by how many stand side by side where there is room: letters keep their size.
_SIZES = {2: (4.1, 2.6), 3: (3.1, 2.2)}
_UNITS_AN_INCH = 72  # of an SVG


class Style(NamedTuple):
    """How a curve looks: by colour, marker and dashes, any two of which tell most curves apart."""

    colour: str
    marker: str
    dashes: tuple[float, ...]

    @property
    def variable(self) -> str:
        """The colour's name in the page."""
        return VARIABLES[self.colour.lower()]

    @property
    def dash_array(self) -> str:
        """The dashes as SVG has them."""
        return " ".join(f"{_WIDTH * dash:g}" for dash in self.dashes) or "none"

    @property
    def shape(self) -> str:
        """The marker as a path of SVG."""
        return MARKERS[self.marker]

    def turned(self, turns: int) -> "Style":
        """The same colour and marker with other dashes."""
        return self._replace(dashes=DASHES[(DASHES.index(self.dashes) + turns) % len(DASHES)])


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
    """

    title: str
    x_label: str
    lines: Sequence[Line]
    references: Sequence[tuple[str, float]] = ()
    y_range: tuple[float, float] | None = None

    @property
    def description(self) -> str:
        """What a reader hears who does not see it."""
        ends = [f"{line.name} ends at {line.y[-1]:.4g}" for line in self.lines if not line.faint]
        heights = [f"{name} {height:.4g}" for name, height in self.references]
        return f"{self.title}, against {self.x_label}. " + "; ".join([*ends, *heights]) + "."


def styles(variants: Iterable[str], known: Sequence[str], control: str) -> dict[str, Style]:
    """A style for each variant: those `known` always have the same, others what is left."""
    found = {name: _style(place) for place, name in enumerate(known)} | {
        control: Style(CONTROL, _CROSS, DASHES[2])
    }
    place = len(known)
    for name in variants:
        if name not in found:
            found[name] = _style(place)
            place += 1
    return found


def _style(place: int) -> Style:
    markers = [marker for marker in MARKERS if marker != _CROSS]
    turn = place // len(COLOURS)
    return Style(
        COLOURS[place % len(COLOURS)],
        markers[(place + turn) % len(markers)],
        DASHES[turn % len(DASHES)],
    )


def thinned(points: Sequence, most: int = 300) -> list:
    """At most so many of the points, evenly spread, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(index * step)] for index in range(most)]


def svg(panel: Panel, name: str, columns: int, legend: Sequence[str]) -> str:
    """The panel as an <svg> element for a page of HTML.

    Args:
        name: which no other panel of the page has.
        columns: panels side by side, 2 or 3.
        legend: names of lines; each line has the class "line-N" for its place there, from 1.
    """
    size = _SIZES[columns]
    figure = Figure(figsize=size, layout="constrained")
    _draw(figure.subplots(), panel, named=True)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True)
    return _for_html(file.getvalue(), panel, size, legend)


def draw_png(panels: Sequence[Panel], path: str | Path, title: str, columns: int) -> None:
    """Draw panels side by side, with a title and a legend, as a PNG of 200 dots an inch. Atomic."""
    width, height = _SIZES[columns]
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    legend = list(legend_of(panels))
    names = max((len(name) for name, _ in legend), default=1)
    legend_columns = max(1, min(len(legend), int(columns * width / (0.6 + 0.085 * names))))
    height = rows * (height + 0.3) + 0.5 + 0.2 * math.ceil(len(legend) / legend_columns)
    figure = Figure(figsize=(columns * width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08, hspace=0.04, wspace=0.03)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for one, panel in zip(axes, panels, strict=False):
        _draw(one, panel, named=False)
        one.set_title(_plain_text(panel.title), loc="left", fontsize=10, color=INK)
    for empty in axes[len(panels) :]:
        empty.set_visible(False)
    figure.suptitle(_plain_text(title), x=0.01, ha="left", fontsize=13)
    lines = [
        Line2D([], [], **_look(style), marker=style.marker, markersize=4.5) for _, style in legend
    ]
    figure.legend(
        lines,
        [_plain_text(name) for name, _ in legend],
        loc="outside lower left",
        ncols=legend_columns,
        frameon=False,
        fontsize=9,
    )
    with atomic_file(path, PICTURE) as partial:
        figure.savefig(partial, format="png", dpi=200)


def legend_of(panels: Iterable[Panel]) -> list[tuple[str, Style]]:
    """Each name in the panels with its style, once."""
    found: dict[str, Style] = {}
    for panel in panels:
        for curve in panel.lines:
            found.setdefault(curve.name, curve.style)
    return list(found.items())


def _draw(axes: Axes, panel: Panel, named: bool) -> None:
    for place, line in enumerate(panel.lines):
        every = max(1, math.ceil(len(line.x) / _MOST_MARKERS))
        (drawn,) = axes.plot(
            line.x,
            line.y,
            **_look(line.style, line.faint),
            alpha=0.45 if line.faint else 1,
            marker=None if line.faint else line.style.marker,
            markersize=4.5,
            markeredgewidth=0,
            markevery=every,
            zorder=2 if line.faint else 3,
        )
        if named:
            drawn.set_gid(f"{_NAMED_GROUP}{place}")
        if line.lows:
            bars = axes.vlines(
                line.x, line.lows, line.highs, color=line.style.colour, alpha=0.4, linewidth=1.4
            )
            if named:
                bars.set_gid(f"{_NAMED_GROUP}{place}")
    for name, height in panel.references:
        axes.axhline(height, color=CONTROL, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            name,
            (1, height),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=9,
            color=CONTROL,
            path_effects=None if named else [withStroke(linewidth=2.5, foreground="white")],
        )
    if panel.y_range:
        axes.set_ylim(*panel.y_range)
    axes.margins(x=0.03)
    axes.set_xlim(left=min(0, axes.get_xlim()[0]))
    axes.set_xlabel(panel.x_label, loc="right", fontsize=9, color=INK)
    whole = all(float(x).is_integer() for line in panel.lines for x in line.x)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=whole))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if axes.get_xlim()[1] >= 1000:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.tick_params(length=0, labelsize=9, labelcolor=INK, pad=4)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(color=INK, linewidth=0.7)


def _look(style: Style, faint: bool = False) -> dict[str, object]:
    return {
        "color": style.colour,
        "linewidth": 0.9 if faint else _WIDTH,
        "linestyle": (0, style.dashes) if style.dashes and not faint else "solid",
    }


def _plain_text(text: str) -> str:
    """matplotlib would set what stands between dollars as a formula."""
    return text.replace("$", r"\$")


def _for_html(text: str, panel: Panel, size: tuple[float, float], legend: Sequence[str]) -> str:
    """An SVG of matplotlib as a part of a page: with the page's style, and names on the lines."""
    root = ElementTree.fromstring(text)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name, value in list(element.attrib.items()):
            if name.startswith("{"):
                element.set(name.rpartition("}")[2], element.attrib.pop(name))
            elif name in ("d", "x", "y"):
                element.set(name, re.sub(r"(\.\d\d)\d+", r"\1", value))
            elif name == "transform" and value.startswith("rotate(-0 "):
                del element.attrib[name]
    for child in [child for child in root if child.tag == "metadata"]:
        root.remove(child)
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag == "style"]:
            parent.remove(child)
    for element in root.iter():
        name = element.get("id", "")
        if name.startswith(_NAMED_GROUP):
            title = ElementTree.Element("title")
            title.text = panel.lines[int(name.removeprefix(_NAMED_GROUP))].name
            element.insert(0, title)
            element.set("class", f"line line-{1 + legend.index(title.text)}")
        if re.fullmatch(r".*_\d+|curve-\d+", name):
            del element.attrib["id"]
    width, height = (side * _UNITS_AN_INCH for side in size)
    root.attrib = {
        "viewBox": f"0 0 {width:g} {height:g}",
        "role": "img",
        "aria-label": panel.description,
    }
    page = ElementTree.tostring(root, encoding="unicode")
    page = re.sub(r" font-family: [^;\"]*;", "", page)
    for colour, variable in VARIABLES.items():
        page = page.replace(colour, f"var({variable})")
    return page
