"""The head of the task span_qa: its scores, its way into and out of checkpoints, its cost."""

import logging

import pytest
import torch
from models.test_minimodel_roberta import make_model, random_tokens
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def make_span_model(**settings):
    model = make_model(**settings)
    model.register_span_head()
    return model


def test_every_token_has_two_scores_that_do_not_depend_on_padding():
    model = make_span_model().eval()
    torch.nn.init.normal_(model.span_head.bias)
    tokens = random_tokens(20, 9)
    with torch.no_grad():
        scores = model(tokens, span_scores=True)[0]
        hidden = model(tokens, features_only=True)[0]
        real = tokens.ne(1)
        alone = model(tokens[1:, :9], span_scores=True)[0]
    assert scores.shape == (2, 20, 2)
    for part in (0, 1):
        expected = (hidden * model.span_head.weight[part]).sum(-1) + model.span_head.bias[part]
        torch.testing.assert_close(scores[real][:, part], expected.detach()[real])
    torch.testing.assert_close(scores[1, :9], alone[0], atol=1e-5, rtol=1e-5)


def test_a_model_without_the_head_is_as_it_was():
    model = make_model()
    assert not any("span" in name for name in model.state_dict())
    model.register_span_head()
    head = model.span_head
    model.register_span_head()
    assert model.span_head is head
    assert {"span_head.weight", "span_head.bias"} <= set(model.state_dict())


def test_a_checkpoint_brings_its_head_and_does_without(caplog):
    tuned, plain = make_span_model(), make_model()
    torch.nn.init.normal_(tuned.span_head.bias)
    # into a model that has one; and into one that takes what heads there are
    for reader in (make_span_model(), make_model(load_checkpoint_heads=True)):
        reader.load_state_dict(tuned.state_dict(), strict=True)
        for name, tensor in tuned.span_head.state_dict().items():
            assert torch.equal(reader.span_head.state_dict()[name], tensor)
    # from one that has none: the new head stays
    reader = make_span_model()
    before = {name: tensor.clone() for name, tensor in reader.span_head.state_dict().items()}
    reader.load_state_dict(plain.state_dict(), strict=True)
    for name, tensor in before.items():
        assert torch.equal(reader.span_head.state_dict()[name], tensor)
    # and another task has no use for it
    with caplog.at_level(logging.INFO):
        plain.load_state_dict(tuned.state_dict(), strict=True)
    assert "has no such head: span head" in caplog.text and plain.span_head is None


@pytest.mark.parametrize("freeze", ["none", "language", "bottom:2"])
def test_a_batch_is_charged_what_it_computes(freeze):
    model = make_span_model(freeze=freeze, encoder_embed_dim=32, encoder_ffn_embed_dim=96).train()
    tokens = random_tokens(24, 9, 4)
    charged = model._flops(tokens, None, None, all_heads=False, token_head="span_head").total
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(tokens, span_scores=True)[0].sum().backward()
    assert charged == pytest.approx(counter.get_total_flops(), rel=1e-3)
    assert model.span_head.weight.grad is not None


def test_the_head_of_tags_is_one_of_as_many_outputs(caplog):
    tuned, plain = make_model(), make_model()
    tuned.register_token_head("tag_head", 5)
    tokens = random_tokens(20, 9)
    with torch.no_grad():
        scores = tuned.eval()(tokens, token_head="tag_head")[0]
        hidden = tuned(tokens, features_only=True)[0]
    real = tokens.ne(1)
    torch.testing.assert_close(scores[real], tuned.tag_head(hidden).detach()[real])
    assert scores.shape == (2, 20, 5)
    reader = make_model(load_checkpoint_heads=True)
    reader.load_state_dict(tuned.state_dict(), strict=True)
    assert torch.equal(reader.tag_head.weight, tuned.tag_head.weight)
    plain.register_token_head("tag_head", 4)  # of other tags: a new one is trained
    before = plain.tag_head.weight.clone()
    with caplog.at_level(logging.INFO):
        plain.load_state_dict(tuned.state_dict(), strict=True)
    assert torch.equal(plain.tag_head.weight, before) and "a new tag head is trained" in caplog.text
    tuned.train()
    charged = tuned._flops(tokens, None, None, all_heads=False, token_head="tag_head").total
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tuned(tokens, token_head="tag_head")[0].sum().backward()
    assert charged == pytest.approx(counter.get_total_flops(), rel=1e-3)
