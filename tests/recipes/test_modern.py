"""The whole way with a ModernBERT or EuroBERT, by the real commands: what is frozen stays by bits."""

import json
import re

import pytest
import torch
from conftest import LENGTH, OPTIMISER, USER_DIR, run, state_of, train, write_corpus, write_pairs
from recipes import test_question_answering as questions
from recipes import test_tagging as tagging
from support.bodies import sentences
from support.generated_questions import write_questions
from support.generated_tags import write_columns
from support.modern_models import EURO, MODERN, of_each_kind, of_eurobert, of_modernbert
from tasks.test_sentence_distillation import command as distillation

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.language_side import is_language_side
from fairseq_minimodel.bodies.tensors import EMBEDDING, OUTPUT_PROJECTION
from fairseq_minimodel.bodies.training_files import symbols_of
from fairseq_minimodel.cli import main
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.inference.switch import SwitchedBody
from fairseq_minimodel.modules.method import is_module_part
from fairseq_minimodel.packs.module import is_head, is_layer_norm, load_module
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.packs.plug_module import merge_module, plug_module
from fairseq_minimodel.vocabulary.symbols import read_symbols

MASKED = ["--task", "masked_lm", *LENGTH]
BUFFERS = {"encoder.vocabulary", "encoder.lineage"}
FINAL_NORM = "encoder.sentence_encoder.layer_norm.weight"
TABLES = (EMBEDDING, OUTPUT_PROJECTION)  # a EuroBERT's; a ModernBERT's are one
CRITERION = {MODERN: "masked_lm", EURO: "joint_masked_lm"}  # of adaptation
DEPTH = {MODERN: 1, EURO: 2}
FREEZE = {
    MODERN: ("none", "language", "body", "bottom:2", "bottom:4-head+bias"),
    EURO: ("none", "language", "body", "bottom:2", "bottom:3-head"),
}


def model_of(kind, **changes):
    """The options of a model of 4 layers."""
    return kind.options(**{"encoder_layers": 4, "max_positions": 64, **changes})


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


def adapt(kind, data, folder, base, *options):
    return train(
        data, folder, "--task", "language_adaptation", "--arch", kind.family.model, *LENGTH,
        "--criterion", CRITERION[kind], "--base-checkpoint", base, *options,
    )  # fmt: skip


@pytest.fixture
def joint(kind, once, source_data):
    """A body of 4 layers with heads after layers 1 and 2, too, after 4 updates, and its log."""

    def make(folder):
        log = train(
            source_data, folder, *MASKED, *model_of(kind), "--criterion", "joint_masked_lm",
            "--auxiliary-head-layers", "1,2",
        )  # fmt: skip
        (folder / "log").write_text(log)

    return once(f"{kind} joint", make) / "checkpoint_last.pt"


@pytest.fixture
def adapted(kind, once, joint, target_data):
    """A language side of another vocabulary over the bottom of the body."""
    options = ["--depth", DEPTH[kind], "--initialise", "overlap"]
    return (
        once(f"{kind} adapted", lambda folder: adapt(kind, target_data, folder, joint, *options))
        / "checkpoint_last.pt"
    )


@pytest.fixture
def pack(kind, once, adapted):
    def make(folder):
        verb("pack", "--checkpoint", adapted, "--language", "de", "--output", folder / "de")

    return once(f"{kind} pack", make) / "de"


@of_each_kind
def test_pretraining_logs_the_loss_of_each_head_and_what_it_cost(kind, joint):
    log = (joint.parent / "log").read_text()
    rows = [json.loads(row) for row in re.findall(r"\| train_inner \| (\{.*\})", log)]
    losses = {name for name in rows[-1] if name.startswith("loss")}
    assert losses == {"loss", "loss_l1", "loss_l2", "loss_l4"}
    assert float(rows[-1]["flops"]) > 0
    said = verb("inspect", joint)
    assert re.search(r"MLM heads +after layers 1-2, layer 4 \(the last\)", said)
    assert bool(re.search("encoder_key_value_heads|key value heads", said)) == (kind is EURO)


@of_modernbert
def test_it_resumes_by_bits_and_its_longest_input_is_the_tasks_where_none_is_given(
    kind, source_data, tmp_path
):
    model = [word for word in model_of(kind) if word not in ("--max-positions", "64")]
    options = [*MASKED, *model, "--criterion", "joint_masked_lm"]
    train(source_data, tmp_path / "whole", *options)
    train(source_data, tmp_path / "halves", *options, "--max-update", "2")
    assert "Loaded checkpoint" in train(source_data, tmp_path / "halves", *options)
    whole, halves = (tmp_path / name / "checkpoint_last.pt" for name in ("whole", "halves"))
    assert read_checkpoint(whole).body_settings()["max_positions"] == 32
    left, right = state_of(whole), state_of(halves)
    assert all(torch.equal(left[name], right[name]) for name in left if "lineage" not in name)


