"""What training sees in an epoch does not depend on the processes that load it, nor on a resume."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from conftest import LENGTH, SMALL_MODEL, state_of, train
from fairseq.tasks import TASK_DATACLASS_REGISTRY, setup_task
from omegaconf import OmegaConf

import fairseq_minimodel
from fairseq_minimodel.bodies.identity import LINEAGE

fairseq_minimodel.register()

SPANS = {"mask_multiple_length": 2}  # what language_adaptation leaves to fairseq
TASKS = {
    "masked_lm": ("masked_lm", {}),
    "language_adaptation": ("language_adaptation", {}),
    "language_adaptation-spans": ("language_adaptation", SPANS),
    "meta_masked_lm": ("meta_masked_lm", {"meta_support": 2, "meta_query": 2}),
    "meta_sentence_prediction": (
        "meta_sentence_prediction",
        {"num_classes": 3, "meta_support": 2, "meta_query": 2},
    ),
    "sentence_prediction-cropped": (
        "sentence_prediction",
        {"num_classes": 3, "shorten_method": "random_crop", "max_positions": 9},
    ),
}
EPOCHS = 3


@pytest.fixture(params=TASKS)
def make_epochs(request, source_data, pair_data):
    """A function that makes the batches of a task, fresh as when a run starts."""
    name, settings = TASKS[request.param]
    config = OmegaConf.structured(TASK_DATACLASS_REGISTRY[name])
    if name.endswith("sentence_prediction"):
        config.update(data=str(pair_data), regression_target=False)
    else:
        config.update(data=str(source_data), tokens_per_sample=32, sample_break_mode="complete")
    if name.startswith("meta_"):
        config.update(distributed_world_size=1, ddp_backend="legacy_ddp")
    config.update(_name=name, seed=1, **settings)

    def make(workers, epoch=1):
        task = setup_task(config)
        task.load_dataset("train", epoch=epoch)
        return task.get_batch_iterator(
            task.dataset("train"), max_sentences=8, seed=1, num_workers=workers, epoch=epoch,
            data_buffer_size=10,
        )  # fmt: skip

    return make


def read_epoch(epochs):
    return [list(tensors_of(batch)) for batch in epochs.next_epoch_itr()]


def tensors_of(value):
    if torch.is_tensor(value):
        yield value
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from tensors_of(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from tensors_of(item)


def same(left, right):
    return [len(batch) for batch in left] == [len(batch) for batch in right] and all(
        torch.equal(*pair)
        for batches in zip(left, right, strict=True)
        for pair in zip(*batches, strict=True)
    )


def test_epochs_are_the_same_with_any_number_of_processes_and_differ_among_themselves(make_epochs):
    read = {}
    for workers in (0, 1, 2):
        epochs = make_epochs(workers)
        read[workers] = [read_epoch(epochs) for _ in range(EPOCHS)]
    for epoch, expected in enumerate(read[0]):
        assert len(expected) > 1
        for workers in (1, 2):
            assert same(read[workers][epoch], expected), (workers, epoch + 1)
        by_content = {number: sorted(map(str, batches)) for number, batches in enumerate(read[0])}
        for other in set(by_content) - {epoch}:
            assert by_content[other] != by_content[epoch]  # more than another order


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_epoch_is_the_same(make_epochs, workers):
    whole = make_epochs(workers)
    expected = [read_epoch(whole) for _ in range(EPOCHS)]
    for epoch, done in ((2, 0), (2, 1), (3, 0)):
        resumed = make_epochs(workers, epoch)
        resumed.load_state_dict(
            {"version": 2, "epoch": epoch, "iterations_in_epoch": done, "shuffle": True}
        )
        assert same(read_epoch(resumed), expected[epoch - 1][done:]), (epoch, done)
        if epoch < EPOCHS:  # and the one after it
            assert same(read_epoch(resumed), expected[epoch]), (epoch, done)


def test_no_processes_are_left_over_from_epoch_to_epoch(source_data):
    config = OmegaConf.structured(TASK_DATACLASS_REGISTRY["masked_lm"])
    config.update(_name="masked_lm", data=str(source_data), seed=1)
    config.update(tokens_per_sample=32, sample_break_mode="complete")
    task = setup_task(config)
    task.load_dataset("train")
    epochs = task.get_batch_iterator(
        task.dataset("train"), max_sentences=8, num_workers=2, data_buffer_size=10
    )
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = len(children.read_text().split()) if children.exists() else 0
    for _ in range(5):
        assert read_epoch(epochs)
    assert not children.exists() or len(children.read_text().split()) <= before + 2


MASKED = ["--task", "masked_lm", "--criterion", "masked_lm", *SMALL_MODEL, *LENGTH]


@pytest.mark.slow
def test_a_run_that_resumes_goes_on_as_if_it_had_never_stopped(source_data, tmp_path):
    """By bits, over the end of an epoch and within one, with a process that loads the data."""
    options = [*MASKED, "--num-workers", "1"]
    whole, between, within = (tmp_path / name for name in ("whole", "between", "within"))
    log = train(
        source_data, whole, *options, "--max-update", "20", "--save-interval-updates", "6",
    )  # fmt: skip
    assert '"epoch": 3, ' in log
    train(source_data, between, *options, "--max-update", "0", "--max-epoch", "1")
    within.mkdir()
    shutil.copy(whole / "checkpoint_2_12.pt", within / "checkpoint_last.pt")
    expected = state_of(whole / "checkpoint_last.pt")
    expected.pop(LINEAGE)  # drawn anew for each body
    for folder in (between, within):
        assert "Loaded checkpoint" in train(source_data, folder, *options, "--max-update", "20")
        found = state_of(folder / "checkpoint_last.pt")
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items()), folder
