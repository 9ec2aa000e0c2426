"""One page that shows what run folders hold: curves, scores, tokenizers, neighbours, settings.

The page needs nothing but itself: charts are SVG inside it, and no script runs in it.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import jinja2
import markupsafe

import fairseq_minimodel

from ..errors import InputError
from ..files.atomic import atomic_file
from ..files.outputs import FileForm, check_file
from ..terminal.progress import SHORT, Progress
from .blocks import Charts, Section, charts_in
from .charts import draw_png, legend_of, svg
from .comparison import comparison_section
from .gather import Run, gather
from .languages import (
    alignment_section,
    in_language_order,
    source_language,
    tokenizer_section,
)
from .learning import learning_section
from .options import options_section
from .verb_options import ReportOptions

TEMPLATE = "page.html.j2"
PAGE = FileForm("a report", lambda path: b"<span>fairseq-minimodel</span>" in path.read_bytes())


def report(
    runs: Sequence[Path],
    output: Path = ReportOptions.output,
    pictures: Path | None = None,
    source: str | None = None,
) -> None:
    """Write a page about run folders, and its charts as PNG.

    The arguments are those of `ReportOptions`; the folders may hold logs of training, packs, prepared
    data, scores and checkpoints, at any depth.

    Raises:
        InputError: a folder is missing or holds nothing of interest, a file in it is damaged,
            nothing is in the language `source`, something else stands at `output`, or the page cannot
            be written.
    """
    output = Path(output)
    check_file(output, PAGE)
    pictures = Path(pictures) if pictures else output.with_name(f"{output.stem}_files")
    if pictures.is_symlink() or (pictures.exists() and not pictures.is_dir()):
        raise InputError(f"{pictures} is not a folder: give another one as --pictures")
    found = gather(runs)
    source = source_language(found, source)
    sections = [
        section
        for section in (
            learning_section(found, source),
            comparison_section(found, source),
            tokenizer_section(found, source),
            alignment_section(found, source),
            options_section(found),
        )
        if section
    ]
    charts = [chart for section in sections for chart in charts_in(section.blocks)]
    _name_apart(charts)
    try:
        with Progress("charts", len(charts), "chart", after=SHORT) as progress:
            for chart in charts:
                _draw(chart, pictures / f"{chart.name}.png")
                progress.update(1)
        beside = os.path.relpath(pictures, output.parent) if charts else None
        page = render(found, source, sections, beside)
        with atomic_file(output, PAGE) as partial:
            partial.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write {error.filename or output}: {error.strerror}; give another --output"
        ) from None
    print(output)
    if charts:
        print(f"{pictures} ({len(charts)} pictures)")


def _draw(chart: Charts, picture: Path) -> None:
    legend = [name for name, _ in legend_of(chart.panels)]
    chart.drawn = [
        markupsafe.Markup(svg(panel, f"{chart.name}-{place}", chart.columns, legend))
        for place, panel in enumerate(chart.panels)
    ]
    draw_png(chart.panels, picture, chart.title, chart.columns)


def _name_apart(charts: Sequence[Charts]) -> None:
    """Names that files can have, and each of them once."""
    seen: set[str] = set()
    for chart in charts:
        letters = (letter if letter.isalnum() or letter in "-_." else "-" for letter in chart.name)
        base = chart.name = "".join(letters)
        number = 1
        while chart.name in seen:
            number += 1
            chart.name = f"{base}-{number}"
        seen.add(chart.name)


@dataclass(frozen=True)
class Overview:
    """What a run folder holds, in words."""

    name: str
    folder: str
    contents: str


def render(
    runs: Sequence[Run], source: str | None, sections: Sequence[Section], pictures: str | None
) -> str:
    """The page as text; charts have been drawn, and as `pictures`, a folder seen from the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["legend_of"] = legend_of
    environment.filters["breakable"] = breakable
    charts = [chart for section in sections for chart in charts_in(section.blocks)]
    return environment.get_template(TEMPLATE).render(
        title=", ".join(run.name for run in runs) if len(runs) < 4 else f"{len(runs)} runs",
        runs=[Overview(run.name, str(run.folder), _contents(run)) for run in runs],
        languages=in_language_order(_languages(runs), source),
        source=source,
        made=datetime.now().astimezone().strftime("%-d %B %Y, %H:%M"),
        versions=_versions(runs),
        sections=sections,
        pictures=pictures,
        most_lines=max((len(legend_of(chart.panels)) for chart in charts), default=0),
    )


def breakable(text: str) -> markupsafe.Markup:
    """Text that may be broken, where it is too long for a line, within names and paths."""
    parts = map(markupsafe.escape, re.split(r"(?<=[_/])|(?<=\.)(?=[a-z_])", text))
    return markupsafe.Markup("<wbr>").join(parts)


def _contents(run: Run) -> str:
    counts = (
        (len(run.trainings), "training run"),
        (len(run.packs), "language pack"),
        (len(run.data), "prepared text"),
        (len(run.results), "score"),
    )
    return ", ".join(f"{count:,} {name}{'s' * (count > 1)}" for count, name in counts if count)


def _languages(runs: Iterable[Run]) -> list[str]:
    return [
        *(pack.description.language for run in runs for pack in run.packs),
        *(data.language for run in runs for data in run.data),
    ]


def _versions(runs: Iterable[Run]) -> list[str]:
    """Of the software that made the packs and the data, and of what makes the page."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for versions in (
            *(pack.description.versions for pack in run.packs),
            *(data.record.get("versions", {}) for data in run.data),
        ):
            for name, version in versions.items():
                found.setdefault(name.replace("_", "-"), set()).add(str(version))
    found.setdefault("fairseq-minimodel", set()).add(fairseq_minimodel.__version__)
    return [f"{name} {', '.join(sorted(versions))}" for name, versions in found.items()]
