"""The site is built without a warning, is complete, and needs nothing from the network."""

import argparse
import html
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from fairseq_minimodel.cli import build_parser

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RESOURCES = {("link", "href"), ("script", "src"), ("img", "src"), ("source", "srcset")}


class Page(HTMLParser):
    """The places in a page, where it leads to, and what a browser loads for it."""

    def __init__(self, path):
        super().__init__()
        self.places, self.links, self.resources = set(), set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.places.add(value)
            if (tag, name) in RESOURCES and dict(attributes).get("rel") not in ("next", "prev"):
                self.resources.add(value)
            if name in ("href", "src") and not value.startswith("#svg"):
                self.links.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built in a copy of the project, so that no other test sees the pages of the verbs."""
    pytest.importorskip("furo")
    project = tmp_path_factory.mktemp("project")
    for path in filter(Path.is_file, ROOT.iterdir()):
        shutil.copy(path, project)
    shutil.copytree(ROOT / "docs", project / "docs", ignore=shutil.ignore_patterns("verbs"))
    shutil.copytree(ROOT / "examples", project / "examples")
    program = Path(sys.executable).parent / "sphinx-build"
    command = [program, "--fail-on-warning", "--quiet", "-c", "docs", ".", "site"]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return project / "site"


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html")}


def verbs():
    (action,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return action.choices


def test_every_page_is_there_and_in_the_navigation(site, pages):
    home = pages[site / "index.html"]
    names = [f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")]
    assert len(names) > 15
    for name in [*names, "CHANGELOG.html", *(f"docs/verbs/{verb}.html" for verb in verbs())]:
        assert site / name in pages and name in home.links, name


@pytest.mark.parametrize("verb", verbs())
def test_the_page_of_a_verb_has_its_options(verb, site):
    page = (site / f"docs/verbs/{verb}.html").read_text(encoding="utf-8")
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())
    parser = verbs()[verb]
    assert parser.description in text
    for action in parser._actions[1:]:
        for option in action.option_strings:
            assert f'id="cmdoption-fairseq-minimodel-{verb}-{option.lstrip("-")}"' in page
        assert (action.help or "").replace("%(default)s", str(action.default)) in text
    for line in parser.epilog.split("\n")[1:]:
        assert line.strip() in text


def test_links_within_the_site_lead_somewhere(site, pages):
    within = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme in ("http", "https", "data"), link
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path.relative_to(site)} links to {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].places, f"{path}: {link}"
            within += 1
    assert within > 1000


def test_nothing_is_loaded_from_the_network(site, pages):
    for path, page in pages.items():
        assert page.resources
        for resource in page.resources:
            assert not urlsplit(resource).netloc, f"{path.relative_to(site)} loads {resource}"
    for path in [*site.rglob("*.css"), *site.rglob("*.svg")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", text), path
