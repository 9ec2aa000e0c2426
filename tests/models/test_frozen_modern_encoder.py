"""The lean path of a frozen ModernBERT or EuroBERT against its ordinary path, in float64."""

import pytest
import torch
from models import test_minimodel_modern as modern
from models.test_frozen_encoder import (
    BATCHES,
    check_logits_loss_and_gradients,
    gradients,
    make_batch,
    ordinary,
    prepared,
    stand_in,
)
from models.test_minimodel_roberta import random_tokens
from support.modern_models import EURO, KINDS, MODERN, of_each_kind
from torch.nn import functional

from fairseq_minimodel.bodies.tensors import EMBEDDING, OUTPUT_PROJECTION
from fairseq_minimodel.nn import frozen_body, frozen_modern_body, modern_body

LONG = (40, 31, 2), [(1, 4, 39), (6, 30), (0,)]
ALL_BATCHES = {
    **BATCHES,
    "long": LONG,
    "as far as the window": ((5, 5), [(0, 4), (2,)]),
    "one more": ((6, 6), [(0, 5), (2,)]),
}
FREEZE = ["body", "bottom:0", "bottom:2", "bottom:2-head", "bottom:5"]
FREEZE_WITH_BIAS = ["bottom:4+bias", "bottom:5-head+bias"]  # a ModernBERT's


def make_model(kind=MODERN, dtype=torch.float64, seed=2, **settings):
    """Random weights everywhere, so that no norm is the identity."""
    model = modern.make_model(kind, **{"freeze": "body", **settings}).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name else 0.0
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(centre + 0.3 * noise)
    assert model.encoder.frozen is not None
    return model


@pytest.mark.parametrize("batch", ALL_BATCHES)
@pytest.mark.parametrize(
    ("kind", "freeze"),
    [(kind, one) for kind in KINDS for one in FREEZE] + [(MODERN, one) for one in FREEZE_WITH_BIAS],
    ids=str,
)
def test_the_lean_path_is_the_ordinary_one(kind, batch, freeze):
    model = make_model(kind, freeze=freeze).train()
    check_logits_loss_and_gradients(model, *make_batch(*ALL_BATCHES[batch]))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (MODERN, {"encoder_layers": 1}),
        (MODERN, {"encoder_layers": 2}),
        (MODERN, {"encoder_layers": 7, "encoder_attention_heads": 4}),
        (MODERN, {"global_every": 1}),
        (MODERN, {"global_every": 2, "local_attention": 3}),
        (MODERN, {"global_rope_theta": 7.0, "local_rope_theta": 3.0}),
        (MODERN, {"layer_norm_eps": 0.1}),
        (MODERN, {"activation_fn": "relu"}),
        (MODERN, {"encoder_layers": 1, "freeze": "bottom:0"}),
        (EURO, {"encoder_layers": 1}),
        (EURO, {"encoder_key_value_heads": 1}),
        (EURO, {"encoder_key_value_heads": 4}),
        (EURO, {"encoder_attention_heads": 8, "encoder_key_value_heads": 2}),
        (EURO, {"rope_theta": 3.0}),
        (EURO, {"layer_norm_eps": 0.1}),
        (EURO, {"encoder_layers": 1, "freeze": "bottom:0"}),
    ],
    ids=str,
)
def test_so_it_is_in_any_form(kind, settings):
    check_logits_loss_and_gradients(make_model(kind, **settings), *make_batch(*LONG))


def test_both_tables_of_a_eurobert_have_a_gradient_of_their_own():
    tokens, chosen = make_batch(*LONG)
    model = make_model(EURO).train()
    loss = model(tokens, masked_tokens=chosen, targets=tokens)[1]["head_losses"][5]
    loss.backward()
    assert gradients(model).keys() == {EMBEDDING, OUTPUT_PROJECTION}
    read = model.get_parameter(EMBEDDING).grad.abs().sum(1) > 0
    assert set(read.nonzero().flatten().tolist()) == set(tokens[tokens != 1].tolist())
    assert (model.get_parameter(OUTPUT_PROJECTION).grad.abs().sum(1) > 0).all()


def use_stand_ins(monkeypatch):
    """For dropout, on both paths, as what is drawn is not the same."""

    def attention(query, key, value, mask=None, dropout_p=0.0):
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        scores = scores if mask is None else scores.masked_fill(~mask, float("-inf"))
        return stand_in(scores.softmax(-1), dropout_p) @ value

    monkeypatch.setattr(functional, "scaled_dot_product_attention", attention)
    monkeypatch.setattr(frozen_body, "dropout", stand_in)
    for module in (frozen_modern_body, modern_body):
        monkeypatch.setattr(module, "dropout", stand_in)
        monkeypatch.setattr(module, "add_dropout", lambda x, y, p: x + stand_in(y, p))


@of_each_kind
def test_dropout_is_at_the_same_places_with_the_same_rates(kind, monkeypatch):
    use_stand_ins(monkeypatch)
    rates = {"dropout": 0.1, "attention_dropout": 0.2, "activation_dropout": 0.35}
    tokens, chosen = make_batch(*LONG)
    model = make_model(kind, **rates).train()
    check_logits_loss_and_gradients(model, tokens, chosen)
    logits = model(tokens, masked_tokens=chosen)[0]
    for name in rates:
        other = make_model(kind, **{**rates, name: 0.0}).train()
        assert (other(tokens, masked_tokens=chosen)[0] - logits).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("kind", "weight"), [(MODERN, "gate"), (EURO, "self_attn.k_proj")], ids=str
)
def test_frozen_weights_are_prepared_once_and_trained_ones_each_time(kind, weight):
    model = make_model(kind, freeze="bottom:3").train()
    first = prepared(model)
    layers = {"layer 0", "layer 1", "layer 2"}
    assert first.keys() == (layers | {"norm"} if kind is MODERN else layers)
    assert prepared(model) == first
    with torch.no_grad():
        model.encoder.get_parameter(f"sentence_encoder.layers.1.{weight}.weight").mul_(1.5)
    assert prepared(model) != first
    model.zero_grad()
    check_logits_loss_and_gradients(model, *make_batch(*BATCHES["padding"]))


@of_each_kind
def test_a_body_in_bfloat16_leaves_parameters_and_gradients_in_float32(kind):
    tokens, chosen = make_batch(*LONG)
    both = []
    for precision in ("parameters", "bfloat16"):
        model = make_model(kind, torch.float32, body_precision=precision)
        loss = model(tokens, masked_tokens=chosen, targets=tokens)[1]["head_losses"][5]
        loss.backward()
        both.append(torch.cat([one.flatten() for one in gradients(model).values()]))
        assert {one.dtype for one in gradients(model).values()} == {torch.float32}
        kept = model.encoder.frozen.kept["layer 0"][1].ffn_input.weight.dtype
        assert kept == (torch.bfloat16 if precision == "bfloat16" else torch.float32)
    assert not torch.equal(*both)
    assert functional.cosine_similarity(*both, dim=0) > 0.99


@of_each_kind
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_sentence_vectors_are_the_ordinary_ones(kind, pooling):
    model = make_model(kind, sentence_pooling=pooling)
    tokens = random_tokens(40, 31, 3)
    with torch.inference_mode():
        found = model(tokens, sentence_vectors=True)[0]
        expected = ordinary(model)(tokens, sentence_vectors=True)[0]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
