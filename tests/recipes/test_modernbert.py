"""The whole way with a ModernBERT, by the real commands: what is frozen stays by bits."""

import json
import re

import pytest
import torch
from conftest import LENGTH, OPTIMISER, USER_DIR, run, state_of, train, write_corpus, write_pairs

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.language_side import EMBEDDING, is_language_side
from fairseq_minimodel.bodies.training_files import symbols_of
from fairseq_minimodel.cli import main
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.inference.switch import SwitchedBody
from fairseq_minimodel.modules.method import is_module_part
from fairseq_minimodel.packs.module import is_head, is_layer_norm, load_module
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.packs.plug_module import merge_module, plug_module

ARCH = ["--arch", "minimodel_modernbert"]
MODEL = [
    *ARCH, "--encoder-layers", "4", "--encoder-embed-dim", "16", "--encoder-ffn-embed-dim", "24",
    "--encoder-attention-heads", "2", "--local-attention", "8", "--max-positions", "64",
]  # fmt: skip
MASKED = ["--task", "masked_lm", *LENGTH]
BUFFERS = {"encoder.vocabulary", "encoder.lineage"}
FINAL_NORM = "encoder.sentence_encoder.layer_norm.weight"


def verb(*command):
    result = run(["fairseq-minimodel", *command])
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(command, *words):
    """Exit code 2 and one sentence with all these words."""
    result = run(command)
    log = result.stdout + result.stderr
    assert result.returncode == 2 and "Traceback" not in log, log[-3000:]
    for word in words:
        assert word in log, log[-1000:]


@pytest.fixture(scope="session")
def joint(once, source_data):
    """A body of 4 layers with heads after layers 1 and 2, too, after 4 updates, and its log."""

    def make(folder):
        log = train(
            source_data, folder, *MASKED, *MODEL, "--criterion", "joint_masked_lm",
            "--auxiliary-head-layers", "1,2",
        )  # fmt: skip
        (folder / "log").write_text(log)

    return once("modern joint", make) / "checkpoint_last.pt"


def adapt(data, folder, base, *options):
    return train(
        data, folder, "--task", "language_adaptation", *ARCH, *LENGTH, "--criterion", "masked_lm",
        "--base-checkpoint", base, *options,
    )  # fmt: skip


@pytest.fixture(scope="session")
def adapted(once, joint, target_data):
    """A language side of another vocabulary over the bottom layer."""
    folder = once(
        "modern adapted",
        lambda folder: adapt(target_data, folder, joint, "--depth", "1", "--initialise", "overlap"),
    )
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def pack(once, adapted):
    return (
        once(
            "modern pack",
            lambda folder: verb(
                "pack", "--checkpoint", adapted, "--language", "de", "--output", folder / "de"
            ),
        )
        / "de"
    )


def test_pretraining_logs_the_loss_of_each_head_and_what_it_cost(joint):
    log = (joint.parent / "log").read_text()
    rows = [json.loads(row) for row in re.findall(r"\| train_inner \| (\{.*\})", log)]
    losses = {name for name in rows[-1] if name.startswith("loss")}
    assert losses == {"loss", "loss_l1", "loss_l2", "loss_l4"}
    assert float(rows[-1]["flops"]) > 0
    assert re.search(r"MLM heads +after layers 1-2, layer 4 \(the last\)", verb("inspect", joint))


def test_it_resumes_by_bits_and_its_longest_input_is_the_tasks_where_none_is_given(
    source_data, tmp_path
):
    options = [*MASKED, *MODEL[:-2], "--criterion", "joint_masked_lm"]
    train(source_data, tmp_path / "whole", *options)
    train(source_data, tmp_path / "halves", *options, "--max-update", "2")
    assert "Loaded checkpoint" in train(source_data, tmp_path / "halves", *options)
    whole, halves = (tmp_path / name / "checkpoint_last.pt" for name in ("whole", "halves"))
    assert read_checkpoint(whole).body_settings()["max_positions"] == 32
    left, right = state_of(whole), state_of(halves)
    assert all(torch.equal(left[name], right[name]) for name in left if "lineage" not in name)


