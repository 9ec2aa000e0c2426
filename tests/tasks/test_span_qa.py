"""The task reads what prepare-questions wrote, and says what does not fit."""

import argparse
import shutil

import pytest
from omegaconf import OmegaConf
from support.generated_questions import write_questions

from fairseq_minimodel.corpus.questions import prepare_questions
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.models.minimodel_roberta import MiniModelRobertaConfig
from fairseq_minimodel.tasks.span_qa import SpanQAConfig, SpanQATask


@pytest.fixture(scope="module")
def data(source_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    words = [f"word{index}" for index in range(1, 60)]
    prepare_questions(
        write_questions(folder / "train.json", words, seed=1, count=20),
        write_questions(folder / "valid.json", words, seed=2, count=8),
        source_data / "sentencepiece.bpe.model",
        source_data / "dict.txt",
        folder / "data",
        max_length=11,
        stride=2,
        max_question=2,
    )
    return folder / "data"


def make_task(data, max_positions=16):
    config = SpanQAConfig(data=str(data), max_positions=max_positions, seed=1)
    return SpanQATask.setup_task(config)


def test_batches(data):
    task = make_task(data)
    assert len(task.source_dictionary) == 65  # 60 words, 4 special symbols, <mask>
    for split in ("train", "valid"):
        task.load_dataset(split)
        dataset = task.dataset(split)
        order = dataset.ordered_indices()
        lengths = [dataset.size(index) for index in order]
        assert lengths == sorted(lengths) and sorted(order) == list(range(len(dataset)))
        batch = dataset.collater([dataset[index] for index in order])
        tokens, target = batch["net_input"]["src_tokens"], batch["target"]
        assert tokens.shape == (len(dataset), 11) and target.shape == (len(dataset), 2)
        assert batch["net_input"]["src_lengths"].tolist() == lengths
        assert tokens.ne(1).sum(1).tolist() == lengths
        assert batch["nsentences"] == len(dataset) and batch["ntokens"] == sum(lengths)
        # an answer is a word, after the question and before the last </s>
        marker = task.source_dictionary.index("▁word0")
        for row, (start, end) in zip(tokens, target, strict=True):
            assert start == end
            if start > 5:
                assert row[start - 1] == marker
            elif start == 0 and (row == marker).any():
                assert row[(row == marker).nonzero().item() + 1] == 2


def test_the_model_has_a_head_and_the_positions_asked_for(data):
    config = OmegaConf.structured(
        MiniModelRobertaConfig(
            _name="minimodel_roberta",
            encoder_layers=1,
            encoder_embed_dim=8,
            encoder_ffn_embed_dim=8,
            encoder_attention_heads=2,
            freeze="language",
        )
    )
    model = make_task(data).build_model(config)
    assert model.span_head.weight.shape == (2, 8) and model.max_positions() == 16
    assert all(parameter.requires_grad for parameter in model.span_head.parameters())


def test_what_does_not_fit_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="windows of 11 tokens in the split train.*8 positions"):
        make_task(data, max_positions=8).load_dataset("train")
    with pytest.raises(
        InputError, match=r"no .*windows/test.bin: make it with fairseq-minimodel prep"
    ):
        make_task(data).load_dataset("test")
    with pytest.raises(InputError, match="no .*dict.txt: make it with"):
        make_task(tmp_path)
    with pytest.raises(InputError, match="trains the model minimodel_roberta, not roberta_base"):
        make_task(data).build_model(argparse.Namespace(arch="roberta_base"))


def test_an_answer_outside_of_its_window_is_refused(data, tmp_path):
    copy = shutil.copytree(data, tmp_path / "data")
    stored = copy / "spans/train.bin"
    damaged = bytearray(stored.read_bytes())
    damaged[0] = 99
    stored.write_bytes(damaged)
    with pytest.raises(InputError, match=r"spans/train.bin is damaged: .* window 0 is \[99, "):
        make_task(copy).load_dataset("train")
