"""Progress of long work: a bar on a terminal, a plain line every half minute elsewhere."""

import sys
import time

from tqdm import tqdm

# tqdm's monitor is a thread, and worker processes are forked: a thread must not exist by then.
tqdm.monitor_interval = 0

SECONDS_BETWEEN_LINES = 30


class Progress:
    """Counts bytes of `total` and shows share, rate and time left on stderr. A context manager."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._done = title, max(total, 1), 0
        self._started = self._shown = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(desc=title, total=total, unit="B", unit_scale=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, count: int) -> None:
        """Add `count` bytes of finished work."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._shown > SECONDS_BETWEEN_LINES:
            self._shown = time.monotonic()
            rate = self._done / (self._shown - self._started)
            left = tqdm.format_interval((self._total - self._done) / max(rate, 1))
            print(
                f"{self._title}: {self._done / 1e6:,.0f} of {self._total / 1e6:,.0f} MB "
                f"({self._done / self._total:.0%}), {rate / 1e6:.1f} MB/s, {left} left",
                file=sys.stderr,
                flush=True,
            )
