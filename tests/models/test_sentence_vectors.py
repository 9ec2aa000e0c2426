"""Sentence vectors of a model: each pooling by plain loops, the lean path, and their cost."""

import math

import pytest
import torch
from models.test_frozen_encoder import check_equal, make_frozen_model, ordinary
from models.test_minimodel_roberta import make_model, random_tokens
from torch.utils.flop_counter import FlopCounterMode

from fairseq_minimodel.bodies.tensors import EMBEDDING

LENGTHS = (12, 7, 3, 9)
POOLINGS = ("mean", "cls", "max")


def plain_vector(states, pooling, normalise):
    """Of the hidden states of the real tokens, a list of lists."""
    columns = list(zip(*states, strict=True))
    if pooling == "mean":
        vector = [sum(column) / len(column) for column in columns]
    else:
        vector = list(states[0]) if pooling == "cls" else [max(column) for column in columns]
    length = math.sqrt(sum(one * one for one in vector)) if normalise else 1.0
    return [one / length for one in vector]


@pytest.mark.parametrize("freeze", ["none", "body"])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors_are_those_of_the_plain_formula(pooling, normalise, freeze):
    settings = {"sentence_pooling": pooling, "sentence_normalise": normalise}
    model, tokens = make_frozen_model(freeze=freeze, **settings), random_tokens(*LENGTHS)
    with torch.no_grad():
        vectors = model(tokens, sentence_vectors=True)[0]
        for row, length in enumerate(LENGTHS):
            alone = model(tokens[row : row + 1, :length], features_only=True)[0][0]
            expected = torch.tensor(plain_vector(alone.tolist(), pooling, normalise))
            torch.testing.assert_close(vectors[row].float(), expected)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_lean_path_has_the_gradients_of_fairseqs(pooling):
    rates = {"dropout": 0.0, "attention_dropout": 0.0}
    model = make_frozen_model(freeze="body", sentence_pooling=pooling, **rates).train()
    reference, tokens = ordinary(model), random_tokens(*LENGTHS)
    weights = torch.randn(4, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    found = []
    for one in (reference, model):
        vectors = one(tokens, sentence_vectors=True)[0]
        (vectors * weights).sum().backward()
        found.append((vectors, one.get_parameter(EMBEDDING).grad))
        others = [p for name, p in one.named_parameters() if name != EMBEDDING]
        assert all(parameter.grad is None for parameter in others)
    check_equal(found[1], found[0])
    assert found[0][1].abs().sum() > 0


def test_other_embeddings_are_another_language_over_the_same_body():
    model = make_frozen_model(freeze="none", sentence_pooling="mean")
    tokens = random_tokens(*LENGTHS)
    other = torch.randn(45, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        given = model(tokens, sentence_vectors=True, token_embeddings=other[tokens])[0]
        model.get_parameter(EMBEDDING).copy_(other)
        check_equal(given, model(tokens, sentence_vectors=True)[0])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_cost_is_that_of_the_products(pooling, monkeypatch):
    """As PyTorch counts them; the lean last layer computes only what is pooled."""
    rates = {"dropout": 0.0, "attention_dropout": 0.0}
    model = make_model(freeze="body", sentence_pooling=pooling, **rates).train()
    logged, tokens = [], random_tokens(12, 12, 12)
    monkeypatch.setattr(
        "fairseq_minimodel.models.minimodel_roberta.record_flops",
        lambda flops, device: logged.append(flops),
    )
    with FlopCounterMode(display=False) as counter:
        model(tokens, sentence_vectors=True)[0].sum().backward()
    assert logged == [pytest.approx(counter.get_total_flops(), rel=1e-9)]
