"""The model of ModernBERT: heads in the middle, what is frozen, and what it refuses."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from models.test_minimodel_roberta import make_dictionary, random_tokens
from omegaconf import OmegaConf

from fairseq_minimodel.bodies.checkpoint import Checkpoint
from fairseq_minimodel.bodies.family import MODERNBERT
from fairseq_minimodel.bodies.identity import family_of_state
from fairseq_minimodel.bodies.language_side import is_language_side
from fairseq_minimodel.bodies.state import check_state
from fairseq_minimodel.bodies.surgery import extend, truncate
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.models.minimodel_modernbert import (
    MiniModelModernBert,
    MiniModelModernBertConfig,
)

SIZES = {
    "encoder_layers": 5,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 2,
    "max_positions": 48,
    "local_attention": 8,
}
FINAL_NORM = "encoder.sentence_encoder.layer_norm.weight"


def make_model(**settings):
    torch.manual_seed(1)
    config = OmegaConf.structured(MiniModelModernBertConfig)
    config.update({**SIZES, **settings})
    model = MiniModelModernBert.build_model(
        config, SimpleNamespace(source_dictionary=make_dictionary())
    )
    with torch.no_grad():  # so that no norm is the identity of another, and the bias is seen
        for name, parameter in model.named_parameters():
            if "norm" in name or name == "encoder.lm_head.bias":
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def checkpoint_of(model):
    settings = OmegaConf.to_container(model.args) | {"_name": "minimodel_modernbert"}
    config = {"model": settings, "task": {}}
    return Checkpoint(Path("model.pt"), model.state_dict(), config, 0, family=MODERNBERT)


def load(checkpoint):
    model = make_model(**checkpoint.body_settings())
    model.load_state_dict(dict(checkpoint.state), strict=True)
    return model


def test_its_state_is_that_of_the_family():
    model = make_model(auxiliary_head_layers="2")
    state = model.state_dict()
    assert family_of_state(state) is MODERNBERT
    check_state(Path("model.pt"), state, MODERNBERT)
    parameters = [name for name, _ in model.named_parameters()]
    heads = ("encoder.lm_head.", "encoder.auxiliary_lm_heads.2.")
    named = [one.here for one in MODERNBERT.parameters(range(5), heads)]
    assert sorted(parameters) == sorted(named)
    assert state["encoder.lm_head.weight"] is not None
    assert model.encoder.lm_head.weight is model.encoder.sentence_encoder.embed_tokens.weight


def test_a_head_in_the_middle_reads_its_layer_through_its_own_norm():
    model = make_model(auxiliary_head_layers="2,4")
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

        def norm(x, name, head=head):
            x = x - x.mean(-1, keepdim=True)
            return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * state[head + name]

        x = norm(states[layer].transpose(0, 1)[masked], "final_norm.weight")
        x = torch.nn.functional.gelu(x @ state[f"{head}dense.weight"].T)
        x = norm(x, "layer_norm.weight")
        expected = x @ state["encoder.lm_head.weight"].T + state["encoder.lm_head.bias"]
        torch.testing.assert_close(logits[layer], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("depth", "is_global"), [(1, True), (2, False), (4, True)])
def test_a_truncated_model_computes_what_the_middle_head_did(depth, is_global):
    model = make_model(auxiliary_head_layers="1,2,4")
    tokens = random_tokens(20, 7)
    mini, report = truncate(checkpoint_of(model), depth)
    assert ("attends to a window of 8 tokens" in str(report)) != is_global
    assert not any(name.startswith("encoder.auxiliary") for name in mini.state)
    assert FINAL_NORM in report.dropped
    with torch.inference_mode():
        expected = model(tokens, all_heads=True)[1]["head_logits"][depth]
        found = load(mini)(tokens)[0]
    real = tokens.ne(1)
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-6)


def test_the_whole_depth_keeps_the_final_norm_and_says_nothing():
    model = make_model(auxiliary_head_layers="2")
    whole, report = truncate(checkpoint_of(model), 5)
    assert torch.equal(whole.state[FINAL_NORM], model.state_dict()[FINAL_NORM])
    assert report.note == "" and FINAL_NORM in report.kept


@pytest.mark.parametrize("layers", ["new", "copy"])
def test_layers_on_top_are_complete_and_the_bottom_is_kept_by_bits(layers):
    body = checkpoint_of(make_model())
    grown, report = extend(body, 1, 2, layers=layers, head="new")
    assert grown.layers == 3
    check_state(Path("model.pt"), grown.state, MODERNBERT)
    bottom = "encoder.sentence_encoder.layers.0."
    for name, tensor in body.state.items():
        if name.startswith(bottom) or is_language_side(name) or name == FINAL_NORM:
            assert torch.equal(grown.state[name], tensor), name
    norm = "encoder.sentence_encoder.layers.1.self_attn_layer_norm.weight"
    assert (grown.state[norm] == 1).all() == (layers == "new")
    assert "layer 3, the last now" in str(report)
    load(grown)


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        ("none", lambda name: True),
        ("language", lambda name: not is_language_side(name)),
        ("body", is_language_side),
        (
            "bottom:3",
            lambda name: ".layers.3." in name or ".layers.4." in name or is_above(name),
        ),
        ("bottom:5", lambda name: is_above(name)),
        ("bottom:5-head+bias", lambda name: name == "encoder.lm_head.bias"),
        ("bottom:4-head", lambda name: ".layers.4." in name or name == FINAL_NORM),
    ],
)
def test_what_is_frozen_and_what_gets_a_gradient(freeze, trained):
    model = make_model(freeze=freeze).train()
    tokens = random_tokens(20, 7)
    masked = tokens.ne(1)
    model(tokens, masked_tokens=masked)[0].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == trained(name), name
        assert (parameter.grad is not None) == trained(name), name
        if trained(name):
            assert parameter.grad.abs().sum() > 0, name


def is_above(name):
    """Whether a parameter belongs to the MLM head, or to the norm before it."""
    return name.startswith(("encoder.lm_head.dense", "encoder.lm_head.layer")) or name == FINAL_NORM


def test_dropout_is_where_it_should_be():
    tokens = random_tokens(20, 7)
    plain = make_model().train()(tokens)[0]
    for rate in ("dropout", "attention_dropout", "activation_dropout"):
        model = make_model(**{rate: 0.2})
        with torch.no_grad():
            torch.testing.assert_close(model(tokens)[0], plain, msg=rate)
            assert not torch.allclose(model.train()(tokens)[0], plain), rate


def test_a_model_of_16_bits_computes_nearly_the_same():
    model = make_model(encoder_layers=1, max_positions=600)
    tokens = random_tokens(600)
    with torch.inference_mode():
        expected = model(tokens)[0]
        found = model.bfloat16()(tokens)[0].float()
    assert (found - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder_attention_heads": 16}, "attention heads of an odd width"),
        ({"global_every": 0}, "--global-every 0: give more than 0"),
        ({"local_rope_theta": -1.0}, "--local-rope-theta -1.0: give more than 0"),
        ({"auxiliary_head_layers": "5"}, "auxiliary heads after layers 1 to 4"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(settings, message):
    with pytest.raises(InputError, match=message):
        make_model(**settings)
