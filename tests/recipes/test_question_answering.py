"""Question answering by the real commands: fine-tuning, other languages, and that it learns."""

import json

import pytest
import torch
from conftest import LENGTH, SMALL_MODEL, USER_DIR, run, state_of, train
from support.generated_questions import write_questions

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.cost import training_cost
from fairseq_minimodel.bodies.language_side import EMBEDDING, OUTPUT_BIAS
from fairseq_minimodel.corpus.questions import prepare_questions
from fairseq_minimodel.cost.flops import Shape, span_flops

SOURCE_WORDS = [f"word{index}" for index in range(1, 60)]
TARGET_WORDS = [f"wort{index}" for index in range(70)]
WINDOWS = {"max_length": 12, "stride": 4, "max_question": 1}
WINDOW_OPTIONS = ["--max-length", "12", "--stride", "4", "--max-question", "1"]
SPAN_QA = ["--task", "span_qa", "--criterion", "span_qa", "--required-batch-size-multiple", "1"]


def prepare(folder, data, train_count, **more):
    prepare_questions(
        write_questions(folder / "train.json", SOURCE_WORDS, seed=1, count=train_count),
        write_questions(folder / "valid.json", SOURCE_WORDS, seed=2, count=200),
        data / "sentencepiece.bpe.model",
        data / "dict.txt",
        folder / "data",
        **WINDOWS,
        **more,
    )
    return folder / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("questions")


@pytest.fixture(scope="module")
def fine_tuned(joint_checkpoint, source_data, folder):
    data = prepare(folder, source_data, train_count=60)
    train(
        data, folder / "tuned", *SPAN_QA, *SMALL_MODEL, "--max-positions", "32",
        "--freeze", "language", "--finetune-from-model", joint_checkpoint, "--max-update", "6",
    )  # fmt: skip
    return folder / "tuned" / "checkpoint_last.pt"


