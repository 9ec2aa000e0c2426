"""What the page is made of: sections with tables, charts and text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from .charts import Panel, Style, style
from .gather import Label

CONTROL = "untrained"
# How the examples call the variants, and how they are shown.
VARIANTS = {
    "standard": "Standard",
    "minijoint": "MiniJoint",
    "minipost": "MiniPost",
    CONTROL: "untrained control",
}

Cell = str | tuple[str, str]  # its text, if empty a dash; and a second, smaller line


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its name."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    words: bool = False  # whether the cells are text, to be aligned to the left, and not numbers


@dataclass
class Charts:
    """Panels side by side, where there is room."""

    name: str  # of the pictures
    title: str
    panels: Sequence[Panel]
    note: str = ""
    drawn: list[Markup] = field(default_factory=list)  # the panels as SVG, once they are drawn


@dataclass(frozen=True)
class Folded:
    """Blocks behind a line that opens them."""

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


def share(share: float, digits: int) -> str:
    """A share in per cent."""
    return f"{100 * share:.{digits}f} %" if share else "0 %"


def in_order(labels: Iterable[Label]) -> list[Label]:
    """Labels once each: by run, and in each the variants as the examples have them, then the others."""
    places = {name: place for place, name in enumerate(VARIANTS)}

    def place(label: Label) -> tuple:
        name = label.variant
        return (label.group, name == CONTROL, places.get(name, len(places)), name)

    return sorted(set(labels), key=place)


def label_styles(labels: Iterable[Label]) -> dict[Label, Style]:
    """A style for each label: the colour is the variant's, the dashes are the run's."""
    labels = in_order(labels)
    runs = sorted({label.group for label in labels})
    names = dict.fromkeys([*VARIANTS, *(label.variant for label in labels)])
    del names[CONTROL]
    places = {CONTROL: None, **{name: place for place, name in enumerate(names)}}
    return {label: style(places[label.variant], runs.index(label.group)) for label in labels}
