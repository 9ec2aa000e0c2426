"""The whole way with a EuroBERT, by the real commands: two tables are trained, what is frozen stays."""

import json
import re

import pytest
import torch
from conftest import LENGTH, OPTIMISER, USER_DIR, state_of, train, write_corpus, write_pairs
from recipes.test_modernbert import BUFFERS, FINAL_NORM, MASKED, refused, verb
from support.bodies import sentences
from tasks.test_sentence_distillation import command as distillation

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.family import EMBEDDING, OUTPUT_PROJECTION
from fairseq_minimodel.bodies.language_side import is_language_side
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.vocabulary.symbols import read_symbols

ARCH = ["--arch", "minimodel_eurobert"]
MODEL = [
    *ARCH, "--encoder-layers", "4", "--encoder-embed-dim", "16", "--encoder-ffn-embed-dim", "24",
    "--encoder-attention-heads", "4", "--encoder-key-value-heads", "2", "--max-positions", "64",
]  # fmt: skip
TABLES = (EMBEDDING, OUTPUT_PROJECTION)


@pytest.fixture(scope="session")
def joint(once, source_data):
    """A body of 4 layers with a head after layer 2, too, after 4 updates, and its log."""

    def make(folder):
        log = train(
            source_data, folder, *MASKED, *MODEL, "--criterion", "joint_masked_lm",
            "--auxiliary-head-layers", "2",
        )  # fmt: skip
        (folder / "log").write_text(log)

    return once("euro joint", make) / "checkpoint_last.pt"


def adapt(data, folder, base, *options):
    return train(
        data, folder, "--task", "language_adaptation", *ARCH, *LENGTH, "--criterion",
        "joint_masked_lm", "--base-checkpoint", base, *options,
    )  # fmt: skip


@pytest.fixture(scope="session")
def adapted(once, joint, target_data):
    """A language side of another vocabulary over the bottom two layers."""
    folder = once(
        "euro adapted",
        lambda folder: adapt(target_data, folder, joint, "--depth", "2", "--initialise", "overlap"),
    )
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def pack(once, adapted):
    def make(folder):
        verb("pack", "--checkpoint", adapted, "--language", "de", "--output", folder / "de")

    return once("euro pack", make) / "de"


def test_pretraining_logs_the_loss_of_each_head_and_what_it_cost(joint):
    log = (joint.parent / "log").read_text()
    rows = [json.loads(row) for row in re.findall(r"\| train_inner \| (\{.*\})", log)]
    assert {name for name in rows[-1] if name.startswith("loss")} == {"loss", "loss_l2", "loss_l4"}
    assert float(rows[-1]["flops"]) > 0
    said = verb("inspect", joint)
    assert re.search(r"MLM heads +after layer 2, layer 4 \(the last\)", said)
    assert "encoder_key_value_heads" in said or "key value heads" in said


@pytest.mark.parametrize("freeze", ["none", "language", "body", "bottom:2", "bottom:3-head"])
def test_what_is_frozen_stays_by_bits_and_the_rest_is_trained(freeze, joint, source_data, tmp_path):
    train(
        source_data, tmp_path, *MASKED, *MODEL, "--criterion", "masked_lm", "--freeze", freeze,
        "--finetune-from-model", joint,
    )  # fmt: skip
    before, after = state_of(joint), state_of(tmp_path / "checkpoint_last.pt")

    def is_trained(name):
        return {
            "none": True,
            "language": not is_language_side(name),
            "body": is_language_side(name),
            "bottom:2": ".layers.2." in name or ".layers.3." in name or name == FINAL_NORM,
            "bottom:3-head": ".layers.3." in name or name == FINAL_NORM,
        }[freeze]

    for name, tensor in after.items():
        if name in BUFFERS or name.endswith((".version", ".family")):
            assert torch.equal(tensor, before[name]), name
        else:
            assert torch.equal(tensor, before[name]) != is_trained(name), name


def test_adaptation_trains_both_tables_over_a_body_that_stays_by_bits(
    adapted, joint, target_data, tmp_path
):
    state, base = state_of(adapted), state_of(joint)
    for name, tensor in state.items():
        if name == "encoder.vocabulary" or is_language_side(name):
            continue
        origin = name
        if name == FINAL_NORM:
            origin = "encoder.auxiliary_lm_heads.2.final_norm.weight"
        assert torch.equal(tensor, base[origin]), name
    adapt(target_data, tmp_path, joint, "--depth", "2", "--initialise", "overlap", "--lr", "0")
    start = state_of(tmp_path / "checkpoint_last.pt")
    for name in TABLES:
        assert state[name].shape == start[name].shape == (80, 16)
        assert not torch.equal(state[name], start[name]), name
        for row in (0, 2, 3):  # special symbols were copied
            assert torch.equal(start[name][row], base[name][row]), name
    assert not torch.equal(state[EMBEDDING], state[OUTPUT_PROJECTION])


