"""80/10/10: of the chosen 15 %, 80 % become the mask, 10 % another token, 10 % stay."""

import math

import numpy
import pytest
import torch
from conftest import write_corpus
from fairseq.data import NestedDictionaryDataset
from fairseq.tasks import setup_task
from fairseq.tasks.masked_lm import MaskedLMConfig
from omegaconf import OmegaConf

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.kinds.masking import Masking
from fairseq_minimodel.tasks.language_adaptation import LanguageAdaptationConfig
from fairseq_minimodel.tasks.masked_blocks import MaskedBlocks

PAD = 1
CONFIGS = {"language_adaptation": LanguageAdaptationConfig, "masked_lm": MaskedLMConfig}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    words = [f"w{index}" for index in range(500)]
    return write_corpus(tmp_path_factory.mktemp("long"), words, seed=4, sentences=4000)


def make_task(corpus, name="language_adaptation", **settings):
    config = OmegaConf.structured(CONFIGS[name])
    config.update(_name=name, data=str(corpus), tokens_per_sample=64, sample_break_mode="none")
    config.update({"seed": 1, **settings})
    if name == "language_adaptation":
        config.update(cpu=True, save_dir=".", restore_file="checkpoint_last.pt")
    task = setup_task(config)
    task.load_dataset("train")
    return task


def make_batch(task, indices, epoch=1):
    dataset = task.dataset("train")
    dataset.set_epoch(epoch)
    return dataset.collater([dataset[index] for index in indices])


def original(batch):
    """The blocks before masking: the target where there is one, the input elsewhere."""
    return batch["target"].where(batch["target"] != PAD, batch["net_input"]["src_tokens"])


@pytest.fixture(scope="module")
def task(corpus):
    return make_task(corpus)


@pytest.fixture(scope="module")
def positions(task):
    """Input and target of every position of the corpus, blocks x length."""
    count = len(task.dataset("train")) - 1  # the last block is shorter
    batches = [
        make_batch(task, range(start, min(start + 32, count))) for start in range(0, count, 32)
    ]
    inputs = torch.cat([batch["net_input"]["src_tokens"] for batch in batches]).numpy()
    return inputs, torch.cat([batch["target"] for batch in batches]).numpy()


def within_four_deviations(hits, of, expected):
    tolerance = 4 * math.sqrt(of * expected * (1 - expected))
    return hits == pytest.approx(of * expected, abs=tolerance)


def test_the_shares_are_15_and_80_10_10(positions, task):
    inputs, targets = positions
    chosen = targets != PAD
    assert inputs.size > 30000
    # All that is random in the number of a block, 9 or 10 of 64, is its rounding.
    assert chosen.sum() == pytest.approx(0.15 * inputs.size, abs=4 * math.sqrt(len(inputs) / 4))
    masked = (inputs == task.mask_idx) & chosen
    kept = (inputs == targets) & chosen
    other = chosen & ~masked & ~kept
    # a random token is the original one with a probability of 1/500: within the tolerance
    for hits, expected in ((masked, 0.8), (kept, 0.1), (other, 0.1)):
        assert within_four_deviations(hits.sum(), chosen.sum(), expected)


def test_what_is_not_chosen_is_not_changed_and_random_tokens_are_words(positions, task):
    inputs, targets = positions
    chosen = targets != PAD
    assert not (inputs[~chosen] == task.mask_idx).any()
    other = inputs[chosen & (inputs != targets) & (inputs != task.mask_idx)]
    assert other.min() >= 4  # never <s>, <pad>, </s> or <unk>
    assert other.max() < len(task.source_dictionary)
    assert len(numpy.unique(other)) > 300  # and spread over the vocabulary


def test_random_tokens_are_drawn_evenly_from_their_range():
    masking = Masking(mask=99, random_from=4, random_to=9, leave_unmasked=0.0, random_token=1.0)
    tokens = numpy.full((2000, 20), 50)
    masked, predicted = masking(tokens, numpy.full(2000, 20), numpy.random.default_rng(1))
    assert predicted.sum() == 3 * 2000 and (masked[~predicted] == 50).all()
    values, counts = numpy.unique(masked[predicted], return_counts=True)
    assert values.tolist() == [4, 5, 6, 7, 8]
    for count in counts:
        assert within_four_deviations(count, 6000, 1 / 5)


def test_each_position_is_as_likely_and_the_number_in_a_block_is_rounded():
    blocks, length, p = 20000, 10, 0.15
    masking = Masking(mask=99, random_from=4, random_to=90, probability=p)
    tokens = numpy.full((blocks, length), 50)
    predicted = masking(tokens, numpy.full(blocks, length), numpy.random.default_rng(2))[1]
    for column in predicted.T:
        assert within_four_deviations(column.sum(), blocks, p)
    numbers, counts = numpy.unique(predicted.sum(1), return_counts=True)
    assert numbers.tolist() == [1, 2]
    assert within_four_deviations(counts[0], blocks, 0.5)


