"""Progress: plain lines where nobody watches, a bar on a terminal."""

import io
import re
import sys

from fairseq_minimodel.corpus import progress
from fairseq_minimodel.corpus.progress import Progress


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
