"""Any start of a language side, at any depth, goes with any task module over one body.

Ten packs and ten modules are trained, each for a few updates and none with a thought of the others.
What the package makes of body, pack and module is compared with fairseq's own load of the checkpoint
that trained the module, the embeddings of the pack put in by hand.
"""

import json

import pytest
import torch
from conftest import LENGTH, SMALL_MODEL, state_of, train, write_corpus, write_pairs
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from safetensors.torch import load_file
from torch import nn

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.language_side import EMBEDDING, OUTPUT_BIAS, OUTPUT_PROJECTION
from fairseq_minimodel.cli import main
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.modules.method import is_module_part
from fairseq_minimodel.packs.module import is_head, is_layer_norm, load_module
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.packs.plug import plug
from fairseq_minimodel.packs.plug_module import plug_module
from fairseq_minimodel.packs.start import RULES

pytestmark = pytest.mark.slow

HEAD = "sentence_classification_head"
LABELS = ["same", "other", "neither"]
DEPTHS = (2, 3)  # of 3 layers; the middle head is after layer 2
# aligned needs tokenizers on both sides, which are not here: tests/packs/start/test_aligned.py
STARTS = [(rule, depth) for rule in RULES if rule != "aligned" for depth in DEPTHS]
MODULES = {
    "adapter": ["--task-module", "adapter", "--module-reduction", "4"],
    "compacter": ["--task-module", "compacter", "--module-reduction", "2"],
    "compacter++": ["--task-module", "compacter++", "--module-reduction", "2"],
    "mask": ["--task-module", "mask", "--module-layers", "2-3", "--weight-decay", "0"],
    "bilinear": ["--task-module", "tarp", "--tarp-form", "bilinear"],
    "kronecker": ["--task-module", "tarp", "--tarp-form", "kronecker"],
    "dynamic": ["--task-module", "tarp", "--tarp-form", "dynamic"],
    "tams": ["--task-module", "tams", "--structure-width", "8"],
    "tarp+tams": ["--task-module", "tarp+tams", "--structure-width", "8"],
    "lora": ["--task-module", "lora"],
}
MERGED = ("mask", "bilinear", "kronecker", "lora")
VISIBLE = 0.01  # in logits, where rounding makes 1e-6


@pytest.fixture(scope="module")
def words():
    """Of the new language; those that the source has too come first, so that its text has them."""
    return [f"word{index}" for index in range(5)] + [f"wort{index}" for index in range(60)]


@pytest.fixture(scope="module")
def corpus(words, tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), words, seed=3)


@pytest.fixture(scope="module")
def body(joint_checkpoint, tmp_path_factory):
    """A tiny body with larger weights than few updates make, so that what it reads matters.

    So has its last LayerNorm: a head under masks starts small, and is not trained.
    """
    small, generator = read_checkpoint(joint_checkpoint), torch.Generator().manual_seed(1)
    state = {
        name: 0.4 * torch.randn(tensor.shape, generator=generator)
        if ".layers." in name and tensor.dim() == 2
        else tensor
        for name, tensor in small.state.items()
    }
    last = "encoder.sentence_encoder.layers.2.final_layer_norm.weight"
    state[last] = 10 * state[last]
    path = tmp_path_factory.mktemp("body") / "body.pt"
    write_checkpoint(path, small.replaced(state))
    return read_checkpoint(path)


@pytest.fixture(scope="module")
def packs(body, corpus, tmp_path_factory):
    """The folder of each pack and the checkpoint that it is from, by initialiser and depth."""
    folder = tmp_path_factory.mktemp("packs")
    made = {}
    for rule, depth in STARTS:
        run = folder / f"run-{rule}-{depth}"
        # any pack in the target vocabulary is a helper
        helper = ["--helper", made["random", 2][0]] if rule == "clp" else []
        train(
            corpus, run, "--task", "language_adaptation", "--criterion", "joint_masked_lm",
            "--arch", "minimodel_roberta", *LENGTH, "--base-checkpoint", body.path,
            "--depth", depth, "--initialise", rule, *helper, "--max-update", "2",
            "--disable-validation",
        )  # fmt: skip
        checkpoint, pack = run / "checkpoint_last.pt", folder / f"{rule}-{depth}"
        command("pack", "--checkpoint", checkpoint, "--language", "de", "--output", pack)
        made[rule, depth] = (pack, checkpoint)
    return made


