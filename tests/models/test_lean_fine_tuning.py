"""The lean path below the heads of tasks against fairseq's own through the same weights."""

import copy

import pytest
import torch
from models import test_frozen_modern_encoder as modern
from models.test_frozen_encoder import check_equal, make_frozen_model, ordinary, trained
from models.test_minimodel_roberta import make_model, random_tokens
from support.modern_models import EURO, MODERN
from torch.nn import functional

from fairseq_minimodel.bodies.families import BERT
from fairseq_minimodel.bodies.identity import family_mark
from fairseq_minimodel.bodies.language_side import is_language_side
from fairseq_minimodel.bodies.tensors import SECOND_TEXT

LENGTHS = {
    "padding": (12, 7, 3, 9),
    "no padding": (9, 9, 9),
    "one sequence": (10,),
    "long": (24, 20, 2),
}
TOPIC = {"classification_head_name": "topic"}
TAGS = {"token_head": "tag_head"}
SPANS = {"span_scores": True}
KINDS = {"RoBERTa": None, "ModernBERT": MODERN, "EuroBERT": EURO}
# a model, what its classification head reads, and the head
CASES = [
    ("RoBERTa", None, TOPIC),
    *((kind, pooling, TOPIC) for kind in ("ModernBERT", "EuroBERT") for pooling in ("cls", "mean")),
    ("EuroBERT", "late", TOPIC),
    *((kind, None, head) for kind in KINDS for head in (TAGS, SPANS)),
]
NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0}


def make_tuned(kind="RoBERTa", pooling=None, dtype=torch.float64, **settings):
    """A model with random weights everywhere and all heads, in training."""
    settings = {"freeze": "language", **NO_DROPOUT, **settings}
    if pooling is not None:
        settings["classifier_pooling"] = pooling
    if kind == "RoBERTa":
        model = make_frozen_model(dtype, **settings)
    else:
        model = modern.make_model(KINDS[kind], dtype, **settings)
    torch.manual_seed(4)
    model.register_classification_head("topic", 5)
    model.register_token_head("tag_head", 4)
    model.register_span_head()
    return model.to(dtype).train()


def loss_of(model, tokens, head):
    """A loss in which every score of a real token, or of a sequence, has a weight of its own."""
    scores = model(tokens, **head)[0]
    if head is not TOPIC:
        scores = scores[tokens.ne(1)]
    weights = torch.randn(scores.shape, generator=torch.Generator().manual_seed(6))
    return (scores.double() * weights.double()).sum()


def gradients(model):
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


def check_loss_and_gradients(model, tokens, head):
    reference = ordinary(model)
    expected = loss_of(reference, tokens, head)
    expected.backward()
    refuse_fairseqs_encoder(model)
    found = loss_of(model, tokens, head)
    found.backward()
    check_equal(found, expected)
    check_equal(gradients(model), gradients(reference))
    return gradients(model)


def refuse_fairseqs_encoder(model):
    def forward(*_, **__):
        raise AssertionError("fairseq's encoder is called")

    model.encoder.sentence_encoder.forward = forward


def below_heads(model):
    """The names of what is trained in the body, but for the MLM head."""
    return {name for name in trained(model) if name.startswith("encoder.sentence_encoder.")}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(("kind", "pooling", "head"), CASES, ids=str)
def test_losses_and_gradients_are_those_of_the_ordinary_path(kind, pooling, head, lengths):
    model = make_tuned(kind, pooling)
    found = check_loss_and_gradients(model, random_tokens(*lengths), head)
    assert below_heads(model) <= found.keys()
    assert not any(map(is_language_side, found))
    assert all(found[name].any() for name in below_heads(model) if "k_proj.bias" not in name)


@pytest.mark.parametrize("freeze", ["none", "body", "bottom:2"])
@pytest.mark.parametrize("head", [TOPIC, TAGS], ids=str)
def test_so_they_are_whatever_is_frozen(freeze, head):
    found = check_loss_and_gradients(make_tuned(freeze=freeze), random_tokens(12, 7, 3), head)
    assert ("encoder.sentence_encoder.embed_tokens.weight" in found) == (freeze in ("none", "body"))


