"""The share of its time that a run waits for data: by an artificial clock, and in the log."""

import copy
import json
import math
import pickle
import time

import pytest
from conftest import LENGTH, train
from fairseq.data.iterators import CountingIterator
from fairseq.logging import metrics

from fairseq_minimodel.models.accounting import record_waiting
from fairseq_minimodel.tasks.timed_batches import TimedBatches


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still: `clock[0] += seconds` is the only time that passes."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    metrics.reset()
    yield now
    metrics.reset()


class Epochs:
    """What fairseq's task returns, as far as it matters here; a batch takes so many seconds."""

    def __init__(self, clock, seconds, first=0):
        self.clock, self.seconds, self.first, self.shuffled = clock, seconds, first, None

    def __len__(self):
        return len(self.seconds)

    def next_epoch_itr(self, shuffle=True):
        self.shuffled = shuffle
        return CountingIterator(self._batches(), start=self.first, total=len(self))

    def _batches(self):
        for number, seconds in enumerate(self.seconds[self.first :], start=self.first):
            self.clock[0] += seconds
            yield {"id": number}


def test_waiting_is_its_share_of_waiting_and_training(clock):
    with metrics.aggregate("train") as log:
        shares = []
        for batch in TimedBatches(Epochs(clock, [1, 3, 0.5])).next_epoch_itr():
            record_waiting()
            metrics.log_start_time("train_wall")
            clock[0] += 4
            metrics.log_stop_time("train_wall")
            clock[0] += 100  # neither: saving, validating
            shares.append((batch["id"], log.get_smoothed_values()["data_wait"]))
    # waited 1, 4 and 4.5 s; trained 4, 8 and 12 s
    assert shares == [(0, 20.0), (1, 33.33), (2, 27.27)]


def test_without_waiting_it_is_0(clock):
    with metrics.aggregate("train") as log:
        record_waiting()
        assert log.get_smoothed_values()["data_wait"] == 0
        assert len(list(TimedBatches(Epochs(clock, [0])).next_epoch_itr())) == 1
        assert log.get_smoothed_values()["data_wait"] == 0


def test_they_are_fairseqs_batches(clock):
    epochs = Epochs(clock, [0, 0, 0, 0], first=1)
    batches = TimedBatches(epochs)
    assert len(batches) == 4 and batches.first == 1
    epoch = batches.next_epoch_itr(shuffle=False)
    assert epochs.shuffled is False
    assert len(epoch) == 4 and epoch.n == 1
    assert [batch["id"] for batch in epoch] == [1, 2, 3]
    assert epoch.n == 4 and not epoch.has_next()


@pytest.mark.parametrize(
    "copy_of", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))]
)
def test_they_can_be_copied_and_pickled(copy_of):
    batches = TimedBatches(Epochs([0.0], [1, 2]))
    copied = copy_of(batches)
    assert type(copied) is TimedBatches and len(copied) == 2
    assert copied.seconds == [1, 2] and copied.shuffled is None
    epoch = batches.next_epoch_itr()
    assert copy.copy(epoch).n == 0
    with pytest.raises(AttributeError, match="colour"):
        _ = copied.colour


def test_the_log_of_a_run_has_what_it_cost(joint_checkpoint, target_data, tmp_path):
    log = train(
        target_data, tmp_path, "--task", "language_adaptation", "--criterion", "masked_lm",
        "--arch", "minimodel_roberta", *LENGTH, "--base-checkpoint", joint_checkpoint,
        "--max-update", "2",
    )  # fmt: skip
    for name, prefix, count in (("train_inner", "", 2), ("train", "train_", 1)):
        records = [record for record in records_of(log, name) if prefix + "flops" in record]
        assert len(records) == count
        for record in records:
            waiting, flops, tokens, tflops = (
                float(record[prefix + key]) for key in ("data_wait", "flops", "tokens", "tflops")
            )
            assert 0 <= waiting < 100 and flops > 0 and tokens > 0
            assert tflops >= 0 and math.isfinite(tflops)
    (validation,) = records_of(log, "valid")
    assert "valid_loss" in validation and "valid_data_wait" not in validation


def records_of(log, name):
    lines = [line for line in log.splitlines() if f"| INFO | {name} | " in line]
    return [json.loads(line.split(" | ")[-1]) for line in lines]
