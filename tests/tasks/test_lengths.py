"""Text that is longer than a run takes: how much of it that is, and which option helps."""

from types import SimpleNamespace

import numpy as np
import pytest
from fairseq.data import FairseqDataset
from fairseq.tasks import FairseqTask

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.tasks import lengths

MASKED = {"tokens_per_sample": 10}
PREDICTION = {"max_positions": 10, "shorten_method": "none"}


class Lengths(FairseqDataset):
    def __init__(self, sizes, as_list=False):
        self.sizes = [np.array(sizes)] if as_list else np.array(sizes)


class Task(FairseqTask):
    def max_positions(self):
        return 10


def filtered(task, split, limit=10, skip=True):
    dataset = task.datasets[split]
    sizes = dataset.sizes[0] if isinstance(dataset.sizes, list) else dataset.sizes
    return task.filter_indices_by_size(np.arange(len(sizes)), dataset, limit, skip).tolist()


def make_task(config=MASKED, **splits):
    task = Task(SimpleNamespace(**config))
    task.datasets = {name: Lengths(sizes) for name, sizes in splits.items()}
    return task


def test_nothing_is_said_of_text_that_fits(caplog):
    task = make_task(train=[10, 3], valid=[10])
    assert filtered(task, "train") == [0, 1] and filtered(task, "valid", skip=False) == [0]
    lengths.say_what_is_left_out(task)
    assert not caplog.records


@pytest.mark.parametrize("as_list", [False, True])
def test_what_is_left_out_of_all_splits_is_said_once(caplog, as_list):
    task = make_task(train=[5, 20, 5, 10], valid=[30, 10])
    task.datasets["train"] = Lengths([5, 20, 5, 10], as_list)
    for _ in range(2):  # epochs
        assert filtered(task, "train") == [0, 2, 3]
        assert filtered(task, "valid") == [1]
        lengths.say_what_is_left_out(task)
    (message,) = caplog.messages
    assert "50.0 % of the tokens of train (1 item) and 75.0 % of the tokens of valid" in message
    assert "longer than 10 tokens (the longest has 30)" in message
    assert "--tokens-per-sample 30" in message and "prepare --sequence-length 10" in message


def test_validation_text_that_is_too_long_ends_the_run_in_a_sentence():
    task = make_task(train=[5, 15], valid=[12, 12, 6])
    filtered(task, "train")
    with pytest.raises(InputError) as error:
        filtered(task, "valid", skip=False)
    message = str(error.value)
    assert "75.0 % of the tokens of train (1 item) and 80.0 % of the tokens of valid" in message
    for way_out in ("--tokens-per-sample 15", "--sequence-length 10", lengths.SKIP):
        assert way_out in message


def test_the_options_are_those_of_the_task():
    task = make_task(PREDICTION, valid=[12, 8])
    with pytest.raises(InputError, match=r"give --shorten-method truncate, or --max-positions 12"):
        filtered(task, "valid", skip=False)


def test_a_limit_of_the_batch_or_the_model_is_called_that():
    task = make_task(train=[8, 2])
    filtered(task, "train", limit=5)
    assert "give --max-tokens 8 or more" in lengths.ways_out(task, [task._too_long["train"]])


def test_nothing_left_ends_the_run():
    task = make_task(train=[11, 12])
    with pytest.raises(InputError, match=r"100\.0 % of the tokens of train") as error:
        filtered(task, "train")
    assert lengths.SKIP not in str(error.value)


def test_where_there_is_no_training_it_is_said_at_once(caplog):
    assert filtered(make_task(valid=[12, 8]), "valid") == [1]
    assert len(caplog.messages) == 1
    small = make_task(valid=[12, *[10] * 3000])
    filtered(small, "valid")
    assert "less than 0.1 % of the tokens of valid" in caplog.messages[1]