@pytest.mark.parametrize("freeze", ["none", "language", "body", "bottom:2", "bottom:4-head+bias"])
def test_what_is_frozen_stays_by_bits_and_the_rest_is_trained(freeze, joint, source_data, tmp_path):
    train(
        source_data, tmp_path, *MASKED, *MODEL, "--criterion", "masked_lm", "--freeze", freeze,
        "--finetune-from-model", joint, "--auxiliary-head-layers", "1",
    )  # fmt: skip
    before, after = state_of(joint), state_of(tmp_path / "checkpoint_last.pt")

    def is_trained(name):
        above = ".layers.2." in name or ".layers.3." in name or name == FINAL_NORM
        above = above or name.startswith(("encoder.lm_head.dense", "encoder.lm_head.layer"))
        return {
            "none": True,
            "language": not is_language_side(name),
            "body": is_language_side(name),
            "bottom:2": above,
            "bottom:4-head+bias": name == "encoder.lm_head.bias",
        }[freeze]

    for name, tensor in after.items():
        if name.startswith("encoder.auxiliary_lm_heads."):  # masked_lm trains the last head alone
            assert torch.equal(tensor, before[name]) or freeze in ("none", "language"), name
        elif name in BUFFERS or name.endswith((".version", ".family")):
            assert torch.equal(tensor, before[name]), name
        else:
            assert torch.equal(tensor, before[name]) != is_trained(name), name


def test_adaptation_trains_the_language_side_over_a_body_that_stays_by_bits(adapted, joint):
    state, base = state_of(adapted), state_of(joint)
    head = "encoder.auxiliary_lm_heads.1."
    for name, tensor in state.items():
        if name == "encoder.vocabulary" or is_language_side(name):
            continue
        origin = name
        if name == FINAL_NORM:
            origin = f"{head}final_norm.weight"
        elif name.startswith("encoder.lm_head."):
            origin = head + name.removeprefix("encoder.lm_head.")
        assert torch.equal(tensor, base[origin]), name
    assert state[EMBEDDING].shape == (80, 16)
    assert state["encoder.lm_head.bias"].abs().min() > 0
    assert torch.equal(state[EMBEDDING], state["encoder.lm_head.weight"])


def test_a_depth_that_ends_on_a_window_is_said(joint, target_data, tmp_path):
    log = adapt(target_data, tmp_path, joint, "--depth", "2", "--initialise", "random")
    assert log.count("layer 2, the last now, attends to a window of 8 tokens, and depths of") == 1


def test_adaptation_over_all_layers_starts_aligned(joint, tmp_path):
    words = [*(f"word{index}" for index in range(10)), *(f"wort{index}" for index in range(40))]
    data = tmp_path / "data"
    data.mkdir()
    write_corpus(data, words, seed=3)
    pairs = "".join(f"word{index}\twort{index}\n" for index in range(40))
    (tmp_path / "words.tsv").write_text(pairs)
    log = adapt(
        data, tmp_path / "run", joint, "--initialise", "aligned",
        "--dictionary", tmp_path / "words.tsv",
    )  # fmt: skip
    assert "aligning 40 of 40 pairs" in log and "attends to a window" not in log
    state, base = state_of(tmp_path / "run/checkpoint_last.pt"), state_of(joint)
    for name, tensor in state.items():
        if name.startswith("encoder.sentence_encoder.") and not is_language_side(name):
            assert torch.equal(tensor, base[name]), name


def test_a_pack_plugs_into_the_whole_body(pack, adapted, joint, tmp_path):
    verb("plug", "--body", joint, "--pack", pack, "--output", tmp_path / "plugged")
    plugged = read_checkpoint(tmp_path / "plugged/model.pt")
    state, base = plugged.state, state_of(joint)
    for name, tensor in state.items():
        if name != "encoder.vocabulary" and not is_language_side(name):
            assert torch.equal(tensor, base[name]), name
    assert torch.equal(state[EMBEDDING], state_of(adapted)[EMBEDDING])
    ids = torch.tensor([[0, 10, 70, 2]])
    assert build_model(plugged, load_pack(pack).symbols)(ids)[0].shape == (1, 4, 80)