@pytest.fixture(scope="module")
def modules(body, pair_data, tmp_path_factory):
    """The folder of each module and the checkpoint that it is from, by kind."""
    folder = tmp_path_factory.mktemp("modules")
    made = {}
    for kind, options in MODULES.items():
        train(
            pair_data, folder / f"run-{kind}", "--task", "sentence_prediction", "--criterion",
            "sentence_prediction", "--num-classes", "3", "--init-token", "0", "--separator-token",
            "2", *SMALL_MODEL, "--max-positions", "32", "--required-batch-size-multiple", "1",
            "--finetune-from-model", body.path, "--pooler-activation-fn", "linear", "--max-update",
            "3", "--disable-validation", *options,
        )  # fmt: skip
        checkpoint, module = folder / f"run-{kind}/checkpoint_last.pt", folder / kind
        command("module", "--checkpoint", checkpoint, "--output", module)
        made[kind] = (module, checkpoint)
    return made


def command(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def pairs(words, tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs") / "test.tsv", words, seed=5, count=30)


@pytest.fixture(scope="module")
def tokens(pairs, corpus):
    """The pairs as the task feeds them to a model, one per row: <s> first </s> </s> second </s>."""
    dictionary = Dictionary.load(str(corpus / "dict.txt"))
    rows = []
    for line in pairs.read_text().splitlines()[1:]:
        first, second = (
            [dictionary.index(f"\u2581{word}") for word in text.split()]
            for text in line.split("\t")[:2]
        )
        rows.append(torch.tensor([0, *first, 2, 2, *second, 2]))
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=dictionary.pad())


@pytest.fixture(scope="module")
def expected(modules, packs, tokens):
    """By kind and start: logits of the model that was trained, with other embeddings."""
    logits = {}
    for kind, (_, checkpoint) in modules.items():
        [model], _, _ = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint)])
        encoder = model.eval().double().encoder.sentence_encoder
        for start, (pack, _) in packs.items():
            rows = load_file(pack / "language.safetensors")["embed_tokens.weight"]
            encoder.embed_tokens = nn.Embedding.from_pretrained(rows.double(), padding_idx=1)
            with torch.inference_mode():
                logits[kind, start] = model(tokens, classification_head_name=HEAD)[0]
    return logits


def logits_of(checkpoint, pack, tokens):
    with torch.inference_mode():
        # in float64, so that only what merging rounds is left
        model = build_model(checkpoint, pack.symbols).double()
        return model(tokens, classification_head_name=HEAD)[0]


def distance(left, right):
    return (left - right).abs().max().item()