@pytest.mark.parametrize(
    ("kind", "freeze"), [(kind, one) for kind in FREEZE for one in FREEZE[kind]], ids=str
)
def test_what_is_frozen_stays_by_bits_and_the_rest_is_trained(
    kind, freeze, joint, source_data, tmp_path
):
    train(
        source_data, tmp_path, *MASKED, *model_of(kind), "--criterion", "masked_lm", "--freeze",
        freeze, "--finetune-from-model", joint, "--auxiliary-head-layers", "1",
    )  # fmt: skip
    before, after = state_of(joint), state_of(tmp_path / "checkpoint_last.pt")

    def is_trained(name):
        head = name.startswith(("encoder.lm_head.dense", "encoder.lm_head.layer"))
        return {
            "none": True,
            "language": not is_language_side(name),
            "body": is_language_side(name),
            "bottom:2": ".layers.2." in name or ".layers.3." in name or name == FINAL_NORM or head,
            "bottom:3-head": ".layers.3." in name or name == FINAL_NORM,
            "bottom:4-head+bias": name == "encoder.lm_head.bias",
        }[freeze]

    for name, tensor in after.items():
        if name.startswith("encoder.auxiliary_lm_heads."):  # masked_lm trains the last head alone
            assert torch.equal(tensor, before[name]) or freeze in ("none", "language"), name
        elif name in BUFFERS or name.endswith((".version", ".family")):
            assert torch.equal(tensor, before[name]), name
        else:
            assert torch.equal(tensor, before[name]) != is_trained(name), name


@of_each_kind
def test_adaptation_trains_the_language_side_over_a_body_that_stays_by_bits(kind, adapted, joint):
    state, base = state_of(adapted), state_of(joint)
    head = f"encoder.auxiliary_lm_heads.{DEPTH[kind]}."
    for name, tensor in state.items():
        if name == "encoder.vocabulary" or is_language_side(name):
            continue
        origin = name
        if name == FINAL_NORM:
            origin = f"{head}final_norm.weight"
        elif name.startswith("encoder.lm_head."):
            origin = head + name.removeprefix("encoder.lm_head.")
        assert torch.equal(tensor, base[origin]), name
    assert state[EMBEDDING].shape == state[OUTPUT_PROJECTION].shape == (80, 16)
    assert torch.equal(*(state[name] for name in TABLES)) == (kind is MODERN)
    assert kind is EURO or state["encoder.lm_head.bias"].abs().min() > 0


@of_eurobert
def test_both_tables_are_trained_from_copies_of_special_symbols(
    kind, adapted, joint, target_data, tmp_path
):
    adapt(
        kind, target_data, tmp_path, joint, "--depth", "2", "--initialise", "overlap", "--lr", "0"
    )
    state, base = state_of(adapted), state_of(joint)
    start = state_of(tmp_path / "checkpoint_last.pt")
    for name in TABLES:
        assert start[name].shape == (80, 16)
        assert not torch.equal(state[name], start[name]), name
        for row in (0, 2, 3):
            assert torch.equal(start[name][row], base[name][row]), name


@of_modernbert
def test_a_depth_that_ends_on_a_window_is_said(kind, joint, target_data, tmp_path):
    log = adapt(kind, target_data, tmp_path, joint, "--depth", "2", "--initialise", "random")
    assert log.count("layer 2, the last now, attends to a window of 8 tokens, and depths of") == 1


@pytest.fixture
def words_data(tmp_path):
    """A corpus with words of its own, and translations of 40 of them."""
    words = [*(f"word{index}" for index in range(10)), *(f"wort{index}" for index in range(40))]
    (tmp_path / "data").mkdir()
    write_corpus(tmp_path / "data", words, seed=3)
    pairs = "".join(f"word{index}\twort{index}\n" for index in range(40))
    (tmp_path / "words.tsv").write_text(pairs)
    return tmp_path / "data"


@of_each_kind
def test_adaptation_over_all_layers_starts_aligned(kind, joint, words_data, tmp_path):
    options = ["--initialise", "aligned", "--dictionary", tmp_path / "words.tsv"]
    log = adapt(kind, words_data, tmp_path / "run", joint, *options)
    assert "aligning 40 of 40 pairs" in log and "attends to a window" not in log
    state, base = state_of(tmp_path / "run/checkpoint_last.pt"), state_of(joint)
    for name, tensor in state.items():
        if name.startswith("encoder.sentence_encoder.") and not is_language_side(name):
            assert torch.equal(tensor, base[name]), name


