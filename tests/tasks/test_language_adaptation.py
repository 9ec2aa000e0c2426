"""Adaptation by the real command: what is frozen stays by bits, what is trained changes."""

import re
import shutil
from pathlib import Path

import fairseq.checkpoint_utils
import pytest
import torch
from conftest import LENGTH, OPTIMISER, USER_DIR, run, state_of, train, write_corpus
from fairseq.models.roberta import RobertaModel

import fairseq_minimodel
from fairseq_minimodel.bodies.identity import LINEAGE
from fairseq_minimodel.bodies.language_side import EMBEDDING, OUTPUT_BIAS, is_language_side

fairseq_minimodel.register()
IDENTITY = {"encoder.vocabulary"}


def adapt(data, save_dir, base, *options):
    return train(
        data, save_dir, "--task", "language_adaptation", "--arch", "minimodel_roberta", *LENGTH,
        "--base-checkpoint", base, *options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def adapted(joint_checkpoint, target_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted")
    log = adapt(
        target_data, folder, joint_checkpoint, "--criterion", "masked_lm", "--depth", "2",
        "--initialise", "overlap",
    )  # fmt: skip
    return folder / "checkpoint_last.pt", log


def test_it_says_what_was_kept_made_and_dropped(adapted):
    log = adapted[1]
    assert "kept: language side, position embeddings, embedding LayerNorm, layer" in log
    assert "dropped: layer 3, last MLM head" in log
    assert "5 special symbols copied, 5 other rows copied, 70 rows drawn" in log


def test_the_body_is_identical_by_bits_and_the_language_side_is_trained(adapted, joint_checkpoint):
    state, base = state_of(adapted[0]), state_of(joint_checkpoint)
    head = "encoder.auxiliary_lm_heads.2."
    for name, tensor in state.items():
        if name in IDENTITY or is_language_side(name):
            continue
        origin = name
        if name.startswith("encoder.lm_head."):
            origin = head + name.removeprefix("encoder.lm_head.")
        assert torch.equal(tensor, base[origin]), name
    assert LINEAGE in state
    assert state[EMBEDDING].shape == (80, 16) and state[OUTPUT_BIAS].shape == (80,)
    assert state[OUTPUT_BIAS].abs().min() > 0  # every bias was trained, from 0 or from a copy
    assert torch.equal(state[EMBEDDING], state["encoder.lm_head.weight"])


def test_it_starts_from_the_initialiser(joint_checkpoint, target_data, tmp_path):
    adapt(
        target_data, tmp_path, joint_checkpoint, "--criterion", "masked_lm", "--depth", "2",
        "--initialise", "overlap", "--lr", "0", "--weight-decay", "0",
    )  # fmt: skip
    state, base = state_of(tmp_path / "checkpoint_last.pt"), state_of(joint_checkpoint)
    # <s> <pad> </s> <unk>, 70 new words, word0 to word4, <mask>; and in the source word0 is row 4
    assert torch.equal(state[EMBEDDING][:4], base[EMBEDDING][:4])
    assert torch.equal(state[EMBEDDING][74:79], base[EMBEDDING][4:9])
    assert torch.equal(state[EMBEDDING][79], base[EMBEDDING][64])
    assert torch.equal(state[OUTPUT_BIAS][74:79], base[OUTPUT_BIAS][4:9])
    assert not state[OUTPUT_BIAS][4:74].any()


def test_its_checkpoint_resumes_and_loads_after_the_base_is_gone(
    joint_checkpoint, target_data, tmp_path
):
    base = tmp_path / "base.pt"
    shutil.copyfile(joint_checkpoint, base)
    options = ("--criterion", "joint_masked_lm", "--depth", "2")
    adapt(target_data, tmp_path / "gone", base, *options,
          "--source-dict", Path(fairseq_data(joint_checkpoint)) / "dict.txt")  # fmt: skip
    base.unlink()
    log = adapt(target_data, tmp_path / "gone", base, *options, "--max-update", "6")
    assert "@ 4 updates" in log and '"train_num_updates": "6"' in log
    path = str(tmp_path / "gone" / "checkpoint_last.pt")
    models, _, task = fairseq.checkpoint_utils.load_model_ensemble_and_task([path])
    assert models[0].encoder.sentence_encoder.num_layers == 2
    hub = RobertaModel.from_pretrained(
        str(tmp_path / "gone"), "checkpoint_last.pt", str(target_data), bpe=None
    )
    assert (
        torch.equal(hub.model.state_dict()[EMBEDDING], models[0].state_dict()[EMBEDDING])
        and len(task.source_dictionary) == 80
    )


@pytest.mark.parametrize("with_base", [True, False])
def test_it_goes_on_from_another_checkpoint_by_a_relative_path(
    with_base, adapted, joint_checkpoint, target_data, tmp_path
):
    """--restore-file, as fairseq has it: not within --save-dir; what it brings is not made before."""
    base = ["--base-checkpoint", joint_checkpoint, "--depth", "2"] if with_base else []
    result = run(
        ["fairseq-train", target_data, "--user-dir", USER_DIR, "--save-dir", tmp_path / "run",
         "--task", "language_adaptation", "--arch", "minimodel_roberta", *LENGTH, *OPTIMISER,
         "--criterion", "masked_lm", "--initialise", "overlap", "--max-update", "5", *base,
         "--restore-file", f"{adapted[0].parent.name}/{adapted[0].name}"],
        cwd=adapted[0].parents[1],
    )  # fmt: skip
    log = result.stdout + result.stderr
    assert result.returncode == 0, log[-4000:]
    assert "(epoch 1 @ 4 updates)" in log
    assert "rows copied" not in log  # no start is made
    assert (tmp_path / "run/checkpoint_last.pt").exists()


@pytest.fixture(scope="module")
def helper(target_data, tmp_path_factory):
    """A smaller model in the target vocabulary."""
    folder = tmp_path_factory.mktemp("helper")
    train(
        target_data, folder, "--task", "masked_lm", "--criterion", "masked_lm",
        "--arch", "minimodel_roberta", "--encoder-layers", "1", "--encoder-embed-dim", "8",
        "--encoder-ffn-embed-dim", "8", "--encoder-attention-heads", "2", *LENGTH,
    )  # fmt: skip
    return folder / "checkpoint_last.pt"


def test_clp_from_a_helper_at_depth_two_of_three(joint_checkpoint, target_data, helper, tmp_path):
    """The rows of training's start are those of the formula; resuming needs no helper."""
    copy = tmp_path / "helper.pt"
    shutil.copyfile(helper, copy)
    options = (
        "--criterion", "joint_masked_lm", "--depth", "2", "--initialise", "clp",
        "--helper", copy, "--lr", "0", "--weight-decay", "0",
    )  # fmt: skip
    log = adapt(target_data, tmp_path / "run", joint_checkpoint, *options)
    counts = re.search(
        r"initialise clp: 5 special symbols copied, 5 other rows copied, (\d+) rows combined, "
        r"(\d+) rows drawn \(0 without a vector, (\d+) whose weights cancel\)",
        log,
    )
    combined, drawn, cancelled = map(int, counts.groups())
    assert combined + drawn == 70 and drawn == cancelled and combined > 10
    state = state_of(tmp_path / "run" / "checkpoint_last.pt")
    base, vectors = state_of(joint_checkpoint), state_of(helper)[EMBEDDING].double()
    agree = 0
    for row in range(4, 74):
        weights = torch.cosine_similarity(vectors[row][None], vectors[74:79])
        wanted = weights @ base[EMBEDDING][4:9].double() / weights.sum()
        bias = weights @ base[OUTPUT_BIAS][4:9].double() / weights.sum()
        agree += torch.allclose(
            state[EMBEDDING][row].double(), wanted, atol=1e-5
        ) and torch.allclose(state[OUTPUT_BIAS][row].double(), bias, atol=1e-5)
    assert agree == combined
    assert torch.equal(state[EMBEDDING][74:79], base[EMBEDDING][4:9])

    copy.unlink()
    log = adapt(target_data, tmp_path / "run", joint_checkpoint, *options, "--max-update", "6")
    assert "@ 4 updates" in log and "rows drawn" not in log


def test_focus_needs_nothing_but_the_text(joint_checkpoint, tmp_path):
    words = [f"word{index}" for index in range(5)] + [f"wort{index}" for index in range(60)]
    (tmp_path / "data").mkdir()
    data = write_corpus(tmp_path / "data", words, seed=3)
    options = ("--criterion", "joint_masked_lm", "--initialise", "focus")
    log = adapt(data, tmp_path / "run", joint_checkpoint, *options)
    counts = re.search(
        r"initialise focus: 5 special symbols copied, 5 other rows copied, (\d+) rows combined, "
        r"(\d+) rows drawn \((\d+) without a vector, 0 whose weights cancel\)",
        log,
    )
    combined, drawn, rare = map(int, counts.groups())
    assert combined + drawn == 60 and drawn == rare and combined > 10


def fairseq_data(checkpoint):
    return torch.load(checkpoint, weights_only=True)["cfg"]["task"]["data"]


def test_all_layers_are_the_default(joint_checkpoint, target_data, tmp_path):
    log = adapt(target_data, tmp_path, joint_checkpoint, "--criterion", "joint_masked_lm")
    assert "dropped: MLM head after layer 2" in log and "train_ppl_l3" in log


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--base-checkpoint", "absent.pt"], "no checkpoint absent.pt"),
        ([], "needs --base-checkpoint FILE"),
        (["--depth", "0"], "depth 0 is not between 1 and 3"),
        (["--depth", "1"], "no MLM head after layer 1, only after 2, 3"),
        (["--arch", "roberta"], "give --arch minimodel_roberta"),
        (["--tokens-per-sample", "64"], "longer than the 32 positions"),
        (["--source-dict", "absent.txt"], "Cannot read the dictionary absent.txt"),
        (["--initialise", "clp"], "--initialise clp needs --helper PATH"),
        (["--initialise", "clp", "--helper", "absent.pt"], "no checkpoint absent.pt"),
        (["--initialise", "clp", "--helper", str(USER_DIR)], "neither a language pack"),
        # in this text the five common words are the rarest
        (["--initialise", "focus"], "5 tokens in common with the source, 0 of them in"),
        (["--helper", "some.pt"], "--helper is for --initialise clp, not for --initialise mean"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    options, sentence, joint_checkpoint, target_data, tmp_path
):
    base = [] if sentence.startswith("needs") else ["--base-checkpoint", joint_checkpoint]
    result = run(
        ["fairseq-train", target_data, "--user-dir", USER_DIR, "--save-dir", tmp_path / "run",
         "--task", "language_adaptation", "--arch", "minimodel_roberta", "--criterion", "masked_lm",
         "--optimizer", "adam", "--cpu", "--max-update", "1", "--batch-size", "4", *LENGTH, *base,
         *options]
    )  # fmt: skip
    assert result.returncode == 2, result.stderr[-2000:]
    assert sentence in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("run/*.pt"))
