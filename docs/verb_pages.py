"""A page for each verb of the command, written from its parser when the site is built.

The pages go to docs/verbs, which tells git to ignore it. A file that is already right is left alone,
so that a second build reads only what has changed.
"""

import argparse
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

from fairseq_minimodel.cli import PROGRAM, build_parser

HERE = Path(__file__).parent
FOLDER = HERE / "verbs"
MOST_PAGES = 4  # that a verb's page leads to
INDEX = f"""\
# The command

`{PROGRAM} VERB --help` prints what these pages say. A wrong option, or input that you can
fix, ends a command with one sentence, exit status 2 and nothing half-written
([troubleshooting](../troubleshooting.md)); Ctrl-C ends it with 130.
"""


def write_pages(app: Sphinx) -> None:
    """Write docs/verbs/index.md and one page per verb; remove those of verbs that are gone."""
    pages = dict(_pages())
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / ".gitignore").write_text("*\n")
    for path in FOLDER.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _pages() -> Iterator[tuple[str, str]]:
    (verbs,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    lines = [INDEX]
    for choice in verbs._choices_actions:
        lines.append(f"- [`{choice.dest}`]({choice.dest}.md): {_escape(choice.help)}")
        yield f"{choice.dest}.md", _page(choice.dest, choice.help, verbs.choices[choice.dest])
    names = "\n".join(choice.dest for choice in verbs._choices_actions)
    yield "index.md", "\n".join([*lines, "", f"```{{toctree}}\n:hidden:\n\n{names}\n```", ""])


def _page(verb: str, help: str, parser: argparse.ArgumentParser) -> str:
    sentence = f"{help[0].upper()}{help[1:]}."
    parts = [f"# {verb}", f"```{{program}} {PROGRAM} {verb}\n```", _escape(sentence)]
    if parser.description != sentence:
        parts.append(_escape(parser.description))
    if pages := _pages_with(verb):
        links = ", ".join(f"[{_title(page)}](../{page.relative_to(HERE)})" for page in pages)
        parts.append(f"Used in: {links}.")
    formatter = parser.formatter_class(parser.prog, width=72)
    formatter.add_usage(None, parser._actions, parser._mutually_exclusive_groups, prefix="")
    parts.append(f"```\n{formatter.format_help().strip()}\n```")
    example = textwrap.dedent(parser.epilog.partition("\n")[2])
    parts.append(f"**Example**\n\n```sh\n{example}\n```")
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.dest != "help"]
        if actions:
            parts.append(f"## {group.title.capitalize()}")
            parts += [_option(formatter, action) for action in actions]
    return "\n\n".join([*parts, ""])


def _option(formatter: argparse.HelpFormatter, action: argparse.Action) -> str:
    words = [", ".join(action.option_strings)]
    if action.nargs != 0:
        words.append(formatter._format_args(action, action.dest.upper()))
    help = _escape(formatter._expand_help(action)) if action.help else ""
    if action.required and action.option_strings:
        help = f"{help} *(required)*"
    return f"```{{option}} {' '.join(filter(None, words))}\n{help}\n```"


def _pages_with(verb: str) -> list[Path]:
    """The pages whose commands have a verb, those that have it most often first."""
    call = re.compile(rf"{PROGRAM} {verb}(?![\w-])")
    counts = {
        page: len(call.findall(page.read_text(encoding="utf-8")))
        for page in sorted(HERE.glob("*.md"))
        if page.stem != "troubleshooting"
    }
    found = sorted(filter(counts.get, counts), key=lambda page: -counts[page])
    return found[:MOST_PAGES]


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _escape(text: str) -> str:
    """Plain text as Markdown."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", text)


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_pages)
