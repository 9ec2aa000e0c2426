"""80/10/10: of the chosen 15 %, 80 % become the mask, 10 % another token, 10 % stay."""

import math

import numpy
import pytest
from conftest import write_corpus
from fairseq.tasks import setup_task
from omegaconf import OmegaConf

from fairseq_minimodel.tasks.language_adaptation import LanguageAdaptationConfig

PAD = 1


@pytest.fixture(scope="module")
def positions(tmp_path_factory):
    """Input, target and original token of every position that holds a word or </s>."""
    folder = write_corpus(
        tmp_path_factory.mktemp("long"), [f"w{i}" for i in range(500)], seed=4, sentences=4000
    )
    config = OmegaConf.structured(LanguageAdaptationConfig)
    config.update(
        _name="language_adaptation", data=str(folder), tokens_per_sample=64, seed=1,
        save_dir=".", restore_file="checkpoint_last.pt", sample_break_mode="none",
    )  # fmt: skip
    task = setup_task(config)
    task.load_dataset("train")
    dataset = task.datasets["train"]
    dataset.set_epoch(1)
    inputs, targets = [], []
    for index in range(len(dataset)):
        item = dataset[index]
        inputs.append(item["net_input.src_tokens"].numpy()[1:])
        targets.append(item["target"].numpy()[1:])
    return numpy.concatenate(inputs), numpy.concatenate(targets), task


def share(hits, of):
    """A share and four standard deviations of it."""
    p = hits / of
    return p, 4 * math.sqrt(p * (1 - p) / of)


def test_the_shares_are_15_and_80_10_10(positions):
    inputs, targets, task = positions
    chosen = targets != PAD
    assert len(inputs) > 30000
    p, tolerance = share(chosen.sum(), len(inputs))
    assert p == pytest.approx(0.15, abs=tolerance)
    masked = (inputs == task.mask_idx) & chosen
    kept = (inputs == targets) & chosen
    other = chosen & ~masked & ~kept
    # a random token is the original one with a probability of 1/500: within the tolerance
    for hits, expected in ((masked, 0.8), (kept, 0.1), (other, 0.1)):
        p, tolerance = share(hits.sum(), chosen.sum())
        assert p == pytest.approx(expected, abs=tolerance)


def test_what_is_not_chosen_is_not_changed_and_random_tokens_are_words(positions):
    inputs, targets, task = positions
    chosen = targets != PAD
    assert not (inputs[~chosen] == task.mask_idx).any()
    other = inputs[chosen & (inputs != targets) & (inputs != task.mask_idx)]
    assert other.min() >= 4  # never <s>, <pad>, </s> or <unk>
    assert len(numpy.unique(other)) > 300  # and spread over the vocabulary