@pytest.mark.parametrize("kind", KINDS)
def test_middle_heads_do_not_matter(kind):
    model = make_tuned(kind, auxiliary_head_layers="2")
    check_loss_and_gradients(model, random_tokens(12, 7, 3), TOPIC)


@pytest.mark.parametrize("head", [TOPIC, SPANS], ids=str)
def test_the_second_text_of_a_pair_has_its_token_type(head):
    """And what the type adds is trained, as a part of the body."""
    model = make_tuned()
    model.encoder.adopt_family(family_mark(BERT))
    assert model.encoder.has_second_text
    tokens = random_tokens(14, 9, 6)
    tokens[0, 5], tokens[1, 3] = 2, 2  # </s> within
    found = check_loss_and_gradients(model, tokens, head)
    types = found["encoder.sentence_encoder.embed_positions.weight"][SECOND_TEXT]
    assert types.any()
    scores = model(tokens, **head)[0]
    assert not torch.allclose(scores, model(tokens, **head, pairs=False)[0])


@pytest.mark.parametrize(("kind", "pooling", "head"), CASES, ids=str)
def test_evaluation_takes_it_too_with_gradients_or_without(kind, pooling, head):
    model = make_tuned(kind, pooling).eval()
    tokens = random_tokens(12, 7, 3, 9)
    expected = loss_of(ordinary(model), tokens, head).detach()
    refuse_fairseqs_encoder(model)
    check_equal(loss_of(model, tokens, head).detach(), expected)
    with torch.inference_mode():
        check_equal(loss_of(model, tokens, head), expected)
    model.requires_grad_(False)
    with torch.inference_mode():  # what is kept now, later passes with gradients read
        check_equal(loss_of(model, tokens, head), expected)
    model.requires_grad_(True)
    model.encoder.requires_grad_(False)
    model.encoder.sentence_encoder.embed_tokens.requires_grad_(True)
    loss = loss_of(model, tokens, head)
    loss.backward()
    check_equal(loss.detach(), expected)


@pytest.mark.parametrize("precision", ["parameters", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_updates_change_what_is_trained_alone_and_the_next_pass_sees_them(kind, precision):
    model = make_tuned(kind, dtype=torch.float32, body_precision=precision)
    before = copy.deepcopy(model.state_dict())
    tokens = random_tokens(12, 7, 3)
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.01)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        loss = loss_of(model, tokens, TAGS)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]
    after, changed = model.state_dict(), below_heads(model)
    for name, tensor in before.items():
        if name in changed:
            assert not torch.equal(tensor, after[name]), name
        elif not name.startswith("tag_head"):
            assert torch.equal(tensor, after[name]), name
    assert not model.encoder.frozen.kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", [TOPIC, TAGS], ids=str)
def test_bfloat16_is_near_and_leaves_parameters_and_gradients_in_float32(kind, head):
    tokens, both, losses = random_tokens(24, 20, 17, 9), [], []
    for precision in ("parameters", "bfloat16"):
        model = make_tuned(kind, dtype=torch.float32, body_precision=precision)
        loss = loss_of(model, tokens, head)
        loss.backward()
        assert {one.dtype for one in gradients(model).values()} == {torch.float32}
        assert model(tokens, **head)[0].dtype == torch.float32
        both.append(torch.cat([one.flatten() for one in gradients(model).values()]))
        losses.append(loss.item())
    assert losses[0] != losses[1]
    assert functional.cosine_similarity(*both, dim=0) > 0.99


def test_a_model_with_a_task_module_takes_fairseqs_own_path():
    model = make_model(task_module="adapter", module_reduction=4, body_precision="bfloat16")
    model.register_classification_head("topic", 5)
    assert model.encoder.frozen is None
    tokens = random_tokens(12, 7, 3)
    model(tokens, **TOPIC)
    refuse_fairseqs_encoder(model)
    with pytest.raises(AssertionError, match="fairseq's encoder is called"):
        model(tokens, **TOPIC)


def test_so_does_automatic_mixed_precision():
    model = make_tuned(dtype=torch.float32)
    tokens = random_tokens(12, 7, 3)
    with torch.autocast("cpu", torch.bfloat16):
        model(tokens, **TOPIC)
        refuse_fairseqs_encoder(model)
        with pytest.raises(AssertionError, match="fairseq's encoder is called"):
            model(tokens, **TOPIC)
