"""The site: `make docs`. Its sources are README.md and docs/ as they stand, and one page per verb.

The folder of sources is the root of the project, so that the links of a page lead to the same places
here and on GitHub.
"""

import re
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

from fairseq_minimodel import __version__  # noqa: E402

project = "fairseq-minimodel"
release = __version__
html_title = f"{project} {release}"
author = "The fairseq-minimodel authors"

extensions = ["myst_parser", "verb_pages"]
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "docs/**"]
exclude_patterns = [path.name for path in ROOT.iterdir() if path.is_dir() and path != HERE]
myst_heading_anchors = 3
highlight_language = "none"  # of blocks that name none: what a command prints
nitpicky = True
smartquotes = False  # they would make a dash of two hyphens

html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = html_show_sphinx = html_show_copyright = False

# Pages, under shorter titles where theirs are long. Those not named stand at the end of "How to".
NAVIGATION = {
    "Start": {
        "install": "", "concepts": "", "tutorial": "Tutorial: MiniLM learns Swahili",
        "xlmr": "XLM-R on a GPU",
    },
    "How to": {
        "adapt": "One command", "choosing": "", "method": "", "prepare": "Preparing text",
        "training": "Training", "compute": "Compute",
        "evaluate": "Evaluating", "questions": "", "tagging": "", "initialise": "", "task_modules": "",
        "meta_training": "", "sentence_vectors": "", "huggingface": "Hugging Face",
        "recipes": "Recipes of the paper",
    },
    "Reference": {"verbs/index": "", "options": "", "troubleshooting": ""},
    "Results": {
        "results": "Results on real text", "small_model": "A small model", "performance": "",
        "reliability": "", "../CHANGELOG": "",
    },
}  # fmt: skip


def add_navigation(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the table of contents, which a reader on GitHub has no use for, at the end of the README."""
    if name != root_doc:
        return
    named = {page for pages in NAVIGATION.values() for page in pages}
    others = dict.fromkeys(sorted({path.stem for path in HERE.glob("*.md")} - named), "")
    for caption, pages in NAVIGATION.items():
        if caption == "How to":
            pages = pages | others
        lines = [f"```{{toctree}}\n:hidden:\n:caption: {caption}\n"]
        for page, title in pages.items():
            document = f"docs/{page}".replace("docs/../", "")
            lines.append(f"{title} <{document}>" if title else document)
        source[0] += "\n".join(["", *lines, "```", ""])


def unlink_folders(app: Sphinx, name: str, source: list[str]) -> None:
    """Leave the name of a folder that a page links to, since the site has no page for it."""
    here = (ROOT / name).parent

    def text_of(link: re.Match) -> str:
        return f"`{link[1]}`" if (here / link[2]).is_dir() else link[0]

    source[0] = re.sub(r"\[([^]\n]+)\]\((?!http)([^)#\n]+)\)", text_of, source[0])


def copy_home(app: Sphinx, error: Exception | None) -> None:
    """A web server looks for index.html."""
    if error is None and app.builder.format == "html":
        shutil.copyfile(app.outdir / f"{root_doc}.html", app.outdir / "index.html")


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_navigation)
    app.connect("source-read", unlink_folders)
    app.connect("build-finished", copy_home)