@pytest.fixture(scope="module")
def packs(joint_checkpoint, target_data, folder):
    """A pack of the source language and one adapted over 2 layers."""
    train(
        target_data, folder / "run", "--task", "language_adaptation", "--criterion", "masked_lm",
        "--arch", "minimodel_roberta", "--base-checkpoint", joint_checkpoint, "--depth", "2",
        *LENGTH,
    )  # fmt: skip
    adapted = folder / "run" / "checkpoint_last.pt"
    for language, checkpoint in (("en", joint_checkpoint), ("de", adapted)):
        result = run(
            ["fairseq-minimodel", "pack", "--checkpoint", checkpoint, "--language", language,
             "--output", folder / language]
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    return folder


def test_fine_tuning_leaves_the_language_side_and_its_cost_is_in_the_checkpoint(
    fine_tuned, joint_checkpoint
):
    before, after = state_of(joint_checkpoint), state_of(fine_tuned)
    for name in (EMBEDDING, OUTPUT_BIAS, "encoder.lineage", "encoder.vocabulary"):
        assert torch.equal(before[name], after[name]), name
    name = "encoder.sentence_encoder.layers.0.fc1.weight"
    assert not torch.equal(before[name], after[name])
    assert after["span_head.weight"].abs().sum() > 0 and after["span_head.bias"].abs().sum() > 0
    cost = training_cost(read_checkpoint(fine_tuned))
    shape = Shape(layers=3, width=16, ffn=32, heads=2, vocabulary=65)
    least = span_flops(shape, cost.tokens, 7, freeze="language").total
    assert cost.updates == 6 and least <= cost.flops < 1.3 * least  # with scores of padding


@pytest.mark.slow
def test_resuming_is_exact(fine_tuned, joint_checkpoint, folder):
    options = [
        *SPAN_QA, *SMALL_MODEL, "--max-positions", "32", "--freeze", "language",
        "--finetune-from-model", joint_checkpoint,
    ]  # fmt: skip
    train(folder / "data", folder / "halves", *options, "--max-update", "3")
    train(folder / "data", folder / "halves", *options, "--max-update", "6")
    halves, whole = state_of(folder / "halves" / "checkpoint_last.pt"), state_of(fine_tuned)
    assert all(torch.equal(halves[name], whole[name]) for name in whole)


def evaluate(folder, body, *options):
    """The scores, by the real command."""
    result = run(
        ["fairseq-minimodel", "evaluate", "--body", body, *WINDOW_OPTIONS, *options,
         "--json", folder / "scores.json"]
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads((folder / "scores.json").read_text())


def test_every_language_of_a_pack_is_scored(fine_tuned, packs, tmp_path):
    german = write_questions(tmp_path / "xquad.de.json", TARGET_WORDS, seed=3, count=40)
    scores = evaluate(
        tmp_path, fine_tuned, "--test", packs / "en", packs / "valid.json",
        "--test", packs / "de", german,
    )  # fmt: skip
    assert [(score["language"], score["questions"]) for score in scores] == [
        ("en", 200), ("de", 40),
    ]  # fmt: skip
    for score in scores:
        assert score["answered"] == score["questions"]
        assert 0 <= score["exact_match_low"] <= score["exact_match"]
        assert score["exact_match"] <= score["exact_match_high"] <= 1
        # an answer of one word shares no word with a wrong one, and more words may hold it
        assert score["exact_match"] <= score["f1"]
        assert score["f1_low"] <= score["f1"] <= score["f1_high"]


def test_plugging_keeps_the_head(fine_tuned, packs, tmp_path):
    result = run(
        ["fairseq-minimodel", "plug", "--body", fine_tuned, "--pack", packs / "de",
         "--output", tmp_path / "plugged"]
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "kept: " in result.stdout and ", span head; made: " in result.stdout
    before, after = state_of(fine_tuned), state_of(tmp_path / "plugged" / "model.pt")
    for name in ("span_head.weight", "span_head.bias"):
        assert torch.equal(before[name], after[name])
    code = f"""
import fairseq_minimodel
fairseq_minimodel.register()
from fairseq.models.roberta import RobertaModel
roberta = RobertaModel.from_pretrained({str(tmp_path / "plugged")!r}, bpe="sentencepiece")
tokens = roberta.encode("wort1", "wort2 wort3")
print(tokens.tolist(), list(roberta.model(tokens[None], span_scores=True)[0].shape))
"""
    printed = run(["python", "-c", code], fresh=False)
    assert printed.stdout == "[0, 5, 2, 2, 6, 7, 2] [1, 7, 2]\n", printed.stderr[-2000:]


@pytest.mark.slow
def test_it_learns_which_word_is_the_answer(source_data, tmp_path):
    """The word after a marker, in contexts of which some take several windows."""
    data = prepare(tmp_path, source_data, train_count=3000)
    result = run(
        ["fairseq-train", data, "--user-dir", USER_DIR, "--save-dir", tmp_path / "run", *SPAN_QA,
         "--arch", "minimodel_roberta", "--encoder-layers", "1", "--encoder-embed-dim", "64",
         "--encoder-ffn-embed-dim", "128", "--encoder-attention-heads", "4",
         "--max-positions", WINDOWS["max_length"], "--dropout", "0", "--attention-dropout", "0",
         "--optimizer", "adam", "--lr", "0.003", "--lr-scheduler", "polynomial_decay",
         "--warmup-updates", "50", "--total-num-update", "400", "--max-update", "400",
         "--batch-size", "32", "--no-epoch-checkpoints", "--cpu", "--num-workers", "0"]
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    checkpoint = tmp_path / "run" / "checkpoint_last.pt"
    result = run(
        ["fairseq-minimodel", "pack", "--checkpoint", checkpoint, "--language", "en",
         "--output", tmp_path / "en", "--dict", source_data / "dict.txt",
         "--sentencepiece-model", source_data / "sentencepiece.bpe.model"]
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (score,) = evaluate(tmp_path, checkpoint, "--test", tmp_path / "en", tmp_path / "valid.json")
    assert score["exact_match"] > 0.9 and score["f1"] >= score["exact_match"]
