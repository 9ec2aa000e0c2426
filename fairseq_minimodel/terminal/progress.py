"""Progress of long work: a bar on a terminal, a plain line every half minute elsewhere."""

import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 30
SHORT = 1  # seconds of work of which nothing is shown, where most work is shorter
PORTION = 1 << 26  # bytes of a file that are read or written at a time


class Bar(tqdm):
    """tqdm's, without its monitor: a thread, which must not exist when worker processes are forked."""

    monitor_interval = 0


class Progress:
    """Counts `total` units of work and shows share, rate and time left on stderr. A context manager.

    Args:
        unit: what is counted: "B" for bytes, or its name, "question".
        after: seconds of work before there is a bar.
    """

    def __init__(self, title: str, total: int, unit: str = "B", after: float = 0) -> None:
        self._title, self._total, self._done = title, max(total, 1), 0
        self._unit = unit
        self._started = self._shown = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            scaled = unit == "B"
            self._bar = Bar(desc=title, total=total, unit=unit, unit_scale=scaled, delay=after)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, count: int) -> None:
        """Add `count` units of finished work."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._shown > SECONDS_BETWEEN_LINES:
            self._shown = time.monotonic()
            rate = max(self._done, 1) / (self._shown - self._started)
            left = tqdm.format_interval((self._total - self._done) / rate)
            print(f"{self._title}: {self._counts(rate)}, {left} left", file=sys.stderr, flush=True)

    def _counts(self, rate: float) -> str:
        share = f"{self._done / self._total:.0%}"
        if self._unit == "B":
            done, total = self._done / 1e6, self._total / 1e6
            return f"{done:,.0f} of {total:,.0f} MB ({share}), {rate / 1e6:.1f} MB/s"
        return f"{self._done:,} of {self._total:,} {self._unit}s ({share}), {rate:,.1f} per second"


@contextmanager
def counted(title: str, total: int, unit: str | None) -> Iterator[Callable[[int], None]]:
    """Progress of work that is often short; yields its `update`. Without a unit nothing is shown."""
    if unit is None:
        yield lambda count: None
        return
    with Progress(title, total, unit, after=SHORT) as progress:
        yield progress.update


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Show how long the work within has lasted, of which nobody can tell how far it is."""
    over, started = threading.Event(), time.monotonic()
    on_terminal = sys.stderr.isatty()

    def tell() -> None:
        line = "\r{}: {:.0f} s" if on_terminal else "{}: {:.0f} s so far\n"
        while not over.wait(SHORT if on_terminal else SECONDS_BETWEEN_LINES):
            sys.stderr.write(line.format(title, time.monotonic() - started))
            sys.stderr.flush()

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if on_terminal and time.monotonic() - started > SHORT:
            sys.stderr.write("\n")


class ProgressFile(io.FileIO):
    """A file of which it is shown how much has been read, or written, to the disk.

    Args:
        title: of what is shown.
        total: bytes; None: of a file that is read, its size.
    """

    def __init__(self, path: str | Path, mode: str, title: str, total: int | None = None) -> None:
        super().__init__(path, mode)
        self._left = os.fstat(self.fileno()).st_size if total is None else total
        self._progress = Progress(title, self._left, after=SHORT)

    def close(self) -> None:
        if not self.closed:
            self._progress.__exit__()
        super().close()

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        self._count(len(data))
        return data

    def readinto(self, buffer: object) -> int:
        return self._in_portions(super().readinto, buffer)

    def write(self, data: object) -> int:
        whole = memoryview(data).nbytes > PORTION

        def write_portion(portion: memoryview) -> int:
            count = super(ProgressFile, self).write(portion)
            if whole:
                os.fsync(self.fileno())  # else what is shown is the speed of memory
            return count

        return self._in_portions(write_portion, data)

    def _in_portions(self, work: Callable[[memoryview], int], data: object) -> int:
        whole, count = memoryview(data).cast("B"), 0
        while count < len(whole) and (part := work(whole[count : count + PORTION])):
            self._count(part)
            count += part
        return count

    def _count(self, size: int) -> None:
        """Not more than there is to do: a format adds a little, and some is read twice."""
        self._progress.update(min(size, self._left))
        self._left = max(self._left - size, 0)
