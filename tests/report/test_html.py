"""The page against the files that it is made of, read here by other means."""

import errno
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import write_corpus
from matplotlib.figure import Figure
from support.run_folder import CONTROL, settings_line, training_line, validation_line, write_run

from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.report import html
from fairseq_minimodel.report.html import report


class Page(HTMLParser):
    """The text of a page's tables, by caption: rows of cells; and its tags with their attributes."""

    def __init__(self, path):
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tables, self.tags, self.captions = {}, [], []
        self._open = []
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self._open.append(tag)
        if tag == "table":
            self._rows = self.tables.setdefault(attributes["aria-label"], [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        elif tag == "small" and "table" in self._open:
            self._rows[-1][-1] += " | "

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if {"td", "th"} & {*self._open}:
            self._rows[-1][-1] += data.strip()

    def row(self, caption, name):
        (row,) = (row for row in self.tables[caption] if row[0] == name)
        return row


WORDS = [f"word{first}{second}" for first in "abcdef" for second in "ghijklmnop"]


@pytest.fixture(scope="module")
def english(tmp_path_factory):
    """60 words."""
    return write_corpus(tmp_path_factory.mktemp("source"), WORDS, seed=1)


@pytest.fixture(scope="module")
def german(tmp_path_factory):
    """70 other words, and 5 that the source has, too."""
    words = [f"wort{first}{second}" for first in "abcdefg" for second in "ghijklmnop"]
    return write_corpus(tmp_path_factory.mktemp("target"), [*words, *WORDS[:5]], seed=2)


@pytest.fixture(scope="module")
def run_folder(english, german, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("report") / "run", english, german)


@pytest.fixture(scope="module")
def page(run_folder):
    output = run_folder.parent / "pages" / "report.html"
    assert main(["report", str(run_folder), "--output", str(output)]) == 0
    return Page(output)


@pytest.fixture
def undrawn(monkeypatch):
    """For tests that look at tables alone: drawing takes most of the time."""
    monkeypatch.setattr(html, "svg", lambda *arguments: "<svg></svg>")
    monkeypatch.setattr(html, "draw_png", lambda *arguments: None)


ACCURACY = "Accuracy (%; chance 25.0 %, always the most frequent label 26.0 %)"


def test_losses_and_costs_are_those_of_the_logs(page):
    # the last lines of the log: 9 - 20 / 10; 8.5 - 20 / 10 and the heads around it
    assert page.tables["Training runs"][0] == [
        "", "data", "updates", "tokens", "compute", "time", "loss in training",
        "loss in validation", "layer 2", "layer 4",
    ]  # fmt: skip
    assert page.row("Training runs", "pretrained") == [
        "pretrained", "en", "20", "40,960", "10 TFLOP", "1 min 00 s", "7.000", "6.500", "6.600",
        "6.400",
    ]  # fmt: skip
    assert page.row("Training runs", "minijoint")[1] == "de"


def test_curves_are_drawn_from_the_logs(page):
    labels = [attributes["aria-label"] for tag, attributes in page.tags if attributes.get("role")
              == "img"]  # fmt: skip
    assert labels[1:5] == [
        "Loss (bits per masked token), against updates. pretrained ends at 6.5.",
        "Loss (bits per masked token), against compute (TFLOP). pretrained ends at 6.5.",
        "Loss after layer 2 (bits per masked token), against updates. pretrained ends at 6.6.",
        "Loss after layer 4 (bits per masked token), against updates. pretrained ends at 6.4.",
    ]
    assert labels[5].startswith(
        "Loss (bits per masked token), against updates. Standard ends at 6.5"
    )


def test_scores_are_those_of_the_last_packs_with_their_intervals(page):
    assert page.tables[ACCURACY] == [
        ["", "items", "Standard", "MiniJoint", "MiniPost", "untrained control"],
        ["en", "1,000", *["100.0 | 97.0 to 102.0"] * 4],  # one pack for all variants
        ["de", "1,000", "80.0 | 77.0 to 82.0", "90.0 | 87.0 to 92.0", "50.0 | 47.0 to 52.0",
         "20.0 | 17.0 to 22.0"],
    ]  # fmt: skip


def test_the_result_comes_first_in_one_sentence(page):
    sentence = "Best accuracy (de): MiniJoint with 90.0 %, ahead of Standard with 80.0 %."
    assert page.text.index(sentence) < page.text.index("<nav")


def test_compute_to_match_is_that_worked_out_by_hand(page):
    # 0.8: Standard after 200 TFLOP, MiniJoint after 60 x 0.6 / 0.65. 0.76: Standard after 190;
    # MiniJoint after 60 x 0.56 / 0.65.
    assert page.tables["Compute to match"] == [
        ["", "best of Standard", "compute", "times less", "95 % of it", "compute", "times less"],
        ["MiniJoint", "80.0 %", "55.4 TFLOP | 200 TFLOP", "3.61", "76.0 %",
         "51.7 TFLOP | 190 TFLOP", "3.68"],
        ["MiniPost", "80.0 %", "– | 200 TFLOP", "not reached", "76.0 %", "– | 190 TFLOP",
         "not reached"],
    ]  # fmt: skip
    (label,) = (
        attributes["aria-label"]
        for _, attributes in page.tags
        if attributes.get("aria-label", "").startswith("accuracy (%), against compute")
    )
    assert label.endswith("untrained control ends at 20; chance, 25.0 25; en, 100.0 100.")
    assert CONTROL == 0.2


def test_tokenizers(page, english, german):
    words = len((german / "dict.txt").read_text().splitlines())
    row = page.row("Vocabularies and how they cut text", "de")
    # one piece per word, so one token; the five words that both have
    assert row[:3] == ["de", f"{words + 5}", "1.00"]
    assert row[4:6] == ["0 %", "0.250 %"] and row[6] == "12,345"
    assert row[7] == f"5 | {500 / (words + 5):.1f} %"
    assert page.row("Vocabularies and how they cut text", "en")[7:] == ["–", "–"]


def test_neighbours(page):
    caption = "Tokens written alike whose nearest neighbour in en is the same token"
    row = page.row(caption, "de")
    assert row[1] == "5" and row[-1] == f"{100 / 60:.2f} %"
    (caption,) = (caption for caption in page.tables if caption.startswith("The 20 most frequent"))
    assert len(page.tables[caption]) == 21
    assert page.tables[caption][0] == ["", "Standard", "MiniJoint", "MiniPost", "untrained control"]
    assert re.fullmatch(r"word\w+, word\w+ \| \d\.\d\d, \d\.\d\d", page.tables[caption][1][1])


def test_settings_that_differ_come_first(undrawn, tmp_path):
    for number, rate in enumerate((0.1, 0.2)):
        folder = tmp_path / "run" / f"lr{number}"
        folder.mkdir(parents=True)
        (folder / "train.log").write_text(
            settings_line(folder, "language_adaptation", "de", lr=rate) + training_line(5, 9, 1e12)
        )
    report([tmp_path / "run"], tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert page.tables["What differs"] == [
        ["", "optimization.lr"], ["lr0", "[0.1]"], ["lr1", "[0.2]"]
    ]  # fmt: skip
    assert ["common.log_format", "json"] in page.tables["The same in all"]
    assert "language_adaptation (2 runs, 1 option differs)" in page.text


def test_the_page_asks_for_nothing_and_runs_nothing(page):
    assert "http" not in page.text and "@import" not in page.text
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "img", "object", "embed")
        assert not [name for name in attributes if name.startswith("on") or name == "src"]
        assert attributes.get("href", "#").startswith("#")
    assert not re.findall(r"url\((?!#)", page.text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"}
    assert (
        links
        == {"scores", "compute", "learning", "tokenizers", "neighbours", "settings"}
        <= set(ids)
    )


def test_pictures_lie_beside_the_page(page, run_folder):
    pictures = sorted((run_folder.parent / "pages" / "report_files").iterdir())
    assert [path.name for path in pictures] == [
        *(f"learning-{name}.png" for name in ("de-1", "de-2", "en-1", "en-2", "en-3", "en-4")),
        "score-accuracy.png",
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    assert [path.name for path in (run_folder.parent / "pages").glob(".*")] == []
    assert "<dd>report_files</dd>" in page.text


def test_names_are_text_not_markup(english, german, tmp_path):
    folder = write_run(tmp_path / "a<i>&\x1b", english, german, language="<b>")
    report([folder], tmp_path / "report.html", tmp_path / "pictures", source="en")
    page = Page(tmp_path / "report.html")
    assert not {"b", "i"} & {tag for tag, _ in page.tags}
    assert page.row(ACCURACY, "<b>")
    assert r"Report on a&lt;i&gt;&amp;\u001b" in page.text and "\x1b" not in page.text
    assert (tmp_path / "pictures" / "learning--b--1.png").is_file()


def test_runs_that_differ_in_the_seed_are_one(undrawn, english, german, tmp_path):
    folders = [
        write_run(tmp_path / f"seed{seed}", english, german, gain=gain)
        for seed, gain in ((1, 0), (2, 0.1))
    ]
    report(folders, tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    row = page.row(ACCURACY, "de")
    assert row[2:5] == ["85.0 | 80.0 to 90.0", "95.0 | 90.0 to 100.0", "55.0 | 50.0 to 60.0"]
    assert "Means of 2 seeds" in page.text
    # the mean of Standard is 0.85 after 200; MiniJoint's 0.2 at 0 and 0.9 at 60, so after 55.7. Seed 1
    # twice: 55.4 as above; seed 2 twice: 0.9 of 0.95, so after 56.
    assert page.row("Compute to match", "MiniJoint")[2:4] == [
        "55.7 TFLOP | 200 TFLOP", "3.59 | 3.57 to 3.61",
    ]  # fmt: skip
    assert page.row("Training runs", "minipost | seed2")
    assert "Report on seed1, seed2" in page.text


def test_other_runs_stand_side_by_side(undrawn, english, german, tmp_path):
    folders = [
        write_run(tmp_path / name, english, german, gain=gain)
        for name, gain in (("small", 0), ("large", 0.1))
    ]
    report(folders, tmp_path / "report.html")
    header, english, german = Page(tmp_path / "report.html").tables[ACCURACY]
    assert header[2:4] == ["large: Standard", "large: MiniJoint"] and len(header) == 10
    assert english[2:] == ["100.0 | 97.0 to 102.0"] * 8
    assert german[2].startswith("90.0") and german[6].startswith("80.0")


def test_a_run_that_was_moved_is_read_where_it_is(undrawn, run_folder, page, tmp_path):
    """Logs and scores name the old places."""
    moved = tmp_path / "elsewhere"
    shutil.copytree(run_folder, moved)
    for name in ("standard", "minijoint"):
        (moved / name).mkdir()
    report([moved], tmp_path / "report.html")
    tables = Page(tmp_path / "report.html").tables
    for caption in (ACCURACY, "Training runs", "Compute to match"):
        assert tables[caption] == page.tables[caption]


def test_a_link_to_data_is_followed_and_a_circle_of_links_is_not(
    undrawn, run_folder, page, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    shutil.move(run / "data" / "en", tmp_path / "en")
    (run / "data" / "en").symlink_to(tmp_path / "en")
    (run / "again").symlink_to(run)
    report([run], tmp_path / "report.html")
    caption = "Vocabularies and how they cut text"
    found = Page(tmp_path / "report.html")
    assert found.tables[caption] == page.tables[caption]
    assert "Training runs: 4, language packs: 8, prepared texts: 2, scores: 8" in found.text


def test_a_checkpoint_tells_of_training_that_has_no_log(joint_checkpoint, tmp_path):
    folder = tmp_path / "run" / "checkpoints" / "en"
    folder.mkdir(parents=True)
    shutil.copy(joint_checkpoint, folder / "checkpoint_last.pt")
    report([tmp_path / "run"], tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert "No scores of a target language are here yet" in page.text
    (row,) = page.tables["Training runs"][1:]
    assert row[0] == "checkpoints/en" and row[2] == "4" and row[4].endswith("FLOP")
    assert not (tmp_path / "report_files").exists()  # no curves
    # with the log of another old place, it is the same run
    log = settings_line(_save_dir(joint_checkpoint), "masked_lm", "en")
    log += training_line(4, 9, 1e9) + validation_line(4, 8)
    (tmp_path / "run" / "train.log").write_text(log)
    report([tmp_path / "run"], tmp_path / "report.html")
    (row,) = Page(tmp_path / "report.html").tables["Training runs"][1:]
    assert row[0] == "checkpoints/en" and row[6:8] == ["9.000", "8.000"]


def _save_dir(checkpoint):
    from fairseq_minimodel.bodies.checkpoint import read_checkpoint

    return read_checkpoint(checkpoint).config["checkpoint"]["save_dir"]


def test_several_bodies_of_one_file_have_columns_of_their_own(undrawn, run_folder, tmp_path):
    (tmp_path / "run").mkdir()
    rows = [
        {**row, "body": f"modules/{body}/checkpoint_best.pt", "accuracy": 0.5 + 0.1 * place}
        for row in json.loads((run_folder / "scores.json").read_text())[-1:]
        for place, body in enumerate(("lora", "mask"))
    ]
    (tmp_path / "run" / "topics-minipost.json").write_text(json.dumps(rows))
    report([tmp_path / "run"], tmp_path / "report.html")
    (table,) = Page(tmp_path / "report.html").tables.values()
    assert table[0] == ["", "items", "minipost, lora", "minipost, mask"]
    assert [cell[:4] for cell in table[1][2:]] == ["50.0", "60.0"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("scores.json", '[{"language": "de", "pack": "x"}, ', "scores.json is damaged"),
        ("scores.json", '[{"language": "de", "pack": "packs/de"}]', "has a row without the scores"),
        ("packs/x/language.json", "{", "language.json is damaged"),
        (
            "packs/x/language.json",
            '{"language": "de"}',
            "damaged (lineage is missing)",
        ),
        ("data/x/prepare.json", "[]", "prepare.json is damaged (it is a list, not an object)"),
        (
            "checkpoints/checkpoint_last.pt",
            "",
            "checkpoint_last.pt is not a checkpoint: the file is in fact empty",
        ),
    ],
)
def test_a_damaged_file_is_one_sentence(run_folder, tmp_path, capsys, name, text, message):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    output = tmp_path / "pages" / "report.html"
    assert main(["report", str(run_folder), str(tmp_path / "run"), "--output", str(output)]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and str(tmp_path / "run") in error and "\n" not in error
    assert not output.parent.exists()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left"), InputError("no space left")]
)
@pytest.mark.parametrize("name", ["atomic_folder", "draw_png"])
def test_page_and_pictures_are_written_together_or_not_at_all(
    run_folder, tmp_path, capsys, monkeypatch, name, error
):
    def fail(*_):
        raise error

    monkeypatch.setattr(f"fairseq_minimodel.report.html.{name}", fail)
    assert main(["report", str(run_folder), "--output", str(tmp_path / "new/report.html")]) == 2
    assert "no space left" in capsys.readouterr().err
    assert not list((tmp_path / "new").iterdir())


def test_only_pictures_of_a_report_are_replaced(undrawn, run_folder, tmp_path):
    (tmp_path / "report_files").mkdir()
    former = tmp_path / "report_files" / "learning-xx.png"
    Figure().savefig(former)
    report([run_folder], tmp_path / "report.html")
    assert not former.exists()
    former.write_text("mine")
    with pytest.raises(InputError, match="only a folder of pictures that the same command wrote"):
        report([run_folder], tmp_path / "report.html")


def test_nothing_to_report(run_folder, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.json").write_text('{"a": 1}')
    (tmp_path / "run" / "list.json").write_text("[1, 2]")
    (tmp_path / "run" / "prepare.log").write_text("12 documents\n")
    assert main(["report", str(tmp_path / "run")]) == 2
    assert "holds nothing to report" in capsys.readouterr().err
    for folders, message in (
        ([tmp_path / "none"], "no folder"),
        ([run_folder, Path(f"{run_folder}/../run")], "is named twice"),
    ):
        with pytest.raises(InputError, match=message):
            report(folders, tmp_path / "report.html")
    with pytest.raises(InputError, match="--source xx: the runs have nothing in that language"):
        report([run_folder], tmp_path / "report.html", source="xx")
    with pytest.raises(InputError, match="is a folder: name a file"):
        report([run_folder], tmp_path)
    with pytest.raises(InputError, match="cannot write .*is not a folder; give another --output"):
        report([run_folder], tmp_path / "run" / "notes.json" / "report.html")