@pytest.mark.parametrize("head", ["copy", "frozen"])
def test_minipost_trains_what_is_on_top_alone(head, joint, source_data, tmp_path):
    extended = tmp_path / "extended.pt"
    said = verb(
        "extend", "--body", joint, "--depth", "2", "--new-layers", "1", "--layers", "new",
        "--head", head, "--output", extended,
    )  # fmt: skip
    freeze = said.splitlines()[-1].removeprefix("train it with --freeze ")
    train(
        source_data, tmp_path / "run", *MASKED, *MODEL, "--encoder-layers", "3", "--criterion",
        "masked_lm", "--freeze", freeze, "--finetune-from-model", extended,
    )  # fmt: skip
    before, after = state_of(extended), state_of(tmp_path / "run/checkpoint_last.pt")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        trained = ".layers.2." in name or name == FINAL_NORM
        if head == "copy":
            trained |= name.startswith(("encoder.lm_head.dense", "encoder.lm_head.layer"))
        assert torch.equal(tensor, after[name]) != trained, name


# ---- fine-tuning and use


@pytest.fixture(scope="session")
def classifier(once, joint, pair_data):
    """The body fine-tuned for three classes, its language side frozen."""

    def make(folder):
        train(
            pair_data, folder, "--task", "sentence_prediction", "--criterion", "sentence_prediction",
            *MODEL, "--num-classes", "3", "--init-token", "0", "--freeze", "language",
            "--finetune-from-model", joint, "--classification-head-name", "pairs",
        )  # fmt: skip

    return once("modern classifier", make) / "checkpoint_last.pt"


def test_fine_tuning_leaves_the_language_side_as_it_is(classifier, joint):
    before, after = state_of(joint), state_of(classifier)
    for name, tensor in after.items():
        if is_language_side(name):
            assert torch.equal(tensor, before[name])
        elif ".layers." in name or name == FINAL_NORM:
            assert not torch.equal(tensor, before[name]), name
    assert after["classification_heads.pairs.out_proj.weight"].shape == (3, 16)


def test_it_is_scored_and_loaded_in_another_language(classifier, pack, tmp_path):
    words = [f"wort{index}" for index in range(70)]
    test = write_pairs(tmp_path / "test.tsv", words, seed=4, count=24)
    verb(
        "evaluate", "--body", classifier, "--test", pack, test, "--text-columns", "premise",
        "hypothesis", "--json", tmp_path / "scores.json",
    )  # fmt: skip
    [row] = json.loads((tmp_path / "scores.json").read_text())
    pairs = [line.split("\t") for line in test.read_text().splitlines()[1:]]
    model = fairseq_minimodel.load(classifier, languages=pack)
    predicted = model.predict([(first, second) for first, second, _ in pairs])
    hits = sum(one.label == label for one, (_, _, label) in zip(predicted, pairs, strict=True))
    assert row["examples"] == 24, row
    assert row["accuracy"] == pytest.approx(hits / 24), row


def test_words_are_predicted_and_perplexity_is_measured_in_another_language(joint, pack, tmp_path):
    model = fairseq_minimodel.load(joint, languages=pack)
    [[found]] = model.fill_mask(["wort1 <mask> wort3"], top=80)
    assert sum(probability for _, probability in found) == pytest.approx(1, abs=1e-4)
    assert model.encode(["wort1 wort2", "wort3"]).shape == (2, 16)
    (tmp_path / "text").write_text("wort1 wort2 wort3 wort4\n" * 5)
    said = verb("perplexity", "--body", joint, "--pack", pack, tmp_path / "text")
    assert "bits" in said


# ---- task modules

MODULES = {
    "compacter": ["--module-reduction", "2"],
    "lora": ["--module-rank", "2"],
    "mask": ["--module-layers", "2-3", "--weight-decay", "0"],
    "tarp": ["--tarp-form", "kronecker"],
    "tarp+tams": ["--structure-width", "8"],
}


