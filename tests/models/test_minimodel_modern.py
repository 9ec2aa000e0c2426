"""The models of ModernBERT and EuroBERT: heads in the middle, what is frozen, and what they refuse."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from models.test_minimodel_roberta import make_dictionary, random_tokens
from omegaconf import OmegaConf
from support.modern_models import EURO, MODERN, of_each_kind

from fairseq_minimodel.bodies.checkpoint import Checkpoint
from fairseq_minimodel.bodies.identity import family_of_state
from fairseq_minimodel.bodies.language_side import is_language_side
from fairseq_minimodel.bodies.state import check_state
from fairseq_minimodel.bodies.surgery import extend, truncate
from fairseq_minimodel.bodies.tensors import EMBEDDING, OUTPUT_PROJECTION
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.models.config import model_class

FINAL_NORM = "encoder.sentence_encoder.layer_norm.weight"


def make_model(kind=MODERN, **settings):
    torch.manual_seed(1)
    model_of = model_class(kind.family)
    config = OmegaConf.structured(model_of.config_class)
    config.update({**kind.sizes, **settings})
    model = model_of.build_model(config, SimpleNamespace(source_dictionary=make_dictionary()))
    with torch.no_grad():  # so that no norm is the identity of another, and a bias is seen
        for name, parameter in model.named_parameters():
            if "norm" in name or name == "encoder.lm_head.bias":
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def checkpoint_of(model):
    settings = OmegaConf.to_container(model.args) | {"_name": model.name}
    family = model.encoder_class.model_family
    config = {"model": settings, "task": {}}
    return Checkpoint(Path("model.pt"), model.state_dict(), config, 0, family=family)


def load(kind, checkpoint):
    model = make_model(kind, **checkpoint.body_settings())
    model.load_state_dict(dict(checkpoint.state), strict=True)
    return model


@of_each_kind
def test_its_state_is_that_of_the_family_with_tables_drawn_as_berts(kind):
    model = make_model(kind, auxiliary_head_layers="2")
    state = model.state_dict()
    assert family_of_state(state) is kind.family
    check_state(Path("model.pt"), state, kind.family)
    parameters = [name for name, _ in model.named_parameters()]
    heads = ("encoder.lm_head.", "encoder.auxiliary_lm_heads.2.")
    named = [one.here for one in kind.family.parameters(range(5), heads)]
    assert sorted(parameters) == sorted(named)
    for name in (EMBEDDING, OUTPUT_PROJECTION):
        assert state[name].std() == pytest.approx(0.02, rel=0.1), name
    is_tied = model.encoder.lm_head.weight is model.encoder.sentence_encoder.embed_tokens.weight
    assert is_tied == (kind is MODERN)


def layer_norm(x, weight):
    x = x - x.mean(-1, keepdim=True)
    return rms_norm(x, weight)


def rms_norm(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


@of_each_kind
def test_a_head_in_the_middle_reads_its_layer_through_its_own_norm(kind):
    model = make_model(kind, auxiliary_head_layers="2,4")
    tokens = random_tokens(20, 7)
    masked = torch.zeros_like(tokens, dtype=torch.bool)
    masked[0, 3] = masked[1, 2] = True
    with torch.inference_mode():
        logits = model(tokens, masked_tokens=masked, all_heads=True)[1]["head_logits"]
        states = model(tokens, features_only=True, return_all_hiddens=True)[1]["inner_states"]
    assert list(logits) == [2, 4, 5]
    state = model.state_dict()
    for layer in (2, 4):
        head = f"encoder.auxiliary_lm_heads.{layer}."
        x, gain = states[layer].transpose(0, 1)[masked], state[f"{head}final_norm.weight"]
        if kind is EURO:  # all heads share the one projection, and have nothing else
            expected = rms_norm(x, gain) @ state[OUTPUT_PROJECTION].T
        else:
            dense = layer_norm(x, gain) @ state[f"{head}dense.weight"].T
            x = layer_norm(torch.nn.functional.gelu(dense), state[f"{head}layer_norm.weight"])
            expected = x @ state[EMBEDDING].T + state["encoder.lm_head.bias"]
        torch.testing.assert_close(logits[layer], expected, rtol=1e-5, atol=1e-5)


@of_each_kind
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_truncated_model_computes_what_the_middle_head_did(kind, depth):
    model = make_model(kind, auxiliary_head_layers="1,2,4")
    tokens = random_tokens(20, 7)
    mini, report = truncate(checkpoint_of(model), depth)
    is_local = kind is MODERN and depth == 2
    assert ("attends to a window of 8 tokens" in report.note) == is_local == (report.note != "")
    assert not any(name.startswith("encoder.auxiliary") for name in mini.state)
    assert FINAL_NORM in report.dropped and OUTPUT_PROJECTION in report.kept
    with torch.inference_mode():
        expected = model(tokens, all_heads=True)[1]["head_logits"][depth]
        found = load(kind, mini)(tokens)[0]
    real = tokens.ne(1)
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-6)


@of_each_kind
def test_the_whole_depth_keeps_the_final_norm_and_says_nothing(kind):
    model = make_model(kind, auxiliary_head_layers="2")
    whole, report = truncate(checkpoint_of(model), 5)
    assert torch.equal(whole.state[FINAL_NORM], model.state_dict()[FINAL_NORM])
    assert report.note == "" and FINAL_NORM in report.kept


@of_each_kind
@pytest.mark.parametrize("layers", ["new", "copy"])
def test_layers_on_top_are_complete_and_the_bottom_is_kept_by_bits(kind, layers):
    body = checkpoint_of(make_model(kind))
    grown, report = extend(body, 1, 2, layers=layers, head="new" if kind is MODERN else "copy")
    assert grown.layers == 3
    check_state(Path("model.pt"), grown.state, kind.family)
    for name, tensor in body.state.items():
        if ".layers.0." in name or is_language_side(name) or name == FINAL_NORM:
            assert torch.equal(grown.state[name], tensor), name
    norm = "encoder.sentence_encoder.layers.1.self_attn_layer_norm.weight"
    assert (grown.state[norm] == 1).all() == (layers == "new")
    assert ("layer 3, the last now" in str(report)) == (kind is MODERN)
    load(kind, grown)


def test_a_new_head_is_refused_where_there_is_none_in_the_body():
    with pytest.raises(InputError, match="belongs to the language: give --head copy"):
        extend(checkpoint_of(make_model(EURO)), 1, 2, head="new")


def is_above(name):
    """Whether a parameter belongs to the MLM head, or to the norm before it."""
    return name.startswith(("encoder.lm_head.dense", "encoder.lm_head.layer")) or name == FINAL_NORM


FREEZE = {
    "none": lambda name: True,
    "language": lambda name: not is_language_side(name),
    "body": is_language_side,
    "bottom:3": lambda name: ".layers.3." in name or ".layers.4." in name or is_above(name),
    "bottom:5": is_above,
    "bottom:4-head": lambda name: ".layers.4." in name or name == FINAL_NORM,
    "bottom:5-head+bias": lambda name: name == "encoder.lm_head.bias",
}


@pytest.mark.parametrize(
    ("kind", "freeze"),
    [(MODERN, one) for one in FREEZE] + [(EURO, one) for one in FREEZE if "bias" not in one],
    ids=str,
)
def test_what_is_frozen_and_what_gets_a_gradient(kind, freeze):
    model = make_model(kind, freeze=freeze).train()
    tokens = random_tokens(20, 7)
    model(tokens, masked_tokens=tokens.ne(1))[0].square().sum().backward()
    for name, parameter in model.named_parameters():
        is_trained = FREEZE[freeze](name)
        assert parameter.requires_grad == is_trained == (parameter.grad is not None), name
        assert not is_trained or parameter.grad.abs().sum() > 0, name


@of_each_kind
def test_dropout_is_where_it_should_be(kind):
    tokens = random_tokens(20, 7)
    plain = make_model(kind).train()(tokens)[0]
    for rate in ("dropout", "attention_dropout", "activation_dropout"):
        model = make_model(kind, **{rate: 0.2})
        with torch.no_grad():
            torch.testing.assert_close(model(tokens)[0], plain, msg=rate)
            assert not torch.allclose(model.train()(tokens)[0], plain), rate


@of_each_kind
def test_a_model_of_16_bits_computes_nearly_the_same(kind):
    model = make_model(kind, encoder_layers=1, max_positions=600)
    tokens = random_tokens(600)
    with torch.inference_mode():
        expected = model(tokens)[0]
        found = model.bfloat16()(tokens)[0].float()
    assert (found - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (MODERN, {"encoder_attention_heads": 16}, "attention heads of an odd width"),
        (MODERN, {"global_every": 0}, "--global-every 0: give more than 0"),
        (MODERN, {"local_rope_theta": -1.0}, "--local-rope-theta -1.0: give more than 0"),
        (MODERN, {"auxiliary_head_layers": "5"}, "auxiliary heads after layers 1 to 4"),
        (EURO, {"encoder_attention_heads": 16}, "attention heads of an odd width"),
        (EURO, {"encoder_key_value_heads": 3}, "heads 3 does not divide the 4 heads"),
        (EURO, {"encoder_key_value_heads": 0}, "--encoder-key-value-heads 0 does not divide"),
        (EURO, {"rope_theta": 0.0}, "--rope-theta 0.0: give more than 0"),
        (EURO, {"auxiliary_head_layers": "5"}, "auxiliary heads after layers 1 to 4"),
        (EURO, {"freeze": "bottom:2+bias"}, "does not have: give --freeze bottom:2$"),
    ],
    ids=str,
)
def test_what_it_cannot_do_is_one_sentence(kind, settings, message):
    with pytest.raises(InputError, match=message):
        make_model(kind, **settings)