@pytest.mark.parametrize("start", STARTS, ids=lambda start: "{}-{}".format(*start))
def test_a_pack_is_trained_over_a_body_that_stays(start, packs, body):
    (_, depth), (folder, checkpoint) = start, packs[start]
    head = "encoder.lm_head." if depth == 3 else "encoder.auxiliary_lm_heads.2."
    state, pack = state_of(checkpoint), load_file(folder / "language.safetensors")
    assert torch.equal(pack["embed_tokens.weight"], state[EMBEDDING])
    assert torch.equal(pack["lm_head.bias"], state[OUTPUT_BIAS])
    for name, tensor in state.items():
        if name not in (EMBEDDING, OUTPUT_PROJECTION, OUTPUT_BIAS, "encoder.vocabulary"):
            assert torch.equal(tensor, body.state[name.replace("encoder.lm_head.", head)]), name
    layers = {name.split(".")[3] for name in state if ".layers." in name}
    assert len(layers) == load_pack(folder).description.depth == depth


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("start", STARTS, ids=lambda start: "{}-{}".format(*start))
def test_body_pack_and_module_are_the_trained_model_in_another_language(
    start, kind, packs, modules, body, tokens, expected
):
    pack, module = load_pack(packs[start][0]), load_module(modules[kind][0])
    with_module = plug_module(body, module)[0]
    plugged = plug(with_module, pack)[0]
    assert_each_part_is_the_same_by_bits(plugged.state, kind, pack, modules[kind][1], body)
    found = logits_of(plugged, pack, tokens)
    torch.testing.assert_close(found, expected[kind, start], rtol=1e-5, atol=5e-6)
    # in the other order it is the same
    other_order = plug_module(plug(body, pack)[0], module)[0]
    assert other_order.state.keys() == plugged.state.keys()
    assert all(torch.equal(other_order.state[name], plugged.state[name]) for name in plugged.state)

    for other in STARTS:  # any other pack would show
        assert other == start or distance(found, expected[kind, other]) > VISIBLE, other
    heads = {name: tensor for name, tensor in plugged.state.items() if is_head(name)}
    without = logits_of(plug(body.replaced({**body.state, **heads}), pack)[0], pack, tokens)
    assert distance(found, without) > VISIBLE


def assert_each_part_is_the_same_by_bits(state, kind, pack, checkpoint, body):
    """Language from the pack, what the module trains from its training, all else from the body."""
    trained, language = state_of(checkpoint), load_file(pack.folder / "language.safetensors")
    rows, bias = language["embed_tokens.weight"], language["lm_head.bias"]
    from_pack = {EMBEDDING: rows, OUTPUT_PROJECTION: rows, OUTPUT_BIAS: bias}
    merged = 0
    for name, tensor in state.items():
        change = f"{name.removesuffix('weight')}task_weight."
        if name in from_pack:
            assert torch.equal(tensor, from_pack[name]), name
        elif kind in MERGED and any(other.startswith(change) for other in trained):
            merged += 1
            assert is_head(name) or not torch.equal(tensor, body.state[name]), name
        elif (
            is_module_part(name)
            or is_head(name)
            or (is_layer_norm(name) and kind not in ("mask", "lora"))
        ):
            assert torch.equal(tensor, trained[name]), name
        elif name not in ("encoder.vocabulary", "encoder.task_body"):
            assert torch.equal(tensor, body.state[name]), name
    # masks: six matrices in each of two layers, and the head's two; TARP: six in each of three layers;
    # LoRA: two in each of three layers
    assert merged == {"mask": 14, "bilinear": 18, "kronecker": 18, "lora": 6}.get(kind, 0)
    assert any(is_module_part(name) for name in state) == (kind not in MERGED)


@pytest.mark.parametrize("kind", MODULES)
def test_evaluate_scores_a_module_in_every_pack(
    kind, modules, packs, pairs, expected, body, tmp_path, capsys
):
    tests = [part for folder, _ in packs.values() for part in ("--test", folder, pairs)]
    command(
        "evaluate", "--body", body.path, "--module", modules[kind][0], *tests,
        "--text-columns", "premise", "hypothesis", "--json", tmp_path / "scores.json",
    )  # fmt: skip
    scores = json.loads((tmp_path / "scores.json").read_text())
    answers = [line.split("\t")[2] for line in pairs.read_text().splitlines()[1:]]
    answers = torch.tensor([LABELS.index(answer) for answer in answers])
    for score, (start, (folder, _)) in zip(scores, packs.items(), strict=True):
        assert score["pack"] == str(folder)
        assert score["correct"] == (expected[kind, start].argmax(dim=-1) == answers).sum()
        assert score["examples"] == 30
    assert len({score["correct"] for score in scores}) > 1
