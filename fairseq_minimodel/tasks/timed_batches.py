"""How long a run waits for its data."""

from collections.abc import Iterator
from typing import Any

from fairseq.data.iterators import CountingIterator, EpochBatchIterating
from fairseq.logging import metrics

from ..models.accounting import DATA_SECONDS


class TimedBatches:
    """The batches of fairseq's iterator over epochs, with the time it takes to get each."""

    def __init__(self, batches: EpochBatchIterating) -> None:
        self._batches = batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    def __len__(self) -> int:
        return len(self._batches)

    def next_epoch_itr(self, *args, **kwargs) -> "_TimedEpoch":
        return _TimedEpoch(self._batches.next_epoch_itr(*args, **kwargs))


class _TimedEpoch:
    def __init__(self, batches: CountingIterator) -> None:
        self._batches = batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._batches)
        while True:
            metrics.log_start_time(DATA_SECONDS)
            batch = next(batches, None)
            metrics.log_stop_time(DATA_SECONDS)
            if batch is None:
                return
            yield batch
