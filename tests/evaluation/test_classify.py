"""From a fine-tuned body and language packs to accuracies, by the real commands."""

import json
import math

import numpy
import pytest
import torch
from conftest import LENGTH, SMALL_MODEL, run, state_of, train, write_pairs
from fairseq.tasks import setup_task
from omegaconf import OmegaConf

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.language_side import EMBEDDING, OUTPUT_BIAS
from fairseq_minimodel.cost.flops import Shape, masked_lm_flops
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.kinds.batches import Batches
from fairseq_minimodel.kinds.classification import DEFAULT_HEAD, class_logits, token_sequences
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.packs.trained_language import was_language_trained
from fairseq_minimodel.vocabulary.symbols import read_symbols
from fairseq_minimodel.vocabulary.tokenizers import Vocabulary

SOURCE_WORDS = [f"word{index}" for index in range(60)]
TARGET_WORDS = [f"wort{index}" for index in range(70)]


@pytest.fixture(scope="module")
def fine_tuned(joint_checkpoint, pair_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fine_tuned")
    train(
        pair_data, folder, "--task", "sentence_prediction", "--criterion", "sentence_prediction",
        *SMALL_MODEL, "--freeze", "language", "--finetune-from-model", joint_checkpoint,
        "--num-classes", "3", "--init-token", "0", "--separator-token", "2",
        "--max-positions", "32", "--max-update", "6", "--required-batch-size-multiple", "1",
    )  # fmt: skip
    return folder / "checkpoint_last.pt"


def minimodel(*arguments):
    result = run(["fairseq-minimodel", *arguments])
    assert "Traceback" not in result.stderr, result.stderr
    return result


@pytest.fixture(scope="module")
def packs(joint_checkpoint, target_data, tmp_path_factory):
    """A pack of the source language and one adapted over 2 layers."""
    folder = tmp_path_factory.mktemp("packs")
    train(
        target_data, folder / "run", "--task", "language_adaptation", "--criterion", "masked_lm",
        "--arch", "minimodel_roberta", "--base-checkpoint", joint_checkpoint, "--depth", "2",
        *LENGTH,
    )  # fmt: skip
    adapted = folder / "run" / "checkpoint_last.pt"
    for language, checkpoint in (("source", joint_checkpoint), ("target", adapted)):
        result = minimodel("pack", "--checkpoint", checkpoint, "--language", language,
                           "--output", folder / language)  # fmt: skip
        assert result.returncode == 0, result.stderr
    return folder


def test_a_pack_holds_the_language_side_and_how_it_came_about(packs, target_data):
    pack = load_pack(packs / "target")
    state = state_of(packs / "run/checkpoint_last.pt")
    assert torch.equal(pack.side.embedding, state[EMBEDDING])
    assert torch.equal(pack.side.bias, state[OUTPUT_BIAS])
    about = pack.description
    assert (about.language, about.depth, about.updates) == ("target", 2, 4)
    assert about.lineage == load_pack(packs / "source").description.lineage
    assert about.validation_loss > 0
    # 4 batches of 8 blocks of at most 32 tokens
    assert 4 * 8 * 10 < about.tokens <= 4 * 8 * 32
    shape = Shape(layers=2, width=16, ffn=32, heads=2, vocabulary=80)
    # the last layer is computed for predicted tokens only, and these are 15 % within rounding
    all_tokens = masked_lm_flops(shape, about.tokens, 32, freeze="body").total
    predicted = masked_lm_flops(shape, about.tokens, 32, freeze="body", predictions_only=True).total
    assert 0.95 * predicted < about.flops < all_tokens


def test_fine_tuning_leaves_the_language_side_and_changes_the_body(fine_tuned, joint_checkpoint):
    before, after = state_of(joint_checkpoint), state_of(fine_tuned)
    for name in (EMBEDDING, OUTPUT_BIAS, "encoder.lineage", "encoder.vocabulary"):
        assert torch.equal(before[name], after[name]), name
    name = "encoder.sentence_encoder.layers.0.fc1.weight"
    assert not torch.equal(before[name], after[name])


def test_examples_are_fed_as_fairseqs_task_feeds_them(pair_data, source_data, tmp_path):
    vocabulary = Vocabulary(source_data / "sentencepiece.bpe.model", source_data / "dict.txt")
    config = OmegaConf.create(
        {"_name": "sentence_prediction", "data": str(pair_data), "num_classes": 3,
         "init_token": 0, "separator_token": 2, "no_shuffle": True, "shorten_method": "none",
         "shorten_data_split_list": "", "add_prev_output_tokens": False, "max_positions": 32,
         "regression_target": False, "classification_head_name": "x", "seed": 1,
         "d2v2_multi": False}
    )  # fmt: skip
    task = setup_task(config)
    dataset = task.load_dataset("valid")
    rows = write_pairs(tmp_path / "x.tsv", SOURCE_WORDS, seed=2, count=15).read_text().split("\n")
    for index, row in enumerate(rows[1:-1]):
        expected = dataset[index]["net_input.src_tokens"].numpy()
        [found], _ = token_sequences([row.split("\t")[:2]], vocabulary, config)
        assert numpy.array_equal(found, expected)


def test_predictions_do_not_depend_on_the_batch(fine_tuned, source_data):
    model = build_model(read_checkpoint(fine_tuned), read_symbols(source_data / "dict.txt"))
    generator = numpy.random.default_rng(0)
    sequences = [generator.integers(4, 64, size=generator.integers(3, 30)) for _ in range(40)]
    together, alone = (
        torch.stack(class_logits(model, DEFAULT_HEAD, sequences, Batches(size)))
        for size in (256, 1)
    )
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert len(set(together.argmax(dim=1).tolist())) > 1


def test_evaluate_scores_each_language(fine_tuned, packs, tmp_path):
    source = write_pairs(tmp_path / "source.tsv", SOURCE_WORDS, seed=5, count=60)
    target = write_pairs(tmp_path / "target.tsv", TARGET_WORDS, seed=6, count=60)
    result = minimodel(
        "evaluate", "--body", fine_tuned, "--test", packs / "source", source,
        "--test", packs / "target", target, "--text-columns", "premise", "hypothesis",
        "--json", tmp_path / "scores.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "| language" in result.stdout and "| target" in result.stdout
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [score["language"] for score in scores] == ["source", "target"]
    for score in scores:
        p, n, z = score["correct"] / 60, 60, 1.959964
        assert score["accuracy"] == p and score["examples"] == n
        assert score["chance"] == pytest.approx(1 / 3)
        # Wilson 1927, written out
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        assert score["low"] == pytest.approx(centre - half)
        assert score["high"] == pytest.approx(centre + half)


def test_the_label_order_is_that_of_the_tasks_dictionary(fine_tuned, packs, pair_data, tmp_path):
    """With the classes renamed in a cycle, each prediction means another label."""
    assert (pair_data / "label" / "dict.txt").read_text().split()[::2] == [
        "same",
        "other",
        "neither",
    ]
    data = write_pairs(tmp_path / "source.tsv", SOURCE_WORDS, seed=5, count=60)
    correct = 0
    for shift in range(3):
        names = ["same", "other", "neither"]
        order = names[shift:] + names[:shift]
        (tmp_path / "dict.txt").write_text("".join(f"{name} 1\n" for name in order))
        minimodel(
            "evaluate", "--body", fine_tuned, "--test", packs / "source", data,
            "--text-columns", "premise", "hypothesis", "--labels", tmp_path / "dict.txt",
            "--json", tmp_path / "scores.json",
        )  # fmt: skip
        correct += json.loads((tmp_path / "scores.json").read_text())[0]["correct"]
    assert correct == 60  # every example is right under exactly one of the three orders


def test_plug_writes_a_folder_that_fairseq_loads(fine_tuned, packs, joint_checkpoint, tmp_path):
    minimodel("plug", "--body", fine_tuned, "--pack", packs / "target", "--output", tmp_path / "de")
    code = f"""
import fairseq_minimodel
fairseq_minimodel.register()
from fairseq.models.roberta import RobertaModel
roberta = RobertaModel.from_pretrained({str(tmp_path / "de")!r}, bpe="sentencepiece")
tokens = roberta.encode("wort1 wort2", "wort3")
print(tokens.tolist(), roberta.predict("sentence_classification_head", tokens).exp().sum().item())
"""
    printed = run(["python", "-c", code], fresh=False)
    tokens, _, total = printed.stdout.rpartition(" ")
    assert tokens == "[0, 5, 6, 2, 2, 7, 2]", printed.stderr[-2000:]
    assert float(total) == pytest.approx(1)
    # and a pretrained body, for fairseq-validate
    minimodel("plug", "--body", joint_checkpoint, "--pack", packs / "target",
              "--output", tmp_path / "mlm")  # fmt: skip
    state, pack = state_of(tmp_path / "mlm" / "model.pt"), load_pack(packs / "target")
    assert torch.equal(state[EMBEDDING], pack.side.embedding)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--body", "{joint}", "--test", "{packs}/source", "{data}"], "not fine-tuned"),
        (["--body", "absent.pt", "--test", "{packs}/source", "{data}"], "no checkpoint absent.pt"),
        (["--body", "{body}", "--test", "nowhere", "{data}"], "nowhere is not a language pack"),
        (["--body", "{body}", "--test", "{packs}/source", "absent.tsv"], "absent.tsv"),
        (["--body", "{body}", "--test", "{packs}/source", "{data}", "--label-column", "1"],
         "knows same, other, neither"),
        (["--body", "{body}", "--test", "{packs}/source", "{data}", "--labels", "{dict}"],
         "3 classes and the label dictionary 60"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments, sentence, fine_tuned, joint_checkpoint, packs, source_data, tmp_path
):
    names = {
        "joint": joint_checkpoint,
        "body": fine_tuned,
        "packs": packs,
        "data": write_pairs(tmp_path / "x.tsv", SOURCE_WORDS, seed=1, count=9),
        "dict": source_data / "dict.txt",
    }
    result = minimodel(
        "evaluate", "--text-columns", "premise", "hypothesis", "--json", tmp_path / "scores.json",
        *[argument.format(**names) for argument in arguments],
    )  # fmt: skip
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1 and sentence in result.stderr
    assert not (tmp_path / "scores.json").exists()


def test_evaluate_says_how_many_examples_were_cut(fine_tuned, packs, tmp_path):
    """Of a pair whose first text is longer than the model (32 positions), the second still counts."""
    data = write_pairs(tmp_path / "source.tsv", SOURCE_WORDS, seed=5, count=6)
    with open(data, "a") as file:
        for second in ("word1", "word2 word3"):
            file.write(f"{' '.join(SOURCE_WORDS)}\t{second}\tsame\n")
    result = minimodel(
        "evaluate", "--body", fine_tuned, "--test", packs / "source", data,
        "--text-columns", "premise", "hypothesis", "--json", tmp_path / "scores.json",
    )  # fmt: skip
    assert f"source: 2 of 8 examples of {data} were too long" in result.stdout
    assert json.loads((tmp_path / "scores.json").read_text())[0]["truncated"] == 2


def test_fine_tuning_without_freezing_the_language_is_noticed(
    joint_checkpoint, pair_data, fine_tuned, packs, tmp_path
):
    """By what fairseq-train itself writes into its checkpoints."""
    train(
        pair_data, tmp_path, "--task", "sentence_prediction", "--criterion", "sentence_prediction",
        *SMALL_MODEL, "--finetune-from-model", joint_checkpoint,
        "--num-classes", "3", "--init-token", "0", "--separator-token", "2",
        "--max-positions", "32", "--max-update", "1", "--required-batch-size-multiple", "1",
    )  # fmt: skip
    assert was_language_trained(read_checkpoint(tmp_path / "checkpoint_last.pt"))
    assert not was_language_trained(read_checkpoint(fine_tuned))
    for path in (joint_checkpoint, packs / "run/checkpoint_last.pt"):
        assert not was_language_trained(read_checkpoint(path))