@pytest.mark.parametrize("p", [0.15, 0.4, 1.0])
def test_padding_is_neither_masked_nor_predicted(p):
    lengths = numpy.tile(numpy.arange(1, 21), 50)
    real = numpy.arange(20) < lengths[:, None]
    tokens = numpy.where(real, 50, PAD)
    masking = Masking(mask=99, random_from=4, random_to=90, probability=p)
    masked, predicted = masking(tokens, lengths, numpy.random.default_rng(3))
    assert (tokens == numpy.where(real, 50, PAD)).all()  # masked in a copy
    assert not predicted[~real].any() and (masked[~real] == PAD).all()
    exact = p * lengths
    numbers = predicted.sum(1)
    assert ((numpy.floor(exact) <= numbers) & (numbers <= numpy.ceil(exact))).all()
    assert (masked[~predicted] == tokens[~predicted]).all()
    assert (masked == 99).any(axis=0).all()  # every column that has tokens is masked at times


def test_masks_follow_from_the_seed_the_epoch_and_the_blocks(corpus, task):
    def masks(task, indices, epoch=1):
        batch = make_batch(task, indices, epoch)
        return batch["net_input"]["src_tokens"], batch["target"]

    first = masks(task, range(8), epoch=1)
    again = make_task(corpus)  # as when a run resumes
    assert all(map(torch.equal, first, masks(again, range(8))))
    for changed in (
        masks(task, range(8), epoch=2),
        masks(make_task(corpus, seed=2), range(8)),
    ):
        assert not torch.equal(first[0], changed[0]) and not torch.equal(first[1], changed[1])
    assert all(map(torch.equal, first, masks(task, range(8), epoch=1)))
    # With other blocks in the batch, a block has other masks.
    shorter = masks(task, range(7))
    assert not torch.equal(shorter[1], first[1][:7])


@pytest.mark.parametrize("break_mode", ["none", "eos"])  # blocks of equal and of many lengths
def test_a_batch_is_what_fairseqs_task_makes_of_the_blocks_but_for_the_choice(corpus, break_mode):
    # by default fairseq's has net_input.src_id as well, for data2vec; RoBERTa does not read it
    ours, theirs = (
        make_task(corpus, name, sample_break_mode=break_mode, include_index=False)
        for name in ("language_adaptation", "masked_lm")
    )
    assert isinstance(ours.dataset("train").dataset, MaskedBlocks)
    datasets = [task.dataset("train") for task in (ours, theirs)]
    assert len(datasets[0]) == len(datasets[1])
    orders = [dataset.ordered_indices() for dataset in datasets]
    assert (orders[0] == orders[1]).all()
    for index in (0, 1, len(datasets[0]) - 1):
        assert datasets[0].num_tokens(index) == datasets[1].num_tokens(index)
        assert numpy.max(datasets[0].size(index)) == numpy.max(datasets[1].size(index))

    indices = [5, 0, 17, len(datasets[0]) - 1]
    batch, expected = (make_batch(task, indices) for task in (ours, theirs))
    assert torch.equal(original(batch), original(expected))
    assert (original(batch)[:, 0] == 0).all()  # <s>
    assert not torch.equal(batch["target"], expected["target"])
    check_same_but_for_the_choice(batch, expected)
    check_same_but_for_the_choice(batch["net_input"], expected["net_input"])


def check_same_but_for_the_choice(batch, expected):
    assert set(batch) == set(expected)
    for key in set(expected) - {"net_input"}:
        assert type(batch[key]) is type(expected[key]), key
        found, wanted = torch.as_tensor(batch[key]), torch.as_tensor(expected[key])
        assert found.dtype == wanted.dtype and found.shape == wanted.shape, key
        assert key in ("src_tokens", "target") or torch.equal(found, wanted), key


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"mask_prob": 15.0}, "--mask-prob 15.0"),
        ({"mask_prob": 0.0}, "--mask-prob 0.0"),
        ({"leave_unmasked_prob": 0.6, "random_token_prob": 0.5}, "0.6 and --random-token-prob 0.5"),
        ({"leave_unmasked_prob": -0.1}, "--leave-unmasked-prob -0.1"),
    ],
    ids=str,
)
def test_shares_that_are_none_are_refused(corpus, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        make_task(corpus, **settings)


def test_no_blocks_make_no_batch(task):
    assert task.dataset("train").collater([]) == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"mask_multiple_length": 2},
        {"mask_stdev": 1.0},
        {"freq_weighted_replacement": True},
        {"skip_masking": True},
        {"include_target_tokens": True},
    ],
    ids=str,
)
def test_other_kinds_of_masking_are_fairseqs(corpus, settings):
    ours, theirs = (make_task(corpus, name, **settings) for name in CONFIGS)
    assert isinstance(ours.dataset("train").dataset, NestedDictionaryDataset)
    batch, expected = (make_batch(task, range(4)) for task in (ours, theirs))
    for key in ("src_tokens", "src_lengths"):
        assert torch.equal(batch["net_input"][key], expected["net_input"][key])
    assert torch.equal(batch["target"], expected["target"])
    assert ("target_tokens" in batch["net_input"]) == ("include_target_tokens" in settings)


def test_whole_words_are_fairseqs_too(corpus, monkeypatch):
    asked = []
    monkeypatch.setattr("fairseq.tasks.masked_lm.get_whole_word_mask", lambda *_: asked.append(1))
    monkeypatch.setattr(
        "fairseq.tasks.masked_lm.MaskedLMTask.args", None, raising=False
    )  # which fairseq reads, and a task configured by dataclass has not
    task = make_task(corpus, mask_whole_words=True)
    assert asked and isinstance(task.dataset("train").dataset, NestedDictionaryDataset)
