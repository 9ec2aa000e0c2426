"""benchmarks/reliability on a few cases, and that it calls a failure a failure."""

import importlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "benchmarks" / "reliability"
sys.path.append(str(SCRIPTS))

damage, damages, forks, judge, sound = map(
    importlib.import_module, ("damage", "damages", "forks", "judge", "sound")
)


def run(script, *arguments):
    command = [sys.executable, SCRIPTS / script, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """For both scripts: they keep their inputs there."""
    return tmp_path_factory.mktemp("reliability")


@pytest.mark.slow
def test_kills_of_prepare(folder):
    result = run("kill.py", folder, "--moments", 2, "--only", "prepare")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1].startswith("| prepare | 2 |")
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert [record["faults"] for record in records] == [[], []]


@pytest.mark.slow
def test_a_few_damages(folder):
    arguments = (folder, "--only", "prepare-classification tsv", "--count")
    result = run("damage.py", *arguments, 8)
    records = {}
    for line in (folder / "results-0.jsonl").read_text().splitlines():
        record = json.loads(line)
        records[record["index"]] = record["outcome"]
    assert sorted(records) == list(range(8)), result.stdout + result.stderr
    assert set(records.values()) & {"refused", "no effect"}
    failed = any(outcome not in damage.GOOD for outcome in records.values())
    assert result.returncode == int(failed)
    assert "| all | 8 |" in result.stdout
    assert "8 cases, 0 left" in run("damage.py", *arguments, 8).stdout  # what is done is kept


def test_the_page_says_how_many_commands_there_are():
    page = (ROOT / "docs" / "reliability.md").read_text()
    assert f"runs {len(sound.COMMANDS)} commands " in page


@pytest.fixture
def case(tmp_path):
    """A folder as before a command, and the case of a damaged dict.txt."""
    (tmp_path / "out").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/dict.txt").write_text("a 1\n")
    command = sound.Command("plug", ["fairseq-minimodel", "plug"], ("in/dict.txt",))
    return damage.Case(0, command, "in/dict.txt", "truncated", 1)


def refusal(text):
    return forks.Ended(2, "", f"fairseq-minimodel: error: {text}\n", 1.0, 1)


ENDS = {
    "refused": (refusal("no pack"), {}),
    "no sentence": (forks.Ended(2, "", "usage\n", 1.0, 1), {}),
    "traceback": (forks.Ended(1, "", "Traceback (most recent call last):\n", 1.0, 1), {}),
    "exit code 1": (forks.Ended(1, "", "", 1.0, 1), {}),
    "over a minute": (forks.Ended(-9, "", "", 60.0, 1, timed_out=True), {}),
    "memory": (forks.Ended(0, "", "", 1.0, 1 << 40), {"out/result/x": "sound"}),
    "unescaped": (refusal("the pack \x1b[31m"), {}),
    "left behind": (refusal("no pack"), {"out/.result.partial": "half"}),
    "changed outside": (refusal("no pack"), {"in/dict.txt": ""}),
    "code ran": (refusal("no pack"), {"code-ran": ""}),
    "no effect": (forks.Ended(0, "", "", 1.0, 1), {"out/result/x": "sound"}),
    "silently taken": (forks.Ended(0, "", "", 1.0, 1), {"out/result/x": "other"}),
    "said": (
        forks.Ended(0, "", "in/dict.txt has a symbol twice\n", 1.0, 1), {"out/result/x": "other"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("outcome", ENDS)
def test_what_an_end_is_called(outcome, case, tmp_path):
    ended, files = ENDS[outcome]
    (tmp_path / "sound/result").mkdir(parents=True)
    (tmp_path / "sound/result/x").write_text("sound")
    expected = damage.Sound(damage.digests(tmp_path / "sound/result"), "", "", 1, 5)
    earlier = damage._fingerprints(tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    damaging = damage.Damaging.__new__(damage.Damaging)
    found = damaging._judge(case, tmp_path, sound.OUTPUT, ended, expected, earlier, own=False)
    assert found == outcome


def test_every_damage_can_be_done(tmp_path):
    """To a file of each form that the generator knows, twice with the same seed alike."""
    contents = {
        "in/x.txt": b"words\nmore words\n",
        "in/dict.txt": b"a 1\nb 2\nc 3\n",
        "in/x.json": b'{"a": [1, {"b": "text"}]}',
        "in/x.jsonl": b'{"text": "a"}\n{"text": "b"}\n',
    }
    for name, data in contents.items():
        for kind in damages.damages_of(name):
            made = []
            for _ in range(2):
                path = tmp_path / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
                damages.apply(kind, path, random.Random(3), tmp_path / "trace")
                made.append(path.read_bytes() if path.is_file() else None)
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink(missing_ok=True)
            assert made[0] == made[1], (name, kind)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("name", "before", "after", "hidden"),
    [
        ("x.txt", "one two\n", "one twp\n", True),
        ("x.txt", "one two\n", "one tw\0\n", False),
        ("x.tsv", "text\tlabel\na\tx\nb\ty\n", "text\tlabel\na\ty\nb\ty\n", True),
        ("x.tsv", "text\tlabel\na\tx\nb\ty\n", "text\tlabel\na\tz\nb\ty\n", False),
        ("x.tsv", "text\tlabel\na\tx\nb\ty\n", "text\tlabel\na\nb\ty\n", False),
        ("x.json", '{"width": 2, "language": "de"}', '{"width": 2, "language": "ge"}', True),
        ("x.json", '{"width": 2, "language": "de"}', '{"width": 3, "language": "de"}', False),
        ("x.json", '{"width": 2, "language": "de"}', '{"width": 2, "language": null}', False),
        ("x.json", '{"left_out": {}, "data": "a"}', '{"left_out": {}, "data": "b"}', True),
    ],
)
def test_what_cannot_be_seen(name, before, after, hidden, tmp_path):
    (tmp_path / name).write_text(after)
    found = judge.cannot_be_seen("evaluate", tmp_path / name, before.encode(), "bits flipped")
    assert found == hidden
