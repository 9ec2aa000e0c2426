"""The arithmetic of cutting, extending and plugging, on a trained checkpoint."""

from dataclasses import replace

import pytest
import torch
from models.test_minimodel_roberta import random_tokens

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.identity import lineage_of
from fairseq_minimodel.bodies.language_side import LanguageSide, is_language_side, language_side_of
from fairseq_minimodel.bodies.surgery import extend, head_layers, truncate
from fairseq_minimodel.bodies.tensors import EMBEDDING, HEAD
from fairseq_minimodel.bodies.training_files import symbols_of
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.packs.commands import describe
from fairseq_minimodel.packs.pack import Description, LanguagePack
from fairseq_minimodel.packs.plug import plug
from fairseq_minimodel.vocabulary.symbols import fingerprint


@pytest.fixture
def body(joint_checkpoint):
    return read_checkpoint(joint_checkpoint)


def make_pack(body, symbols, side):
    description = Description(
        "xx", lineage_of(body.state), fingerprint(symbols), len(symbols), side.width, depth=2
    )
    return LanguagePack(description, side, symbols, folder="xx")


def test_the_mini_model_gives_the_middle_heads_logits_of_the_full_model(body):
    symbols, tokens = symbols_of(body), random_tokens(20, 9)
    mini, report = truncate(body, 2)
    full = build_model(body, symbols)(tokens, all_heads=True)[1]["head_logits"]
    assert torch.equal(build_model(mini, symbols)(tokens)[0], full[2])
    assert not torch.equal(full[2], full[3])
    assert str(report) == (
        "kept: language side, position embeddings, embedding LayerNorm, layers 1-2, "
        "MLM head after layer 2; dropped: layer 3, last MLM head"
    )
    assert mini.model_config["encoder_layers"] == 2
    assert head_layers(mini) == [2]


def test_at_full_depth_the_last_head_stays_and_the_others_go(body):
    symbols, tokens = symbols_of(body), random_tokens(20, 9)
    plain, report = truncate(body, 3)
    expected = build_model(body, symbols)(tokens)[0]
    assert torch.equal(build_model(plain, symbols)(tokens)[0], expected)
    assert str(report).endswith("dropped: MLM head after layer 2")


def test_there_is_no_mini_model_without_a_head(body):
    with pytest.raises(InputError, match="no MLM head after layer 1, only after 2, 3"):
        truncate(body, 1)


def test_extend_keeps_the_bottom_and_draws_the_rest_as_bert_does(body):
    extended, report = extend(body, 1, 2, seed=7, head="new", layers="new")
    assert str(report).startswith(
        "kept: language side, position embeddings, embedding LayerNorm, layer 1; "
        "made: layers 2-3, last MLM head"
    )
    for name in report.kept:
        assert extended.state[name] is body.state[name]
    top = "encoder.sentence_encoder.layers.2."
    assert extended.state[top + "fc1.weight"].std().item() == pytest.approx(0.02, rel=0.1)
    assert not extended.state[top + "fc1.bias"].any()
    assert torch.equal(extended.state[top + "final_layer_norm.weight"], torch.ones(16))
    assert torch.equal(extended.state[top + "final_layer_norm.bias"], torch.zeros(16))
    assert not torch.equal(
        extended.state[top + "fc1.weight"], extended.state[top.replace("2", "1") + "fc1.weight"]
    )
    # it is a whole model, of the lineage of the body
    build_model(extended, symbols_of(body))(random_tokens(8))
    assert lineage_of(extended.state) == lineage_of(body.state)


def test_extend_is_repeatable_by_its_seed(body):
    first, second, other = (
        extend(body, 2, 1, seed, head="new", layers="new")[0].state for seed in (1, 1, 2)
    )
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())