@of_eurobert
def test_both_tables_start_aligned(kind, joint, words_data, tmp_path):
    pairs = tmp_path / "words.tsv"
    pairs.write_text(pairs.read_text() * 3)
    options = ["--initialise", "aligned", "--dictionary", pairs, "--lr", "0"]
    assert "aligning 120 of 120 pairs" in adapt(kind, words_data, tmp_path / "run", joint, *options)
    state, base = state_of(tmp_path / "run/checkpoint_last.pt"), state_of(joint)
    symbols = read_symbols(words_data / "dict.txt")
    translated = [row for row, one in enumerate(symbols) if one.startswith("▁wort")]
    assert len(translated) > 20
    for name in TABLES:  # each is a mean of source rows, of its own table
        rows, low, high = state[name][translated], base[name].min(0)[0], base[name].max(0)[0]
        assert ((rows >= low - 1e-6) & (rows <= high + 1e-6)).all(), name
        assert rows.std(0).min() > 0 and not (rows == base[name].mean(0)).any(), name


@of_each_kind
def test_a_pack_plugs_into_the_whole_body(kind, pack, adapted, joint, tmp_path):
    verb("plug", "--body", joint, "--pack", pack, "--output", tmp_path / "plugged")
    plugged = read_checkpoint(tmp_path / "plugged/model.pt")
    state, base, trained = plugged.state, state_of(joint), state_of(adapted)
    for name, tensor in state.items():
        if is_language_side(name):
            assert torch.equal(tensor, trained[name]), name
        elif name != "encoder.vocabulary":
            assert torch.equal(tensor, base[name]), name
    ids = torch.tensor([[0, 10, 70, 2]])
    assert build_model(plugged, load_pack(pack).symbols)(ids)[0].shape == (1, 4, 80)
    assert ("2,560" if kind is EURO else "1,360") in verb(
        "inspect", pack
    )  # 80 x 16 each, or a bias


