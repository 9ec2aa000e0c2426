"""One page that shows what run folders hold: scores, compute, curves, tokenizers, neighbours, settings.

The page needs nothing but itself: charts are SVG inside it, and no script runs in it.
"""

import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

import jinja2
from markupsafe import Markup

import fairseq_minimodel

from ..files.atomic import atomic_file, atomic_folder
from ..files.outputs import PICTURE, FileForm, FolderForm, check_file, check_folder
from ..terminal.progress import SHORT, Progress
from ..terminal.text import plain
from .blocks import Charts
from .charts import draw_png, svg
from .comparison import compute_section, headline, read_tasks, score_section
from .gather import Run, gather, source_language
from .learning import cost_blocks, learning_section
from .neighbours import neighbour_section
from .options import ReportOptions
from .settings import settings_section
from .tokenizers import tokenizer_section

PAGE = FileForm("a report", lambda path: b"<span>fairseq-minimodel</span>" in path.read_bytes())
PICTURES = FolderForm(
    "a folder of pictures",
    marks=(),
    files=("learning-*.png", "score-*.png"),
    is_own=lambda folder: all(map(PICTURE.is_own, folder.iterdir())),
)
NO_RESULT = (
    "No scores of a target language are here yet: evaluate, retrieve and perplexity write them with "
    "--json."
)


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
            nothing is in the language `source`, something else stands at `output` or `pictures`, or
            they cannot be written.
    """
    output = Path(output)
    check_file(output, PAGE)
    pictures = Path(pictures or output.with_name(f"{output.stem}_files"))
    check_folder(pictures, PICTURES)
    found = gather(runs)
    source = source_language(found, source)
    tasks = read_tasks(found, source)
    sections = [
        score_section(tasks),
        compute_section(tasks, cost_blocks(found)),
        learning_section(found, source),
        tokenizer_section(found, source),
        neighbour_section(found, source),
        settings_section(found),
    ]
    sections = [section for section in sections if section]
    charts = [one for section in sections for one in section.blocks if isinstance(one, Charts)]
    with (
        atomic_file(output, PAGE) as page,
        atomic_folder(pictures, PICTURES) if charts else nullcontext(pictures) as folder,
    ):
        count = _draw(charts, folder)
        text = _render(
            found,
            source,
            result=headline(tasks) or NO_RESULT,
            sections=sections,
            pictures=os.path.relpath(pictures, output.parent) if charts else "",
        )
        page.write_text(text, encoding="utf-8")
    print(output)
    if charts:
        print(f"{pictures} ({count} pictures)")


def _draw(charts: Sequence[Charts], pictures: Path) -> int:
    """Draw all panels, for the page and as PNG. Returns how many there are."""
    names: set[str] = set()
    total = sum(len(chart.panels) for chart in charts)
    with Progress("charts", total, "chart", after=SHORT) as progress:
        for chart in charts:
            for number, panel in enumerate(chart.panels, start=1):
                name = re.sub(r"[^\w.-]", "-", chart.name)
                name = f"{name}-{number}" if len(chart.panels) > 1 else name
                while name in names:
                    name = f"{name}-2"
                names.add(name)
                chart.drawn.append(svg(panel, name))
                draw_png(panel, pictures / f"{name}.png", chart.title)
                progress.update(1)
    return total


def _render(runs: Sequence[Run], source: str | None, **parts: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else plain(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    languages = {one.language for run in runs for one in (*run.packs, *run.data)}
    return environment.get_template("page.html.j2").render(
        title=", ".join(run.name for run in runs) if len(runs) < 4 else f"{len(runs)} runs",
        runs=runs,
        languages=sorted(languages, key=lambda one: (one != source, one)),
        source=source,
        made=datetime.now().astimezone().strftime("%-d %B %Y, %H:%M"),
        version=fairseq_minimodel.__version__,
        **parts,
    )