@pytest.mark.parametrize(
    ("depth", "new", "settings", "sentence"),
    [
        (0, 1, {}, "depth 0"),
        (4, 1, {"layers": "new"}, "depth 4"),
        (2, -1, {}, "-1 new layers: give 0 or more"),
        (2, 0, {"head": "frozen"}, "nothing to train"),
        (
            2,
            2,
            {},
            "has 3 layers, and none to copy as layers 3 to 4: .* --layers new",
        ),
    ],
)
def test_extend_refuses_what_cannot_be(body, depth, new, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        extend(body, depth, new, **settings)


def test_copies_are_the_bodys_own_layers_and_head(body):
    extended, report = extend(body, 1, 1)
    assert str(report) == (
        "kept: language side, position embeddings, embedding LayerNorm, layers 1-2, last MLM head; "
        "dropped: layer 3, MLM head after layer 2"
    )
    assert not report.made
    for name, tensor in extended.state.items():
        assert tensor is body.state[name]
    frozen, _ = extend(body, 1, 1, head="frozen", layers="copy")
    assert frozen.state.keys() == extended.state.keys()
    assert all(frozen.state[name] is tensor for name, tensor in extended.state.items())
    symbols, tokens = symbols_of(body), random_tokens(20, 9)
    whole, _ = extend(body, 2, 1)
    expected = build_model(body, symbols)(tokens)[0]
    assert torch.equal(build_model(whole, symbols)(tokens)[0], expected)


def test_head_and_layers_are_chosen_apart(body):
    head = f"{HEAD}dense.weight"
    layer = "encoder.sentence_encoder.layers.1.fc1.weight"
    for kind, other in (("new", "copy"), ("copy", "new")):
        extended, _ = extend(body, 1, 1, head=kind, layers=other)
        assert torch.equal(extended.state[head], body.state[head]) == (kind == "copy")
        assert torch.equal(extended.state[layer], body.state[layer]) == (other == "copy")


def test_a_head_alone(body):
    extended, report = extend(body, 2, 0, head="new")
    assert extended.layers == extended.model_config["encoder_layers"] == 2
    assert str(report).endswith(
        "made: last MLM head; dropped: layer 3, MLM head after layer 2, last MLM head"
    )
    build_model(extended, symbols_of(body))(random_tokens(8))


def test_a_body_without_a_head_gets_a_new_one(body):
    state = {name: one for name, one in body.state.items() if not name.startswith(HEAD)}
    bare = body.replaced(state)
    with pytest.raises(InputError, match="has no MLM head to copy: give --head new"):
        extend(bare, 2, 1)
    extended, _ = extend(bare, 1, 2, seed=7, head="new")
    expected, _ = extend(body, 1, 2, seed=7, head="new")
    bias = f"{HEAD}bias"
    assert not extended.state[bias].any() and expected.state[bias].any()
    assert extended.state.keys() == expected.state.keys()
    for name, tensor in expected.state.items():
        assert name == bias or torch.equal(extended.state[name], tensor), name


def test_source_target_source_gives_identical_logits(body):
    symbols, tokens = symbols_of(body), random_tokens(20, 9)
    source = make_pack(body, symbols, language_side_of(body.state))
    other = ["<s>", "<pad>", "</s>", "<unk>", *(f"t{i}" for i in range(90)), "<mask>"]
    target = make_pack(body, other, LanguageSide(torch.randn(95, 16), torch.randn(95)))
    before = build_model(body, symbols)(tokens)[0]
    there, report = plug(body, target)
    assert build_model(there, other)(tokens)[0].shape[-1] == 95
    assert there.state[EMBEDDING] is there.state["encoder.lm_head.weight"]
    back, _ = plug(there, source)
    assert torch.equal(build_model(back, symbols)(tokens)[0], before)
    for name in report.kept:
        assert is_language_side(name) or there.state[name] is back.state[name] or "vocab" in name


def test_a_pack_of_another_lineage_or_width_is_refused(body):
    symbols = symbols_of(body)
    pack = make_pack(body, symbols, language_side_of(body.state))
    stranger = replace(pack, description=replace(pack.description, lineage="f" * 16))
    with pytest.raises(InputError, match=f"lineage ffffffffffffffff.*{lineage_of(body.state)}"):
        plug(body, stranger)
    wide = replace(pack, description=replace(pack.description, width=24))
    with pytest.raises(InputError, match="24 wide.*16 wide"):
        plug(body, wide)


def test_a_body_without_its_mlm_head_is_refused(body):
    symbols = symbols_of(body)
    pack = make_pack(body, symbols, language_side_of(body.state))
    state = {name: one for name, one in body.state.items() if not name.startswith(HEAD)}
    with pytest.raises(InputError, match=r"checkpoint_last.pt has no MLM head"):
        plug(body.replaced(state), pack)
    with pytest.raises(InputError, match=r"checkpoint_last.pt has no MLM head"):
        describe(body.replaced(state), "xx", symbols)


def test_a_body_without_a_written_lineage_has_that_of_its_weights(body):
    bare = {name: tensor for name, tensor in body.state.items() if "lineage" not in name}
    language = {EMBEDDING: torch.zeros_like(bare[EMBEDDING])}
    changed = {**bare, "encoder.sentence_encoder.layers.0.fc1.bias": torch.ones(32)}
    assert lineage_of(bare) == lineage_of({**bare, **language}) != lineage_of(body.state)
    assert lineage_of(bare) != lineage_of(changed)