@of_each_kind
@pytest.mark.parametrize("head", ["copy", "frozen"])
def test_minipost_trains_what_is_on_top_alone(kind, head, joint, source_data, tmp_path):
    extended = tmp_path / "extended.pt"
    said = verb(
        "extend", "--body", joint, "--depth", "2", "--new-layers", "1", "--layers", "new",
        "--head", head, "--output", extended,
    )  # fmt: skip
    freeze = said.splitlines()[-1].removeprefix("train it with --freeze ")
    train(
        source_data, tmp_path / "run", *MASKED, *model_of(kind, encoder_layers=3), "--criterion",
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


@pytest.fixture
def classifier(kind, once, joint, pair_data):
    """The body fine-tuned for three classes, its language side frozen."""

    def make(folder):
        train(
            pair_data, folder, "--task", "sentence_prediction", "--criterion", "sentence_prediction",
            *model_of(kind), "--num-classes", "3", "--init-token", "0", "--freeze", "language",
            "--finetune-from-model", joint, "--classification-head-name", "pairs",
        )  # fmt: skip

    return once(f"{kind} classifier", make) / "checkpoint_last.pt"


@of_each_kind
def test_fine_tuning_leaves_the_language_side_as_it_is(classifier, joint):
    before, after = state_of(joint), state_of(classifier)
    for name, tensor in after.items():
        if is_language_side(name):
            assert torch.equal(tensor, before[name])
        elif ".layers." in name or name == FINAL_NORM:
            assert not torch.equal(tensor, before[name]), name
    assert after["classification_heads.pairs.out_proj.weight"].shape == (3, 16)


@of_each_kind
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


@of_each_kind
@pytest.mark.parametrize(("task", "head"), [("tags", "tag_head"), ("questions", "span_head")])
def test_tags_and_questions_are_learned_and_scored_in_another_language(
    kind, task, head, joint, source_data, pack, tmp_path
):
    words = [f"wort{index}" for index in range(70)]
    if task == "tags":
        tagging.prepare(tmp_path, source_data, count=60)
        options, windows = tagging.TAGGING, []
        test = write_columns(tmp_path / "test.txt", words, seed=3, count=40)
    else:
        questions.prepare(tmp_path, source_data, train_count=60, separators=1)
        options, windows = questions.SPAN_QA, questions.WINDOW_OPTIONS
        test = write_questions(tmp_path / "test.json", words, seed=3, count=40)
    train(
        tmp_path / "data", tmp_path / "run", *options, *model_of(kind), "--freeze", "language",
        "--finetune-from-model", joint,
    )  # fmt: skip
    tuned = tmp_path / "run/checkpoint_last.pt"
    before, after = state_of(joint), state_of(tuned)
    for name, tensor in after.items():
        if is_language_side(name):
            assert torch.equal(tensor, before[name]), name
        elif ".layers." in name or name == FINAL_NORM:
            assert not torch.equal(tensor, before[name]), name
    assert {one.here for one in kind.family.head_parameters(head)} <= after.keys()
    scores = tmp_path / "scores.json"
    verb("evaluate", "--body", tuned, *windows, "--test", pack, test, "--json", scores)
    [row] = json.loads(scores.read_text())
    assert row["language"] == "de" and 0 <= row["f1"] <= 1


@of_each_kind
def test_words_are_predicted_in_two_languages_over_one_body(joint, pack, tmp_path):
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


@of_eurobert
def test_sentence_vectors_are_learned_by_the_token_embeddings_alone(
    kind, joint, target_data, tmp_path
):
    for split, seed in (("train", 1), ("valid", 2)):
        text = "\n".join(sentences("en", 30, seed)) + "\n"
        (tmp_path / f"{split}.en").write_text(text)
        (tmp_path / f"{split}.de").write_text(text.replace("word", "wort"))
    command = distillation(tmp_path, joint, "--max-update", "4", "--arch", kind.family.model)
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


# ---- task modules

MODULES = {
    "compacter": ["--module-reduction", "2"],
    "lora": ["--module-rank", "2"],
    "mask": ["--module-layers", "2-3", "--weight-decay", "0"],
    "tarp": ["--tarp-form", "kronecker"],
    "tarp+tams": ["--structure-width", "8"],
}


@of_each_kind
@pytest.mark.parametrize("name", MODULES)
def test_a_task_module_is_trained_over_a_body_that_stays_by_bits(
    kind, name, joint, pair_data, pack, tmp_path
):
    """It computes the same from its folder: in the body, merged, switched to, and by `evaluate`."""
    train(
        pair_data, tmp_path / "run", "--task", "sentence_prediction", "--criterion",
        "sentence_prediction", *model_of(kind), "--num-classes", "3", "--init-token", "0",
        "--task-module", name, *MODULES[name], "--finetune-from-model", joint,
        "--save-interval-updates", "2", "--disable-validation",
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


@pytest.fixture
def fairseq(source_data, tmp_path):
    """A training that is never begun."""
    options = ["--max-update", "1", "--save-dir", tmp_path / "run", "--criterion", "masked_lm"]
    return ["fairseq-train", source_data, "--user-dir", USER_DIR, *OPTIMISER, *options]


@of_each_kind
def test_what_does_not_go_is_one_sentence(kind, joint, fairseq):
    tuning = [*fairseq, *MASKED, "--finetune-from-model", joint]
    adapting = [*fairseq, "--task", "language_adaptation", *LENGTH, "--base-checkpoint", joint]
    other = MODERN if kind is EURO else EURO
    words = [str(joint), f"is a {kind}", f"give --arch {kind.family.model}"]
    refused([*adapting, "--arch", other.family.model], *words)
    refused([*tuning, "--arch", "minimodel_roberta", *model_of(kind)[2:10]], *words)
    changes = {
        MODERN: [("--local-attention", "16", "8")],
        EURO: [("--rope-theta", "10", "250000"), ("--encoder-key-value-heads", "4", "2")],
    }
    for option, value, own in changes[kind]:
        refused([*tuning, *model_of(kind), option, value], str(joint), f"give {option} {own}")


@of_eurobert
def test_what_a_eurobert_does_not_have_is_one_sentence(kind, joint, fairseq, tmp_path):
    tuning = [*fairseq, *MASKED, "--finetune-from-model", joint, *model_of(kind)]
    refused([*tuning, "--freeze", "bottom:2+bias"], "give --freeze bottom:2")
    extending = ["extend", "--body", joint, "--depth", "2", "--new-layers", "1", "--head", "new"]
    refused(["fairseq-minimodel", *extending, "--output", tmp_path / "out"], "give --head copy")


@of_modernbert
def test_a_roberta_is_refused_by_a_run_of_modernbert(kind, joint_checkpoint, fairseq):
    tuning = [*fairseq, *MASKED, *model_of(kind), "--finetune-from-model", joint_checkpoint]
    refused(tuning, "is a RoBERTa", "give --arch minimodel_roberta")
