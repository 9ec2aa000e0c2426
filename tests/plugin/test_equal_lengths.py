"""Batches of similar lengths in fairseq's task `sentence_prediction`."""

import json

import pytest
from conftest import run
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask

import fairseq_minimodel
from fairseq_minimodel.vocabulary.symbols import PAD_INDEX

fairseq_minimodel.register()
EXAMPLES, BATCH = 200, 8


@pytest.fixture(scope="module")
def data(source_data, tmp_path_factory):
    """Pairs, the first of 1 to 20 words and the second of 1 to 6, in an order without a rule."""
    folder = tmp_path_factory.mktemp("lengths")
    rows = [
        {
            "a": "word1 " * (n * 7 % 20 + 1),
            "b": "word2 " * (n % 6 + 1),
            "label": str(n % 2),
        }
        for n in range(EXAMPLES)
    ]
    train = folder / "train.jsonl"
    train.write_text("\n".join(map(json.dumps, rows)))
    result = run(
        ["fairseq-minimodel", "prepare-classification", "--train", train, "--valid", train,
         "--text-columns", "a", "b", "--label-column", "label", "--dict", source_data / "dict.txt",
         "--sentencepiece-model", source_data / "sentencepiece.bpe.model",
         "--output", folder / "data"],
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder / "data"


def batches(data, epoch=1, **options):
    cfg = SentencePredictionConfig(
        data=str(data), num_classes=2, init_token=0, separator_token=2, max_positions=512, seed=1,
        **options,
    )  # fmt: skip
    task = SentencePredictionTask.setup_task(cfg)
    iterator = task.get_batch_iterator(
        task.load_dataset("train"), max_sentences=BATCH, required_batch_size_multiple=1, epoch=epoch
    )
    return [
        (batch["id"].tolist(), batch["net_input"]["src_tokens"])
        for batch in iterator.next_epoch_itr(shuffle=True)
    ]


def padding(found):
    tokens = [tokens for _, tokens in found]
    return sum(int(t.eq(PAD_INDEX).sum()) for t in tokens) / sum(t.numel() for t in tokens)


def test_little_is_padded_and_every_example_comes_once(data):
    found = batches(data)
    assert sorted(i for ids, _ in found for i in ids) == list(range(EXAMPLES))
    assert padding(found) < 0.05 < 0.2 < padding(batches(data, no_shuffle=True))


def test_batches_come_in_a_random_order_and_so_do_texts_of_one_length(data):
    first, second = batches(data), batches(data, epoch=2)
    lengths = [tokens.size(1) for _, tokens in first]
    assert lengths != sorted(lengths)
    assert [ids for ids, _ in first] != [ids for ids, _ in second]
    assert any(ids != sorted(ids) for ids, _ in first)
    assert [ids for ids, _ in first] == [ids for ids, _ in batches(data)]


def test_without_shuffling_the_order_is_that_of_the_file(data):
    found = batches(data, no_shuffle=True)
    assert sorted(ids for ids, _ in found) == [
        list(range(begin, begin + BATCH)) for begin in range(0, EXAMPLES, BATCH)
    ]
