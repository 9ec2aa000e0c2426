"""What the page is made of: sections with tables, charts and text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup

from .charts import CONTROL, Panel, Style, style
from .gather import Label
from .scores import VARIANTS

_CONTROL = "untrained"
_KNOWN = [name for name in VARIANTS if name != _CONTROL]


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what stands in it; empty: a dash.
        note: a second, smaller line.
        columns: over how many it goes.
    """

    text: str
    note: str = ""
    columns: int = 1


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its name.

    Attributes:
        words: whether the cells are text, to be aligned to the left, and not numbers.
        last_apart: whether the last row sums up the others.
    """

    kind: ClassVar[str] = "table"
    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    note: str = ""
    words: bool = False
    last_apart: bool = False

    @property
    def cells(self) -> list[list[Cell]]:
        return [
            [cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows
        ]


@dataclass
class Charts:
    """Panels with one legend.

    Attributes:
        name: of the picture, without ending.
        columns: panels side by side, where there is room.
        drawn: the panels as SVG, once they are drawn.
    """

    kind: ClassVar[str] = "charts"
    name: str
    title: str
    panels: Sequence[Panel]
    columns: int
    note: str = ""
    drawn: list[Markup] = field(default_factory=list)


@dataclass(frozen=True)
class Folded:
    """Blocks behind a line that opens them."""

    kind: ClassVar[str] = "folded"
    summary: str
    blocks: Sequence["Block"]
    open: bool = False


Block = Table | Charts | Folded


@dataclass(frozen=True)
class Section:
    """A section of the page, with the name that links to it, and a paragraph under its title."""

    name: str
    title: str
    blocks: Sequence[Block]
    text: str = ""


def shown(label: Label) -> str:
    """A label as a reader sees it."""
    return ": ".join(filter(None, (label.group, VARIANTS.get(label.variant, label.variant))))


def in_order(labels: Iterable[Label]) -> list[Label]:
    """Labels once each: by run, and in each the variants as the examples have them, then the others."""

    def place(label: Label) -> tuple:
        number = _KNOWN.index(label.variant) if label.variant in _KNOWN else len(_KNOWN)
        return (label.group, label.variant == _CONTROL, number, label.variant)

    return sorted(set(labels), key=place)


def label_styles(labels: Iterable[Label]) -> dict[Label, Style]:
    """A style for each label: the colour is the variant's, the dashes are the run's."""
    labels = in_order(labels)
    groups = sorted({label.group for label in labels})
    others = {label.variant: None for label in labels if label.variant != _CONTROL}
    looks = {name: style(place) for place, name in enumerate(dict.fromkeys([*_KNOWN, *others]))}
    looks[_CONTROL] = CONTROL
    return {label: looks[label.variant].turned(groups.index(label.group)) for label in labels}
