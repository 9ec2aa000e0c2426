"""How long a run waits for its data."""

from collections.abc import Iterator
from typing import Any

from fairseq.data.iterators import CountingIterator, EpochBatchIterating
from fairseq.logging import metrics

from ..models.accounting import DATA_SECONDS


class _Wrapper:
    """Answers as what it wraps, but for what Python asks of an object of its own kind (`__copy__`)."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches

    def __getattr__(self, name: str) -> Any:
        # `_batches` is not there yet when a copy is made
        if name == "_batches" or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return getattr(self._batches, name)

    def __len__(self) -> int:
        return len(self._batches)


class TimedBatches(_Wrapper):
    """The batches of fairseq's iterator over epochs, with the time it takes to get each."""

    _batches: EpochBatchIterating

    def next_epoch_itr(self, *args, **kwargs) -> "_TimedEpoch":
        return _TimedEpoch(self._batches.next_epoch_itr(*args, **kwargs))


class _TimedEpoch(_Wrapper):
    _batches: CountingIterator

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._batches)
        while True:
            metrics.log_start_time(DATA_SECONDS)
            batch = next(batches, None)
            metrics.log_stop_time(DATA_SECONDS)
            if batch is None:
                return
            yield batch
