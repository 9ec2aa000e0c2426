"""Progress: plain lines where nobody watches, a bar on a terminal."""

import io
import re
import sys
import threading
import time

import pytest
from tqdm import tqdm

from fairseq_minimodel.terminal import progress
from fairseq_minimodel.terminal.progress import Progress, ProgressFile, counted, waiting


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_say_share_rate_and_time_left(monkeypatch, capsys):
    clock = iter([0.0, 10.0, 40.0, 40.0, 50.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Progress("reading", 100_000_000) as shown:
        shown.update(10_000_000)  # after 10 s: too early for a line
        shown.update(10_000_000)  # after 40 s
        shown.update(10_000_000)  # 10 s later
    assert capsys.readouterr().err == "reading: 20 of 100 MB (20%), 0.5 MB/s, 02:40 left\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("reading", 100) as shown:
        shown.update(100)
    assert re.search(r"reading: 100%.*100/100.*B/s", terminal.getvalue())


def test_a_bar_starts_no_thread_and_those_of_other_programs_keep_their_monitor(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    threads = threading.active_count()
    with Progress("reading", 100):
        assert threading.active_count() == threads
    assert tqdm.monitor_interval > 0


def test_other_units_than_bytes(monkeypatch, capsys):
    clock = iter([0.0, 40.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Progress("train", 4000, "question") as shown:
        shown.update(1000)
    line = "train: 1,000 of 4,000 questions (25%), 25.0 per second, 02:00 left\n"
    assert capsys.readouterr().err == line


def test_work_whose_unit_is_not_named_shows_nothing(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "SHORT", 0)
    with counted("reading", 2, None) as done:
        done(2)
    assert terminal.getvalue() == ""
    with counted("reading", 2, "question") as done:
        done(2)
    assert re.search(r"reading: 100%.*2/2.*question/s", terminal.getvalue())


def test_short_work_shows_no_bar_if_it_is_to_wait(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("reading", 100, after=60) as shown:
        shown.update(100)
    with waiting("thinking"):
        pass
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("portion", [7, 1 << 20])
def test_a_file_is_written_and_read_in_portions(tmp_path, monkeypatch, portion):
    monkeypatch.setattr(progress, "PORTION", portion)
    monkeypatch.setattr(progress, "SHORT", 0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    content = bytes(range(256)) * 10
    with ProgressFile(tmp_path / "file", "w", "writing", len(content)) as file:
        assert file.write(memoryview(content)) == len(content)
        file.write(b"more than there is to do")
    assert re.search(r"writing: 100%.*2\.56k/2\.56k", terminal.getvalue())
    whole = content + b"more than there is to do"
    assert (tmp_path / "file").read_bytes() == whole
    with ProgressFile(tmp_path / "file", "r", "reading") as file:
        buffer = bytearray(len(content))
        assert file.readinto(buffer) == len(content)
        assert buffer == content and file.read(4) == b"more"
        buffer = bytearray(100)
        assert file.readinto(buffer) == len(whole) - len(content) - 4
    assert "reading: 100%" in terminal.getvalue()


def test_waiting_says_how_long(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.01)
    threads = threading.active_count()
    with waiting("thinking"):
        time.sleep(0.1)
    lines = capsys.readouterr().err.splitlines()
    assert lines and set(lines) == {"thinking: 0 s so far"}
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "SHORT", 0.01)
    with pytest.raises(ZeroDivisionError), waiting("thinking"):
        time.sleep(0.1)
        1 / 0  # noqa: B018
    assert terminal.getvalue().startswith("\rthinking: 0 s") and terminal.getvalue().endswith("\n")
    assert threading.active_count() == threads
