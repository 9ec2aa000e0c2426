"""From training over a frozen body to a saved module, and back onto the body, by the real commands."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import OPTIMISER, SMALL_MODEL, USER_DIR, run, state_of, train, write_pairs
from fairseq.models.roberta import RobertaModel
from models.test_minimodel_roberta import random_tokens
from safetensors.torch import load_file, save_file

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.identity import decode, encode
from fairseq_minimodel.bodies.language_side import LanguageSide, language_side_of
from fairseq_minimodel.bodies.surgery import truncate
from fairseq_minimodel.bodies.training_files import symbols_of
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.inference.switch import SwitchedBody
from fairseq_minimodel.modules.method import is_module_part
from fairseq_minimodel.packs.module import (
    NO_BODY,
    TASK_BODY,
    TASK_SETTINGS,
    body_digest,
    is_head,
    is_layer_norm,
    load_module,
    save_module,
)
from fairseq_minimodel.packs.pack import Description, load_pack, save_pack
from fairseq_minimodel.packs.plug import plug
from fairseq_minimodel.packs.plug_module import merge_module, plug_module
from fairseq_minimodel.vocabulary.symbols import fingerprint, read_symbols

HEAD = "sentence_classification_head"
ALL = "q_proj,k_proj,v_proj,out_proj,fc1,fc2"
CASES = {
    "adapter": ["--task-module", "adapter", "--module-reduction", "4"],
    "compacter": ["--task-module", "compacter", "--module-reduction", "2"],
    "compacter++": ["--task-module", "compacter++", "--module-reduction", "2"],
    "mask": ["--task-module", "mask", "--module-layers", "2-3", "--weight-decay", "0"],
    "lora": ["--task-module", "lora", "--module-rank", "2"],
    "bilinear": ["--task-module", "tarp", "--tarp-form", "bilinear", "--module-targets", ALL],
    "kronecker": ["--task-module", "tarp", "--tarp-form", "kronecker"],
    "dynamic": ["--task-module", "tarp"],
    "tams": ["--task-module", "tams", "--structure-width", "8"],
    "tarp+tams": ["--task-module", "tarp+tams", "--structure-width", "8"],
}
MERGE = ["mask", "lora", "bilinear", "kronecker"]
TRAIN_NORMS = set(CASES) - {"mask", "lora"}
EMBEDDING = "encoder.sentence_encoder.task_shared.embedding"  # of the task, for tams
PREPARED = "encoder.sentence_encoder.task_shared.prepared"


@pytest.fixture(scope="module")
def runs(joint_checkpoint, pair_data, tmp_path_factory):
    """A folder with a run of each case: checkpoints after 3 and 6 updates."""
    folder = tmp_path_factory.mktemp("modules")
    for case in CASES:
        train(pair_data, folder / case, *options_of(case, joint_checkpoint))
    return folder


def options_of(case, body):
    """What fairseq-train takes for a case, besides data and folder."""
    return [
        *SMALL_MODEL, "--max-update", "6", "--task", "sentence_prediction", "--criterion",
        "sentence_prediction", "--num-classes", "3", "--init-token", "0", "--separator-token", "2",
        "--max-positions", "32", "--required-batch-size-multiple", "1", "--finetune-from-model",
        body, "--save-interval-updates", "3", "--disable-validation", *CASES[case],
    ]  # fmt: skip


@pytest.fixture(scope="module")
def modules(runs):
    """The saved module of each case."""
    for case in CASES:
        save_module(runs / "saved" / case, trained(runs, case), None)
    return runs / "saved"


def trained(runs, case):
    return read_checkpoint(runs / case / "checkpoint_last.pt")


def logits(checkpoint, symbols):
    with torch.inference_mode():
        model = build_model(checkpoint, symbols)
        return model(random_tokens(20, 9, 13), classification_head_name=HEAD)[0]


@pytest.fixture(scope="module")
def body(joint_checkpoint):
    return read_checkpoint(joint_checkpoint)


@pytest.mark.parametrize("case", CASES)
def test_training_leaves_the_body_alone_and_changes_all_the_rest(runs, case, joint_checkpoint):
    before, after = state_of(joint_checkpoint), state_of(runs / case / "checkpoint_last.pt")
    halfway = state_of(runs / case / "checkpoint_1_3.pt")
    trains_norms, moved = case in TRAIN_NORMS, False
    for name, tensor in after.items():
        if name == EMBEDDING:  # computed before the first update
            assert tensor.any() and torch.equal(tensor, halfway[name])
        elif name == PREPARED:
            assert not tensor.any()
        elif ".edges." in name:  # of each edge, the chosen operation
            moved |= not torch.equal(tensor, halfway[name])
        elif is_module_part(name) or (is_layer_norm(name) and trains_norms):
            assert not torch.equal(tensor, halfway[name]), name
            assert name not in before or not torch.equal(tensor, before[name]), name
        elif is_head(name):
            assert torch.equal(tensor, halfway[name]) == (case == "mask"), name
        elif name not in (TASK_BODY, TASK_SETTINGS):
            assert torch.equal(tensor, before[name]), name
    assert moved == ("tams" in case)
    assert decode(after[TASK_BODY]) == body_digest(before)
    # every checkpoint is an ordinary one: the body under its ordinary names, and more
    missing = {name for name in before if "auxiliary" not in name} - set(after)
    assert not missing


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("case", "other", "then"),
    [
        ("lora", ["--lora-alpha", "8.0"], "--lora-alpha 16.0"),
        ("mask", ["--mask-threshold", "0.02"], "--mask-threshold 0.01"),
        ("tams", ["--structure-width", "4"], "--structure-width 8"),
    ],
)
@pytest.mark.slow
def test_training_goes_on_under_the_settings_of_its_module_alone(
    runs, case, other, then, joint_checkpoint, pair_data, tmp_path
):
    """Resumed, or from the module of another run."""
    shutil.copytree(runs / case, tmp_path / "run")
    trained_run = runs / case / "checkpoint_last.pt"
    for folder, body in (("run", joint_checkpoint), ("new", trained_run)):
        before = contents(tmp_path / folder)
        refused = run(
            ["fairseq-train", pair_data, "--user-dir", USER_DIR, "--save-dir", tmp_path / folder,
             *OPTIMISER, *options_of(case, body), *other, "--max-update", "8"]
        )  # fmt: skip
        assert refused.returncode == 2 and "Traceback" not in refused.stderr
        sentence = f"trained with {then}, and this run has {' '.join(other)}: give {then} to go on"
        assert sentence in refused.stderr.splitlines()[-1]
        assert contents(tmp_path / folder) == before
        # the same in other words, and other settings that are none of this module's
        same = ["--module-layers", "2,3" if case == "mask" else "1-3", "--module-divisions", "2"]
        options = [*options_of(case, body), *same, "--max-update", "7"]
        log = train(pair_data, tmp_path / folder, *options, "--save-interval-updates", "0")
        assert ("@ 6 updates)" in log) == (folder == "run") and '"num_updates": "7"' in log


@pytest.mark.parametrize("case", CASES)
def test_a_saved_module_holds_its_own_parameters_alone(modules, runs, case, body):
    tensors = load_file(modules / case / "module.safetensors")
    for name in tensors:
        own = is_module_part(name) or is_head(name) or name == "masks"
        assert own or (is_layer_norm(name) and case in TRAIN_NORMS), name
    about = json.loads((modules / case / "module.json").read_text())
    assert about["lineage"] == decode(body.state["encoder.lineage"])
    assert about["body"] == body_digest(body.state)
    assert (about["layers"], about["width"], about["updates"]) == (3, 16, 6)
    assert about["heads"] == {HEAD: 3} and about["settings"]["task_module"] == CASES[case][1]
    assert about["task"]["separator_token"] == 2 and "data" not in about["task"]
    labels = (modules / case / "label" / "dict.txt").read_text().split()[::2]
    assert labels == ["same", "other", "neither"]
    if case == "mask":  # a bit an element: 2 layers, pooler and classifier
        elements = 2 * (4 * 16 * 16 + 2 * 16 * 32) + 16 * 16 + 3 * 16
        assert about["parameters"] == elements and tensors["masks"].numel() == elements // 8
    else:
        assert about["parameters"] == sum(tensor.numel() for tensor in tensors.values())
    assert {path.name for path in (modules / case).iterdir()} == {
        "module.safetensors", "module.json", "label",
    }  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_on_its_body_it_computes_what_was_trained(modules, runs, case, body):
    symbols = symbols_of(body)
    expected = logits(trained(runs, case), symbols)
    plugged, report = plug_module(body, load_module(modules / case))
    assert f"classification head {HEAD}" in str(report)
    assert ("task module" in str(report)) == (case not in MERGE)
    assert plugged.config["task"]["_name"] == "sentence_prediction"
    torch.testing.assert_close(logits(plugged, symbols), expected, rtol=1e-5, atol=1e-6)
    assert (TASK_BODY in plugged.state) == (case not in MERGE)


@pytest.mark.parametrize("case", ["lora", "mask", "compacter", "tams"])
def test_a_module_may_answer_questions(runs, body, tmp_path, case):
    symbols, tokens = symbols_of(body), random_tokens(20, 9)
    model = build_model(trained(runs, case), symbols)
    model.classification_heads.clear()
    model.register_span_head()
    checkpoint = trained(runs, case).replaced(model.state_dict())
    checkpoint.config["task"] = {"_name": "span_qa", "max_positions": 32}
    save_module(tmp_path / "module", checkpoint, None)
    module = load_module(tmp_path / "module")
    assert module.description.heads == {"span_head": 2} and module.record is None
    plugged, real = build_model(plug_module(body, module)[0], symbols), tokens.ne(1)
    with torch.inference_mode():
        found, expected = (
            one(tokens, span_scores=True)[0][real] for one in (plugged, model.eval())
        )
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        if case in MERGE:
            served = SwitchedBody(body, symbols, {"questions": module}).switch("questions")
            found = served(tokens, span_scores=True)[0][real]
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", MERGE)
def test_merged_it_is_a_plain_model_of_the_same_output(modules, runs, case, body, tmp_path):
    symbols = symbols_of(body)
    merged, _ = merge_module(body, load_module(modules / case))
    assert not any(is_module_part(name) for name in merged.state)
    assert merged.model_config["task_module"] == "none"
    write_checkpoint(tmp_path / "merged.pt", merged)
    found = logits(read_checkpoint(tmp_path / "merged.pt"), symbols)
    expected = logits(trained(runs, case), symbols)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    if case == "mask":  # outside the chosen layers nothing changed; inside, only zeros are new
        for name, tensor in body.state.items():
            if name in merged.state and "vocabulary" not in name:
                same = merged.state[name] == tensor
                assert (merged.state[name][~same] == 0).all(), name
                assert same.all() or ".layers.1." in name or ".layers.2." in name
    # what is merged really is in the weights
    plain = replace(merged, state={**merged.state, **body.state})
    assert not torch.allclose(logits(plain, symbols), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("case", sorted(set(CASES) - set(MERGE)))
def test_what_cannot_be_merged_says_so(modules, body, case):
    with pytest.raises(InputError, match=f"{re.escape(case)} cannot be merged: .*--module"):
        merge_module(body, load_module(modules / case))


@pytest.mark.parametrize("case", ["compacter", "lora"])
def test_a_module_of_another_body_is_refused(modules, runs, body, case):
    module = load_module(modules / case)
    name = "encoder.sentence_encoder.layers.0.fc1.bias"
    other = body.replaced({**body.state, name: body.state[name] + 1e-6})
    with pytest.raises(InputError, match="trained over the body .* of one lineage"):
        plug_module(other, module)
    stranger = body.replaced({**body.state, "encoder.lineage": torch.zeros(16)})
    with pytest.raises(InputError, match="belongs to the lineage .* to the lineage 0000"):
        plug_module(stranger, module)
    with pytest.raises(InputError, match=r"\(3 layers\).*\(2 layers\)"):
        plug_module(truncate(body, 2)[0], module)
    with pytest.raises(InputError, match="has a task module inside"):
        plug_module(trained(runs, case), module)


def test_a_mini_model_is_not_cut_from_a_model_with_a_module(runs):
    with pytest.raises(InputError, match="has a task module inside"):
        truncate(trained(runs, "compacter"), 3)


def test_the_language_is_no_part_of_the_body(modules, body):
    other = {name: tensor + 1 if "embed_tokens" in name else tensor
             for name, tensor in body.state.items()}  # fmt: skip
    plug_module(body.replaced(other), load_module(modules / "lora"))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "module.json").unlink(), "has no module.json"),
        (
            lambda folder: (folder / "module.safetensors").write_bytes(b"x"),
            "safetensors is damaged",
        ),
        (lambda folder: (folder / "module.json").write_text("{"), "module.json is damaged"),
        (lambda folder: (folder / "module.json").write_text('{"heads": {}}'), "json is damaged"),
    ],
)
def test_a_damaged_module_is_named(modules, tmp_path, damage, sentence):
    shutil.copytree(modules / "mask", tmp_path / "mask")
    damage(tmp_path / "mask")
    with pytest.raises(InputError, match=sentence):
        load_module(tmp_path / "mask")


def test_parameters_of_another_module_are_refused(modules, tmp_path):
    copy = shutil.copytree(modules / "lora", tmp_path / "lora")
    tensors = load_file(copy / "module.safetensors")
    name = min(tensors)
    for changed in (
        {other: tensor for other, tensor in tensors.items() if other != name},
        {**tensors, "more": torch.ones(2)},
        {**tensors, name: torch.ones(3)},
    ):
        save_file(changed, copy / "module.safetensors")
        with pytest.raises(InputError, match="module.safetensors is not of this module"):
            load_module(copy)


def test_masks_that_do_not_fit_their_description_are_named(modules, body, tmp_path):
    shutil.copytree(modules / "mask", tmp_path / "mask")
    about = json.loads((modules / "mask" / "module.json").read_text())
    about["settings"]["module_layers"] = "3"
    (tmp_path / "mask" / "module.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="does not hold the masks that module.json tells of"):
        plug_module(body, load_module(tmp_path / "mask"))


def test_a_body_without_a_module_cannot_be_saved_as_one(body, tmp_path):
    with pytest.raises(InputError, match="was not trained with a task module"):
        save_module(tmp_path / "module", body, None)
    assert not (tmp_path / "module").exists()


def test_a_module_trained_over_nothing_cannot_be_saved(runs, tmp_path):
    checkpoint = trained(runs, "lora")
    alone = checkpoint.replaced({**checkpoint.state, TASK_BODY: encode(NO_BODY)})
    with pytest.raises(InputError, match="over a body that was never loaded"):
        save_module(tmp_path / "module", alone, None)


def test_the_masks_of_roberta_base_take_10_7_megabytes(runs, tmp_path):
    """All layers, pooler and classifier; the tensors are of one number each, seen as many."""
    small, sizes = trained(runs, "mask"), {16: 768, 32: 3072}
    assert small.state["encoder.sentence_encoder.layers.1.fc1.task_weight.scores"].numel() == 512
    state = {}
    for name, tensor in small.state.items():
        if name.startswith(("encoder.lineage", TASK_BODY)):
            state[name] = tensor
            continue
        shape = [sizes.get(length, length) for length in tensor.shape]
        for layer in range(12) if ".layers.1." in name else (0,):
            full = name.replace(".layers.1.", f".layers.{layer}.")
            state[full] = tensor.new_ones(()).expand(shape)
    checkpoint = replace(small.replaced(state, module_layers=""), state=state)
    save_module(tmp_path / "base", checkpoint, runs / "saved/mask/label/dict.txt")
    about = json.loads((tmp_path / "base" / "module.json").read_text())
    elements = 12 * (4 * 768 * 768 + 2 * 768 * 3072) + 768 * 768 + 3 * 768
    assert about["parameters"] == elements
    size = sum(path.stat().st_size for path in (tmp_path / "base").rglob("*") if path.is_file())
    assert elements / 8 < size <= 10.7e6


def test_one_body_serves_several_tasks(modules, runs, body):
    symbols, tokens = symbols_of(body), random_tokens(20, 9, 13)
    expected = {case: logits(trained(runs, case), symbols) for case in MERGE}
    served = SwitchedBody(body, symbols, {case: load_module(modules / case) for case in MERGE})
    storage = served.model.encoder.sentence_encoder.layers[1].fc1.weight.data_ptr()
    with torch.inference_mode():
        for case in [*MERGE, *reversed(MERGE), "lora", "mask", "mask"]:
            found = served.switch(case)(tokens, classification_head_name=HEAD)[0]
            torch.testing.assert_close(found, expected[case], rtol=1e-5, atol=1e-6)
    # in place, and of the original only what a task changes is kept besides
    layer = served.model.encoder.sentence_encoder.layers[1]
    assert layer.fc1.weight.data_ptr() == storage
    assert "encoder.sentence_encoder.embed_positions.weight" not in served.original


def test_only_what_merges_and_fits_is_served(modules, body):
    symbols = symbols_of(body)
    with pytest.raises(InputError, match="cannot be merged"):
        SwitchedBody(body, symbols, {"x": load_module(modules / "adapter")})
    name = "encoder.sentence_encoder.layers.0.fc1.bias"
    other = body.replaced({**body.state, name: body.state[name] + 1})
    with pytest.raises(InputError, match="trained over the body"):
        SwitchedBody(other, symbols, {"x": load_module(modules / "mask")})


@pytest.fixture(scope="module")
def packs(body, source_data, target_data, tmp_path_factory):
    """A pack of the source language, and one of random rows in the place of a trained target."""
    folder = tmp_path_factory.mktemp("packs")
    torch.manual_seed(1)
    for language, data in (("source", source_data), ("target", target_data)):
        symbols = read_symbols(data / "dict.txt")
        side = LanguageSide(0.1 * torch.randn(len(symbols), 16), torch.zeros(len(symbols)))
        if language == "source":
            side = language_side_of(body.state)
        description = Description(language, decode(body.state["encoder.lineage"]),
                                  fingerprint(symbols), len(symbols), 16, depth=3)  # fmt: skip
        tokenizer = data / "sentencepiece.bpe.model"
        save_pack(folder / language, side, description, data / "dict.txt", tokenizer)
    return folder


def command(*arguments):
    return main([str(argument) for argument in arguments])


def test_evaluate_takes_body_pack_and_module(
    modules, runs, packs, body, joint_checkpoint, tmp_path, capsys
):
    """Trained in the source language; in the target language as a whole fine-tuned body would be."""
    tests = []
    for language, word in (("source", "word"), ("target", "wort")):
        words = [f"{word}{index}" for index in range(60)]
        file = write_pairs(tmp_path / f"{language}.tsv", words, seed=5, count=60)
        # each label another number of times, as after few updates a body may always say the same one
        lines = file.read_text().splitlines()
        kept = [
            line for number, line in enumerate(lines) if number and number % 12 not in (1, 2, 4)
        ]
        file.write_text("\n".join(["premise\thypothesis\tlabel", *kept]) + "\n")
        tests += ["--test", packs / language, file]
    tests += ["--text-columns", "premise", "hypothesis"]
    cases = ["compacter", "mask", "tams", "tarp+tams", "lora"]
    evaluate = ["evaluate", "--body", joint_checkpoint, *tests]
    folders = [modules / case for case in cases]
    assert command(*evaluate, "--json", tmp_path / "modules.json", "--module", *folders) == 0
    printed = capsys.readouterr().out
    bodies = [runs / case / "checkpoint_last.pt" for case in cases]
    assert command("evaluate", "--body", *bodies, *tests, "--json", tmp_path / "bodies.json") == 0
    scores, expected = (
        json.loads((tmp_path / name).read_text()) for name in ("modules.json", "bodies.json")
    )
    assert [score["language"] for score in scores] == len(cases) * ["source", "target"]
    assert [score["correct"] for score in scores] == [score["correct"] for score in expected]
    symbols = symbols_of(body)
    first, *others = (logits(trained(runs, case), symbols) for case in cases)
    assert not any(torch.allclose(first, other, atol=1e-3) for other in others)
    for score, case in zip(scores[::2], cases, strict=True):
        assert score["body"] == f"{joint_checkpoint} + {modules / case}"
        assert str(modules / case) in printed
    # the labels are the module's own, and those that are named come first
    (tmp_path / "dict.txt").write_text("other 1\nneither 1\nsame 1\n")
    command(*evaluate, "--module", modules / "lora", "--labels", tmp_path / "dict.txt", "--json",
            tmp_path / "renamed.json")  # fmt: skip
    renamed = json.loads((tmp_path / "renamed.json").read_text())
    assert [score["correct"] for score in renamed] != [score["correct"] for score in scores[-2:]]
    # one body
    assert command("evaluate", "--body", *bodies, *tests, "--module", modules / "lora") == 2
    assert "--module needs one --body" in capsys.readouterr().err


@pytest.mark.parametrize("case", ["compacter", "mask", "tams"])
def test_the_verbs(modules, runs, packs, joint_checkpoint, tmp_path, case, capsys):
    module = tmp_path / "module"
    command("module", "--checkpoint", runs / case / "checkpoint_last.pt", "--output", module)
    printed = capsys.readouterr().out
    assert f"module: {case}, " in printed and " parameters in " in printed
    for path in (modules / case).rglob("*"):
        if path.is_file():
            copy = module / path.relative_to(modules / case)
            assert copy.read_bytes() == path.read_bytes()
    merged = command("merge", "--body", joint_checkpoint, "--module", module, "--output",
                     tmp_path / "merged.pt")  # fmt: skip
    assert merged == (0 if case == "mask" else 2)
    assert (tmp_path / "merged.pt").exists() == (case == "mask")
    command("plug", "--body", joint_checkpoint, "--pack", packs / "target", "--module", module,
            "--output", tmp_path / "de")  # fmt: skip
    roberta = RobertaModel.from_pretrained(str(tmp_path / "de"), bpe="sentencepiece").eval()
    tokens = roberta.encode("wort1 wort2", "wort3")
    found = roberta.predict(HEAD, tokens)
    pack = load_pack(packs / "target")
    expected = build_model(plug(trained(runs, case), pack)[0], pack.symbols)
    expected = expected(tokens.unsqueeze(0), classification_head_name=HEAD)[0].log_softmax(-1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
