"""The model of EuroBERT: heads in the middle over one projection, what is frozen, what it refuses."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from models.test_minimodel_roberta import make_dictionary, random_tokens
from omegaconf import OmegaConf

from fairseq_minimodel.bodies.checkpoint import Checkpoint
from fairseq_minimodel.bodies.family import EMBEDDING, EUROBERT, OUTPUT_PROJECTION
from fairseq_minimodel.bodies.identity import family_of_state
from fairseq_minimodel.bodies.language_side import is_language_side
from fairseq_minimodel.bodies.state import check_state
from fairseq_minimodel.bodies.surgery import extend, truncate
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.models.minimodel_eurobert import MiniModelEuroBert, MiniModelEuroBertConfig

SIZES = {
    "encoder_layers": 5,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 4,
    "encoder_key_value_heads": 2,
    "max_positions": 48,
}
FINAL_NORM = "encoder.sentence_encoder.layer_norm.weight"


def make_model(**settings):
    torch.manual_seed(1)
    config = OmegaConf.structured(MiniModelEuroBertConfig)
    config.update({**SIZES, **settings})
    task = SimpleNamespace(source_dictionary=make_dictionary())
    model = MiniModelEuroBert.build_model(config, task)
    with torch.no_grad():  # so that no norm is the identity of another
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def checkpoint_of(model):
    settings = OmegaConf.to_container(model.args) | {"_name": "minimodel_eurobert"}
    config = {"model": settings, "task": {}}
    return Checkpoint(Path("model.pt"), model.state_dict(), config, 0, family=EUROBERT)


def load(checkpoint):
    model = make_model(**checkpoint.body_settings())
    model.load_state_dict(dict(checkpoint.state), strict=True)
    return model


def test_its_state_is_that_of_the_family_with_two_tables_drawn_as_berts():
    model = make_model(auxiliary_head_layers="2")
    state = model.state_dict()
    assert family_of_state(state) is EUROBERT
    check_state(Path("model.pt"), state, EUROBERT)
    parameters = [name for name, _ in model.named_parameters()]
    heads = ("encoder.lm_head.", "encoder.auxiliary_lm_heads.2.")
    named = [one.here for one in EUROBERT.parameters(range(5), heads)]
    assert sorted(parameters) == sorted(named)
    for name in (EMBEDDING, OUTPUT_PROJECTION):
        assert state[name].std() == pytest.approx(0.02, rel=0.1), name
    assert state[EMBEDDING].data_ptr() != state[OUTPUT_PROJECTION].data_ptr()


def rms_norm(x, weight, eps=1e-5):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def test_a_head_in_the_middle_reads_its_layer_through_its_own_norm_and_the_one_projection():
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
        x = states[layer].transpose(0, 1)[masked]
        x = rms_norm(x, state[f"encoder.auxiliary_lm_heads.{layer}.final_norm.weight"])
        expected = x @ state[OUTPUT_PROJECTION].T
        torch.testing.assert_close(logits[layer], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", [2, 4])
def test_a_truncated_model_computes_what_the_middle_head_did(depth):
    model = make_model(auxiliary_head_layers="2,4")
    tokens = random_tokens(20, 7)
    mini, report = truncate(checkpoint_of(model), depth)
    assert report.note == ""  # all layers attend to all tokens
    assert not any(name.startswith("encoder.auxiliary") for name in mini.state)
    assert FINAL_NORM in report.dropped and OUTPUT_PROJECTION in report.kept
    with torch.inference_mode():
        expected = model(tokens, all_heads=True)[1]["head_logits"][depth]
        found = load(mini)(tokens)[0]
    real = tokens.ne(1)
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-6)


@pytest.mark.parametrize("layers", ["new", "copy"])
def test_layers_on_top_are_complete_and_the_bottom_is_kept_by_bits(layers):
    body = checkpoint_of(make_model())
    grown, _ = extend(body, 1, 2, layers=layers)
    assert grown.layers == 3
    check_state(Path("model.pt"), grown.state, EUROBERT)
    for name, tensor in body.state.items():
        if ".layers.0." in name or is_language_side(name) or name == FINAL_NORM:
            assert torch.equal(grown.state[name], tensor), name
    norm = "encoder.sentence_encoder.layers.1.self_attn_layer_norm.weight"
    assert (grown.state[norm] == 1).all() == (layers == "new")
    load(grown)


def test_a_new_head_is_refused_as_there_is_none_in_the_body():
    with pytest.raises(InputError, match="belongs to the language: give --head copy"):
        extend(checkpoint_of(make_model()), 1, 2, head="new")


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        ("none", lambda name: True),
        ("language", lambda name: not is_language_side(name)),
        ("body", lambda name: name in (EMBEDDING, OUTPUT_PROJECTION)),
        (
            "bottom:3",
            lambda name: ".layers.3." in name or ".layers.4." in name or name == FINAL_NORM,
        ),
        ("bottom:5", lambda name: name == FINAL_NORM),
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


def test_dropout_is_where_it_should_be():
    tokens = random_tokens(20, 7)
    plain = make_model().train()(tokens)[0]
    for rate in ("dropout", "attention_dropout", "activation_dropout"):
        model = make_model(**{rate: 0.2})
        with torch.no_grad():
            torch.testing.assert_close(model(tokens)[0], plain, msg=rate)
            assert not torch.allclose(model.train()(tokens)[0], plain), rate


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder_attention_heads": 16, "encoder_key_value_heads": 4}, "of an odd width"),
        ({"encoder_key_value_heads": 3}, "--encoder-key-value-heads 3 does not divide the 4 heads"),
        ({"encoder_key_value_heads": 0}, "--encoder-key-value-heads 0 does not divide"),
        ({"rope_theta": 0.0}, "--rope-theta 0.0: give more than 0"),
        ({"task_module": "lora"}, "minimodel_eurobert has no task modules yet: leave it out"),
        ({"auxiliary_head_layers": "5"}, "auxiliary heads after layers 1 to 4"),
        ({"freeze": "bottom:2+bias"}, "minimodel_eurobert does not have: give --freeze bottom:2$"),
        ({"forget_every": 10}, "minimodel_eurobert has two: leave it out"),
    ],
    ids=str,
)
def test_what_it_cannot_do_is_one_sentence(settings, message):
    with pytest.raises(InputError, match=message):
        make_model(**settings)
