"""The lean path of a frozen EuroBERT against its ordinary path, in float64."""

from functools import partial

import pytest
import torch
from models import test_frozen_modern_encoder as lean
from models import test_minimodel_eurobert as euro
from models.test_frozen_encoder import (
    BATCHES,
    check_logits_loss_and_gradients,
    gradients,
    make_batch,
    ordinary,
    prepared,
)
from models.test_minimodel_roberta import random_tokens
from torch.nn import functional

from fairseq_minimodel.bodies.family import EMBEDDING, OUTPUT_PROJECTION

make_model = partial(lean.make_model, kind=euro)
LONG = (40, 31, 2), [(1, 4, 39), (6, 30), (0,)]


@pytest.mark.parametrize("batch", [*BATCHES.values(), LONG], ids=[*BATCHES, "long"])
@pytest.mark.parametrize("freeze", ["body", "bottom:0", "bottom:2", "bottom:2-head", "bottom:5"])
def test_the_lean_path_is_the_ordinary_one(batch, freeze):
    check_logits_loss_and_gradients(make_model(freeze=freeze).train(), *make_batch(*batch))


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder_layers": 1},
        {"encoder_key_value_heads": 1},
        {"encoder_key_value_heads": 4},
        {"encoder_attention_heads": 8, "encoder_key_value_heads": 2},
        {"rope_theta": 3.0},
        {"layer_norm_eps": 0.1},
        {"encoder_layers": 1, "freeze": "bottom:0"},
    ],
    ids=str,
)
def test_so_it_is_in_any_form(settings):
    check_logits_loss_and_gradients(make_model(**settings), *make_batch(*LONG))


def test_both_tables_have_a_gradient_of_their_own_where_the_body_is_frozen():
    tokens, chosen = make_batch(*LONG)
    model = make_model().train()
    loss = model(tokens, masked_tokens=chosen, targets=tokens)[1]["head_losses"][5]
    loss.backward()
    assert gradients(model).keys() == {EMBEDDING, OUTPUT_PROJECTION}
    read = model.get_parameter(EMBEDDING).grad.abs().sum(1) > 0
    assert set(read.nonzero().flatten().tolist()) == set(tokens[tokens != 1].tolist())
    assert (model.get_parameter(OUTPUT_PROJECTION).grad.abs().sum(1) > 0).all()


def test_dropout_is_at_the_same_places_with_the_same_rates(monkeypatch):
    lean.use_stand_ins(monkeypatch)
    rates = {"dropout": 0.1, "attention_dropout": 0.2, "activation_dropout": 0.35}
    tokens, chosen = make_batch(*LONG)
    model = make_model(**rates).train()
    check_logits_loss_and_gradients(model, tokens, chosen)
    logits = model(tokens, masked_tokens=chosen)[0]
    for name in rates:
        other = make_model(**{**rates, name: 0.0}).train()
        assert (other(tokens, masked_tokens=chosen)[0] - logits).abs().max() > 1e-3


def test_frozen_weights_are_prepared_once_and_trained_ones_each_time():
    model = make_model(freeze="bottom:3").train()
    first = prepared(model)
    assert first.keys() == {"layer 0", "layer 1", "layer 2"}
    assert prepared(model) == first
    with torch.no_grad():
        model.encoder.get_parameter("sentence_encoder.layers.1.self_attn.k_proj.weight").mul_(1.5)
    assert prepared(model) != first
    model.zero_grad()
    check_logits_loss_and_gradients(model, *make_batch(*BATCHES["padding"]))


def test_a_body_in_bfloat16_leaves_parameters_and_gradients_in_float32():
    tokens, chosen = make_batch(*LONG)
    both = []
    for precision in ("parameters", "bfloat16"):
        model = make_model(torch.float32, body_precision=precision)
        loss = model(tokens, masked_tokens=chosen, targets=tokens)[1]["head_losses"][5]
        loss.backward()
        both.append(torch.cat([one.flatten() for one in gradients(model).values()]))
        assert {one.dtype for one in gradients(model).values()} == {torch.float32}
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