def test_both_tables_start_aligned(joint, tmp_path):
    words = [*(f"word{index}" for index in range(10)), *(f"wort{index}" for index in range(40))]
    data = tmp_path / "data"
    data.mkdir()
    write_corpus(data, words, seed=3)
    pairs = "".join(f"word{index}\twort{index}\n" for index in range(40))
    (tmp_path / "words.tsv").write_text(pairs * 3)
    log = adapt(
        data, tmp_path / "run", joint, "--initialise", "aligned", "--lr", "0",
        "--dictionary", tmp_path / "words.tsv",
    )  # fmt: skip
    assert "aligning 120 of 120 pairs" in log
    state, base = state_of(tmp_path / "run/checkpoint_last.pt"), state_of(joint)
    symbols = read_symbols(data / "dict.txt")
    translated = [row for row, one in enumerate(symbols) if one.startswith("▁wort")]
    assert len(translated) > 20
    for name in TABLES:  # each is a mean of source rows, of its own table
        rows, low, high = state[name][translated], base[name].min(0)[0], base[name].max(0)[0]
        assert ((rows >= low - 1e-6) & (rows <= high + 1e-6)).all(), name
        assert rows.std(0).min() > 0 and not (rows == base[name].mean(0)).any(), name


def test_a_pack_plugs_both_tables_into_the_whole_body(pack, adapted, joint, tmp_path):
    verb("plug", "--body", joint, "--pack", pack, "--output", tmp_path / "plugged")
    plugged = read_checkpoint(tmp_path / "plugged/model.pt")
    state, base, trained = plugged.state, state_of(joint), state_of(adapted)
    for name, tensor in state.items():
        if name in TABLES:
            assert torch.equal(tensor, trained[name]), name
        elif name != "encoder.vocabulary":
            assert torch.equal(tensor, base[name]), name
    ids = torch.tensor([[0, 10, 70, 2]])
    assert build_model(plugged, load_pack(pack).symbols)(ids)[0].shape == (1, 4, 80)
    assert "2,560" in verb("inspect", pack)  # 2 x 80 x 16 parameters


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

    return once("euro classifier", make) / "checkpoint_last.pt"


def test_fine_tuning_leaves_both_tables_as_they_are(classifier, joint):
    before, after = state_of(joint), state_of(classifier)
    for name, tensor in after.items():
        if name in TABLES:
            assert torch.equal(tensor, before[name])
        elif ".layers." in name or name == FINAL_NORM:
            assert not torch.equal(tensor, before[name]), name


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
    assert row["examples"] == 24 and row["accuracy"] == pytest.approx(hits / 24), row


def test_words_are_predicted_in_two_languages_over_one_body(joint, pack, source_data, tmp_path):
    verb("pack", "--checkpoint", joint, "--language", "en", "--output", tmp_path / "en")
    model = fairseq_minimodel.load(joint, languages=[tmp_path / "en", pack])
    [[found]] = model.fill_mask(["wort1 <mask> wort3"], top=80, language="de")
    assert sum(probability for _, probability in found) == pytest.approx(1, abs=1e-4)
    alone = fairseq_minimodel.load(joint, languages=pack)
    [[expected]] = alone.fill_mask(["wort1 <mask> wort3"], top=80)
    assert dict(found) == pytest.approx(dict(expected), abs=1e-6)
    [[english]] = model.fill_mask(["wort1 <mask> wort3"], top=65, language="en")
    assert dict(english).keys() != dict(found).keys()
    assert model.encode(["wort1 wort2", "wort3"], language="de").shape == (2, 16)
    (tmp_path / "text").write_text("wort1 wort2 wort3 wort4\n" * 5)
    assert "bits" in verb("perplexity", "--body", joint, "--pack", pack, tmp_path / "text")


def test_sentence_vectors_are_learned_by_the_token_embeddings_alone(joint, target_data, tmp_path):
    for split, seed in (("train", 1), ("valid", 2)):
        text = "\n".join(sentences("en", 30, seed)) + "\n"
        (tmp_path / f"{split}.en").write_text(text)
        (tmp_path / f"{split}.de").write_text(text.replace("word", "wort"))
    command = distillation(tmp_path, joint, "--max-update", "4", *ARCH)
    train(target_data, tmp_path / "run", *command)
    train(target_data, tmp_path / "start", *command, "--lr", "0", "--max-update", "1")
    base = state_of(joint)
    state, start = (state_of(tmp_path / name / "checkpoint_last.pt") for name in ("run", "start"))
    for name, tensor in state.items():
        if name == EMBEDDING:
            assert (tensor != start[name]).any(1)[4:].sum() > 20
        elif name == OUTPUT_PROJECTION:
            assert torch.equal(tensor, start[name])
        elif name != "encoder.vocabulary":
            assert torch.equal(tensor, base[name]), name


def test_what_does_not_go_is_one_sentence(joint, pack, source_data, tmp_path):
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
    adapting = [*fairseq, "--task", "language_adaptation", *LENGTH, "--base-checkpoint", joint]
    words = [str(joint), "is a EuroBERT", "give --arch minimodel_eurobert"]
    refused([*adapting, "--arch", "minimodel_modernbert"], *words)
    refused([*tuning, *MODEL, "--rope-theta", "10"], str(joint), "give --rope-theta 250000")
    other = [*MODEL, "--encoder-key-value-heads", "4"]
    refused([*tuning, *other], str(joint), "give --encoder-key-value-heads 2")
    refused([*tuning, *MODEL, "--task-module", "lora"], "has no task modules yet: leave it out")
    refused([*tuning, *MODEL, "--freeze", "bottom:2+bias"], "give --freeze bottom:2")
    (tmp_path / "text").write_text("a\n")
    options = ["--language", "de", "--text", tmp_path / "text", "--output", tmp_path / "out"]
    refused(["fairseq-minimodel", "adapt", "--model", joint, *options], "adapt cannot take yet")
    extending = ["extend", "--body", joint, "--depth", "2", "--new-layers", "1", "--head", "new"]
    refused(["fairseq-minimodel", *extending, "--output", tmp_path / "out"], "give --head copy")