@pytest.mark.parametrize("name", MODULES)
def test_a_task_module_is_trained_over_a_body_that_stays_by_bits(
    name, joint, pair_data, pack, tmp_path
):
    """It computes the same from its folder: in the body, merged, switched to, and by `evaluate`."""
    train(
        pair_data, tmp_path / "run", "--task", "sentence_prediction", "--criterion",
        "sentence_prediction", *MODEL, "--num-classes", "3", "--init-token", "0", "--task-module",
        name, *MODULES[name], "--finetune-from-model", joint, "--save-interval-updates", "2",
        "--disable-validation",
    )  # fmt: skip
    before = state_of(joint)
    halfway = state_of(tmp_path / "run/checkpoint_1_2.pt")
    last = tmp_path / "run/checkpoint_last.pt"
    for part, tensor in state_of(last).items():
        is_same = torch.equal(tensor, halfway[part])
        if is_layer_norm(part) and name not in ("mask", "lora"):
            assert not is_same and not torch.equal(tensor, before[part]), part
        elif part in before:
            assert torch.equal(tensor, before[part]), part
        elif is_head(part) and not is_module_part(part):
            assert is_same == (name == "mask"), part
        elif is_module_part(part) and "task_shared" not in part and ".edges." not in part:
            assert not is_same, part
    changed = {part for part in state_of(last) if ".task_weight." in part and ".gate." in part}
    assert bool(changed) == (name in ("mask", "tarp", "tarp+tams"))

    folder = tmp_path / "module"
    assert main(["module", "--checkpoint", str(last), "--output", str(folder)]) == 0
    body, module, trained = read_checkpoint(joint), load_module(folder), read_checkpoint(last)
    symbols, tokens = symbols_of(body), torch.tensor([[0, 9, 12, 30, 2], [0, 11, 2, 1, 1]])

    def logits(model):
        head = {"classification_head_name": "sentence_classification_head"}
        with torch.inference_mode():
            return model(tokens, **head)[0]

    models = [build_model(plug_module(body, module)[0], symbols)]
    if module.method.why_not_merged is None:
        models.append(build_model(merge_module(body, module)[0], symbols))
        models.append(SwitchedBody(body, symbols, {"pairs": module}).switch("pairs"))
    expected = logits(build_model(trained, symbols))
    for model in models:
        torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-6)
    plain = {
        **trained.state,
        **{part: one for part, one in before.items() if part in trained.state},
    }
    plain = {part: one for part, one in plain.items() if "task_" not in part}
    plain = trained.replaced(plain, task_module="none")
    if name != "mask":  # whose head is another
        assert not torch.allclose(logits(build_model(plain, symbols)), expected, atol=1e-6)

    test = write_pairs(tmp_path / "test.tsv", [f"wort{index}" for index in range(70)], 4, 24)
    options = ["--text-columns", "premise", "hypothesis", "--json", str(tmp_path / "scores")]
    for words in (["--body", str(joint), "--module", str(folder)], ["--body", str(last)]):
        assert main(["evaluate", *words, "--test", str(pack), str(test), *options]) == 0
    saved, whole = json.loads((tmp_path / "scores").read_text())
    assert saved["examples"] == 24 and saved["accuracy"] == whole["accuracy"]


def test_what_does_not_go_is_one_sentence(joint, source_data, tmp_path):
    fairseq = [
        "fairseq-train",
        source_data,
        "--user-dir",
        USER_DIR,
        *OPTIMISER,
        "--max-update",
        "1",
    ]
    fairseq += ["--save-dir", tmp_path / "run", "--criterion", "masked_lm"]
    tuning = [*fairseq, *MASKED, "--finetune-from-model", joint]
    other = ["--arch", "minimodel_roberta"]
    words = [str(joint), "is a ModernBERT", "give --arch minimodel_modernbert"]
    refused([*tuning, *other, *MODEL[2:10]], *words)
    adapting = [*fairseq, "--task", "language_adaptation", *LENGTH, "--base-checkpoint", joint]
    refused([*adapting, *other], *words)
    refused([*tuning, *MODEL, "--local-attention", "16"], str(joint), "give --local-attention 8")


def test_a_roberta_is_refused_by_a_run_of_modernbert(joint_checkpoint, source_data, tmp_path):
    refused(
        ["fairseq-train", source_data, "--user-dir", USER_DIR, *OPTIMISER, "--max-update", "1",
         "--save-dir", tmp_path, "--criterion", "masked_lm", *MASKED, *MODEL,
         "--finetune-from-model", joint_checkpoint],
        "is a RoBERTa", "give --arch minimodel_roberta",
    )  # fmt: skip
