"""The lean path of a frozen ModernBERT against its ordinary path, in float64."""

import pytest
import torch
from models import test_minimodel_modernbert as modern
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
from torch.nn import functional

from fairseq_minimodel.nn import frozen_body, frozen_modern_body, modern_body

LONG = {
    "long": ((40, 31, 2), [(1, 4, 39), (6, 30), (0,)]),
    "as far as the window": ((5, 5), [(0, 4), (2,)]),
    "one more": ((6, 6), [(0, 5), (2,)]),
}
FREEZE = [
    "body", "bottom:0", "bottom:2", "bottom:2-head", "bottom:4+bias", "bottom:5",
    "bottom:5-head+bias",
]  # fmt: skip


def make_model(dtype=torch.float64, seed=2, kind=modern, **settings):
    """Random weights everywhere, so that no norm is the identity. kind: has the model's own maker."""
    model = kind.make_model(**{"freeze": "body", **settings}).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name else 0.0
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(centre + 0.3 * noise)
    assert model.encoder.frozen is not None
    return model


@pytest.mark.parametrize("batch", [*BATCHES.values(), *LONG.values()], ids=[*BATCHES, *LONG])
@pytest.mark.parametrize("freeze", FREEZE)
def test_the_lean_path_is_the_ordinary_one(batch, freeze):
    model = make_model(freeze=freeze).train()
    check_logits_loss_and_gradients(model, *make_batch(*batch))


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder_layers": 1},
        {"encoder_layers": 2},
        {"encoder_layers": 7, "encoder_attention_heads": 4},
        {"global_every": 1},
        {"global_every": 2, "local_attention": 3},
        {"global_rope_theta": 7.0, "local_rope_theta": 3.0},
        {"layer_norm_eps": 0.1},
        {"activation_fn": "relu"},
        {"encoder_layers": 1, "freeze": "bottom:0"},
    ],
    ids=str,
)
def test_so_it_is_in_any_form(settings):
    check_logits_loss_and_gradients(make_model(**settings), *make_batch(*LONG["long"]))


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


def test_dropout_is_at_the_same_places_with_the_same_rates(monkeypatch):
    use_stand_ins(monkeypatch)
    rates = {"dropout": 0.1, "attention_dropout": 0.2, "activation_dropout": 0.35}
    tokens, chosen = make_batch(*LONG["long"])
    model = make_model(**rates).train()
    check_logits_loss_and_gradients(model, tokens, chosen)
    logits = model(tokens, masked_tokens=chosen)[0]
    for name in rates:
        other = make_model(**{**rates, name: 0.0}).train()
        assert (other(tokens, masked_tokens=chosen)[0] - logits).abs().max() > 1e-3


def test_frozen_weights_are_prepared_once_and_trained_ones_each_time():
    model = make_model(freeze="bottom:3").train()
    first = prepared(model)
    assert first.keys() == {"norm", "layer 0", "layer 1", "layer 2"}
    assert prepared(model) == first
    with torch.no_grad():
        model.encoder.get_parameter("sentence_encoder.layers.1.gate.weight").mul_(1.5)
    assert prepared(model) != first
    model.zero_grad()
    check_logits_loss_and_gradients(model, *make_batch(*BATCHES["padding"]))


def test_a_body_in_bfloat16_leaves_parameters_and_gradients_in_float32():
    tokens, chosen = make_batch(*LONG["long"])
    both = []
    for precision in ("parameters", "bfloat16"):
        model = make_model(torch.float32, body_precision=precision)
        loss = model(tokens, masked_tokens=chosen, targets=tokens)[1]["head_losses"][5]
        loss.backward()
        both.append(torch.cat([one.flatten() for one in gradients(model).values()]))
        assert {one.dtype for one in gradients(model).values()} == {torch.float32}
        kept = model.encoder.frozen.kept["layer 0"][1].ffn_input.weight.dtype
        assert kept == (torch.bfloat16 if precision == "bfloat16" else torch.float32)
    assert not torch.equal(*both)
    assert functional.cosine_similarity(*both, dim=0) > 0.99


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_sentence_vectors_are_the_ordinary_ones(pooling):
    model = make_model(sentence_pooling=pooling)
    tokens = random_tokens(40, 31, 3)
    with torch.inference_mode():
        found = model(tokens, sentence_vectors=True)[0]
        expected = ordinary(model)(tokens, sentence_vectors=True)[0]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
