"""Tags by the real commands: fine-tuning, other languages, task modules, and that it learns."""

import json

import pytest
import torch
from conftest import LENGTH, SMALL_MODEL, USER_DIR, run, state_of, train
from recipes.test_training import run_two_processes
from support.generated_tags import ENTITIES, write_columns

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.cost import training_cost
from fairseq_minimodel.bodies.language_side import EMBEDDING, OUTPUT_BIAS
from fairseq_minimodel.cost.flops import Shape, token_flops
from fairseq_minimodel.modules.registry import METHODS

SOURCE_WORDS = [f"word{index}" for index in range(60)]
TARGET_WORDS = [f"wort{index}" for index in range(70)]
TAGGING = ["--task", "tagging", "--criterion", "tagging", "--required-batch-size-multiple", "1"]


def command(*options):
    result = run(["fairseq-minimodel", *options])
    assert result.returncode == 0, result.stderr
    return result.stdout


def prepare(folder, data, count):
    write_columns(folder / "train.txt", SOURCE_WORDS, seed=1, count=count)
    write_columns(folder / "valid.txt", SOURCE_WORDS, seed=2, count=60)
    return command(
        "prepare-tags", "--train", folder / "train.txt", "--valid", folder / "valid.txt",
        "--dict", data / "dict.txt", "--sentencepiece-model", data / "sentencepiece.bpe.model",
        "--max-length", "8", "--output", folder / "data",
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tags")


@pytest.fixture(scope="module")
def options(joint_checkpoint):
    return [
        *TAGGING, *SMALL_MODEL, "--max-positions", "32", "--freeze", "language",
        "--finetune-from-model", joint_checkpoint,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def fine_tuned(options, source_data, folder):
    printed = prepare(folder, source_data, count=60)
    assert "train (" in printed and "60 sentences" in printed and "up to 8 tokens" in printed
    assert "tags: B-LOC, B-PER, I-LOC, I-PER, O" in printed
    train(folder / "data", folder / "tuned", *options, "--max-update", "6")
    return folder / "tuned" / "checkpoint_last.pt"


@pytest.fixture(scope="module")
def packs(joint_checkpoint, target_data, folder):
    train(
        target_data, folder / "run", "--task", "language_adaptation", "--criterion", "masked_lm",
        "--arch", "minimodel_roberta", "--base-checkpoint", joint_checkpoint, "--depth", "2",
        *LENGTH,
    )  # fmt: skip
    adapted = folder / "run" / "checkpoint_last.pt"
    for language, checkpoint in (("en", joint_checkpoint), ("de", adapted)):
        command("pack", "--checkpoint", checkpoint, "--language", language,
                "--output", folder / language)  # fmt: skip
    return folder


def test_fine_tuning_leaves_the_language_side_and_its_cost_is_in_the_checkpoint(
    fine_tuned, joint_checkpoint
):
    before, after = state_of(joint_checkpoint), state_of(fine_tuned)
    for name in (EMBEDDING, OUTPUT_BIAS, "encoder.lineage", "encoder.vocabulary"):
        assert torch.equal(before[name], after[name]), name
    name = "encoder.sentence_encoder.layers.0.fc1.weight"
    assert not torch.equal(before[name], after[name])
    assert after["tag_head.weight"].shape == (5, 16) and after["tag_head.bias"].abs().sum() > 0
    cost = training_cost(read_checkpoint(fine_tuned))
    shape = Shape(layers=3, width=16, ffn=32, heads=2, vocabulary=65)
    least = token_flops(shape, cost.tokens, 5, outputs=5, freeze="language").total
    assert cost.updates == 6 and least <= cost.flops < 1.3 * least  # with scores of padding


def test_resuming_is_exact(fine_tuned, options, folder):
    train(folder / "data", folder / "halves", *options, "--max-update", "3")
    train(folder / "data", folder / "halves", *options, "--max-update", "6")
    halves, whole = state_of(folder / "halves" / "checkpoint_last.pt"), state_of(fine_tuned)
    assert all(torch.equal(halves[name], whole[name]) for name in whole)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(fine_tuned, options, folder):
    """Two batches an update: in one process after each other, in two side by side."""
    options = [*options, "--dropout", "0", "--attention-dropout", "0", "--disable-validation"]
    train(folder / "data", folder / "one", *options, "--update-freq", "2", "--batch-size", "4")
    run_two_processes(folder / "data", folder / "two", *options)
    one, two = (state_of(folder / name / "checkpoint_last.pt") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=1e-3, atol=1e-4, msg=name)


def test_every_language_of_a_pack_is_scored_tagged_and_plugged(fine_tuned, packs, tmp_path):
    german = write_columns(tmp_path / "german.txt", TARGET_WORDS, seed=3, count=40)
    table = command(
        "evaluate", "--body", fine_tuned, "--test", packs / "en", packs / "valid.txt",
        "--test", packs / "de", german, "--json", tmp_path / "scores.json",
    )  # fmt: skip
    assert "F1 (%)" in table and "accuracy" not in table
    english, other = json.loads((tmp_path / "scores.json").read_text())
    assert (english["language"], english["sentences"], other["sentences"]) == ("en", 60, 40)
    for score in (english, other):
        assert score["lost"] == score["truncated"] == 0 and score["words"] > score["sentences"]
        assert 0 <= score["f1_low"] <= score["f1"] <= score["f1_high"] <= 1
        assert sum(row["n"] for row in score["labels"].values()) == score["entities"]
    (tmp_path / "lines.txt").write_text("wort1 wort20\n")
    printed = command(
        "predict", "--body", fine_tuned, "--pack", packs / "de", "--input", tmp_path / "lines.txt"
    )
    assert json.loads(printed)["text"] == "wort1 wort20"
    command("plug", "--body", fine_tuned, "--pack", packs / "de", "--output", tmp_path / "plugged")
    before, after = state_of(fine_tuned), state_of(tmp_path / "plugged" / "model.pt")
    for name in ("tag_head.weight", "tag_head.bias"):
        assert torch.equal(before[name], after[name])
    code = f"""
import fairseq_minimodel
fairseq_minimodel.register()
from fairseq.models.roberta import RobertaModel
roberta = RobertaModel.from_pretrained({str(tmp_path / "plugged")!r}, bpe="sentencepiece")
tokens = roberta.encode("wort1 wort2")
print(list(roberta.model(tokens[None], token_head="tag_head")[0].shape))
"""
    printed = run(["python", "-c", code], fresh=False)
    assert printed.stdout == "[1, 4, 5]\n", printed.stderr[-2000:]
    assert "tagging words (5 tags)" in command("inspect", tmp_path / "plugged")
    assert "tagged words (5 tags)" in command("inspect", packs / "data")


@pytest.mark.parametrize(
    "method",
    ["mask", *(pytest.param(one, marks=pytest.mark.slow) for one in METHODS if one != "mask")],
)
def test_task_modules_learn_tags(method, options, fine_tuned, joint_checkpoint, packs, tmp_path):
    own = [one for one in options if one not in ("--freeze", "language")]
    more = ["--weight-decay", "0", "--module-reduction", "4", "--structure-width", "8"]
    train(packs / "data", tmp_path / "run", *own, "--task-module", method, *more,
          "--max-update", "2", "--disable-validation")  # fmt: skip
    checkpoint, module = tmp_path / "run/checkpoint_last.pt", tmp_path / "module"
    command("module", "--checkpoint", checkpoint, "--output", module)
    labels = [line.split()[0] for line in (module / "label/dict.txt").read_text().splitlines()]
    assert labels == sorted(ENTITIES)
    scores = []
    for subject in (["--body", checkpoint], ["--body", joint_checkpoint, "--module", module]):
        command("evaluate", *subject, "--test", packs / "en", packs / "valid.txt",
                "--json", tmp_path / f"{len(scores)}.json")  # fmt: skip
        scores += json.loads((tmp_path / f"{len(scores)}.json").read_text())
    assert scores[0]["labels"] == scores[1]["labels"] and scores[0]["f1"] == scores[1]["f1"]
    assert "5 tags" in command("inspect", module)


def test_training_in_16_bits(options, fine_tuned, folder, tmp_path):
    log = train(folder / "data", tmp_path / "run", *options, "--bf16", "--max-update", "2")
    assert "done training" in log


@pytest.mark.slow
def test_it_learns_which_words_are_entities(source_data, tmp_path):
    """By the words themselves, and B or I by the word before."""
    prepare(tmp_path, source_data, count=1500)
    result = run(
        ["fairseq-train", tmp_path / "data", "--user-dir", USER_DIR, "--save-dir", tmp_path / "run",
         *TAGGING, "--arch", "minimodel_roberta", "--encoder-layers", "1",
         "--encoder-embed-dim", "64", "--encoder-ffn-embed-dim", "128",
         "--encoder-attention-heads", "4", "--max-positions", "8", "--dropout", "0",
         "--attention-dropout", "0", "--optimizer", "adam", "--lr", "0.003",
         "--lr-scheduler", "polynomial_decay", "--warmup-updates", "30",
         "--total-num-update", "200", "--max-update", "200", "--batch-size", "32",
         "--no-epoch-checkpoints", "--cpu", "--num-workers", "0", "--disable-validation"]
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    checkpoint = tmp_path / "run" / "checkpoint_last.pt"
    command(
        "pack", "--checkpoint", checkpoint, "--language", "en", "--output", tmp_path / "en",
        "--dict", source_data / "dict.txt",
        "--sentencepiece-model", source_data / "sentencepiece.bpe.model",
    )  # fmt: skip
    command("evaluate", "--body", checkpoint, "--test", tmp_path / "en", tmp_path / "valid.txt",
            "--json", tmp_path / "scores.json")  # fmt: skip
    [score] = json.loads((tmp_path / "scores.json").read_text())
    assert score["f1"] > 0.95
