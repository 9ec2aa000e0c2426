"""The lean path of a frozen body against fairseq's own path through the same weights, in float64."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from criterions.test_joint_masked_lm import make_criterion, make_sample
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss
from models.test_minimodel_roberta import make_dictionary, make_model, random_tokens
from torch.nn import functional

from fairseq_minimodel.bodies.language_side import is_language_side
from fairseq_minimodel.nn import frozen_body

PAD, MASK = 1, 44


def make_frozen_model(dtype=torch.float64, seed=2, **settings):
    """Random weights everywhere, so that no bias is 0, no norm the identity, no layer near it."""
    model = make_model(freeze="body", **settings).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if name.endswith("norm.weight") else 0.0
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(centre + 0.3 * noise)
    return model.eval()


def ordinary(model):
    """A copy that takes fairseq's own path; its gelu without the way through float32."""
    copied = copy.deepcopy(model)
    copied.encoder.frozen = None
    if model.args.activation_fn == "gelu":
        for layer in copied.encoder.sentence_encoder.layers:
            layer.activation_fn = functional.gelu
        copied.encoder.lm_head.activation_fn = functional.gelu
    return copied


def make_batch(lengths, masked):
    """Tokens, and the given positions of each row as a mask; "all" are the real ones."""
    tokens = random_tokens(*lengths)
    chosen = torch.zeros_like(tokens, dtype=torch.bool)
    for row, columns in enumerate(masked):
        chosen[row, torch.arange(lengths[row]) if columns == "all" else list(columns)] = True
    return tokens, chosen


BATCHES = {
    "no padding": ((9, 9, 9), [(1, 4), (8,), (0, 2, 3, 7)]),
    "padding": ((12, 7, 3, 9), [(1, 4, 11), (6,), (0, 2), (3,)]),
    "some rows not predicted": ((7, 12, 3, 9, 5), [(), (11, 2), (), (1, 2, 3), ()]),
    "everything predicted": ((8, 12, 2), ["all", "all", "all"]),
    "one sequence": ((10,), [(5, 9)]),
    "one token": ((1, 4), [(0,), (1, 3)]),
    "nothing predicted": ((9, 4), [(), ()]),
}


def language_gradients(model):
    encoder = model.encoder
    return encoder.sentence_encoder.embed_tokens.weight.grad, encoder.lm_head.bias.grad


def check_equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def check_logits_loss_and_gradients(model, tokens, chosen):
    """Everything that training reads from the model, on both paths."""
    reference = ordinary(model)
    answers = torch.randint(4, 44, tokens.shape, generator=torch.Generator().manual_seed(5))
    answers = answers.to(tokens.device)
    everywhere = reference(tokens)[0]
    loss = functional.cross_entropy(everywhere[chosen], answers[chosen], reduction="sum")
    loss.backward()
    expected = language_gradients(reference)

    found = model(tokens, masked_tokens=chosen, targets=answers)
    assert found[0] is None
    head_losses = found[1]["head_losses"]
    assert list(head_losses) == [model.encoder.sentence_encoder.num_layers]
    (found_loss,) = head_losses.values()
    found_loss.backward()
    torch.testing.assert_close(found_loss.double(), loss.detach(), rtol=1e-6, atol=1e-6)
    check_equal(language_gradients(model), expected)

    model.zero_grad()
    logits = model(tokens, masked_tokens=chosen)[0]
    check_equal(logits, everywhere[chosen])
    functional.cross_entropy(logits, answers[chosen], reduction="sum").backward()
    check_equal(language_gradients(model), expected)


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_the_lean_path_is_fairseqs(batch, training):
    rates = {"dropout": 0.0, "attention_dropout": 0.0} if training else {}
    model = make_frozen_model(**rates).train(training)
    check_logits_loss_and_gradients(model, *make_batch(*batch))


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder_layers": 1},
        {"encoder_layers": 2, "encoder_attention_heads": 4},
        {"encoder_layers": 7, "encoder_attention_heads": 1},
        {"activation_fn": "relu"},
        {"activation_fn": "tanh", "encoder_layers": 1},
    ],
    ids=str,
)
def test_so_it_is_at_any_depth_and_with_any_activation(settings):
    model = make_frozen_model(**settings)
    check_logits_loss_and_gradients(model, *make_batch(*BATCHES["padding"]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_so_it_is_on_a_gpu(batch):
    tokens, chosen = make_batch(*batch)
    check_logits_loss_and_gradients(make_frozen_model().cuda(), tokens.cuda(), chosen.cuda())


def test_the_last_head_is_among_all_heads():
    model = make_frozen_model(encoder_layers=2)
    tokens, chosen = make_batch(*BATCHES["padding"])
    logits, extra = model(tokens, masked_tokens=chosen, all_heads=True)
    assert list(extra["head_logits"]) == [2] and extra["head_logits"][2] is logits


def test_a_batch_without_predictions_has_no_loss_and_changes_nothing():
    model = make_frozen_model(dropout=0.1).train()
    tokens, chosen = make_batch(*BATCHES["nothing predicted"])
    loss = model(tokens, masked_tokens=chosen, targets=tokens)[1]["head_losses"][4]
    loss.backward()
    assert loss == 0
    for gradient in language_gradients(model):
        assert not gradient.any()


def test_predictions_at_padding_are_left_to_fairseq():
    """As fairseq's `masked_lm` asks for on a GPU, where no token of a batch is masked."""
    model = make_frozen_model(activation_fn="relu")
    reference = ordinary(model)
    tokens = random_tokens(12, 7, 3)
    everything = torch.ones_like(tokens, dtype=torch.bool)
    found = model(tokens, masked_tokens=everything)[0]
    assert found.shape == (36, 45)
    check_equal(found, reference(tokens)[0].flatten(0, 1))
    no_answers = torch.full_like(tokens, PAD)
    losses = model(tokens, masked_tokens=everything, targets=no_answers)[1]["head_losses"]
    assert list(losses) == [4] and losses[4] == 0


def test_what_is_not_masked_language_modelling_is_left_to_fairseq():
    model = make_frozen_model()
    model.encoder.frozen.body = None
    tokens, chosen = make_batch(*BATCHES["padding"])
    model(tokens)
    model(tokens, masked_tokens=chosen, features_only=True)
    states = model(tokens, masked_tokens=chosen, return_all_hiddens=True)[1]["inner_states"]
    assert len(states) == 5
    assert model.encoder.frozen.body is None  # nothing was prepared


def stand_in(x, p):
    """Dropout that is not random: any other place or rate than fairseq's gives another result."""
    return x + p * x.sin()


def attention_with_stand_in(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None
):
    scores = query @ key.transpose(-1, -2) * (scale or 1 / math.sqrt(query.shape[-1]))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return stand_in(scores.softmax(-1), dropout_p) @ value


@pytest.fixture
def no_randomness(monkeypatch):
    def torchs_dropout(x, p=0.5, training=True, inplace=False):
        return stand_in(x, p) if training else x

    monkeypatch.setattr(functional, "dropout", torchs_dropout)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", attention_with_stand_in)
    monkeypatch.setattr(frozen_body, "dropout", stand_in)
    monkeypatch.setattr(frozen_body, "add_dropout", lambda x, y, p: x + stand_in(y, p))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("batch", ["no padding", "padding", "some rows not predicted"])
def test_dropout_is_at_fairseqs_places_with_fairseqs_rates(batch, layers, no_randomness):
    rates = {"dropout": 0.1, "attention_dropout": 0.2, "activation_dropout": 0.35}
    model = make_frozen_model(encoder_layers=layers, **rates).train()
    tokens, chosen = make_batch(*BATCHES[batch])
    check_logits_loss_and_gradients(model, tokens, chosen)
    # and the stand-in is seen: each rate changes the result
    logits = model(tokens, masked_tokens=chosen)[0]
    for name in rates:
        other = make_frozen_model(encoder_layers=layers, **{**rates, name: 0.0}).train()
        assert (other(tokens, masked_tokens=chosen)[0] - logits).abs().max() > 1e-3


def test_dropout_is_random_in_training_and_absent_in_evaluation():
    tokens, chosen = make_batch(*BATCHES["padding"])
    model = make_frozen_model()
    first, second = (model(tokens, masked_tokens=chosen)[0] for _ in range(2))
    assert torch.equal(first, second)
    model.train()
    first, second = (model(tokens, masked_tokens=chosen)[0] for _ in range(2))
    assert not torch.allclose(first, second)


def prepared(model):
    """The prepared weights that a pass uses."""
    tokens, chosen = make_batch(*BATCHES["padding"])
    model(tokens, masked_tokens=chosen)
    return model.encoder.frozen.body


def test_weights_are_prepared_once():
    model = make_frozen_model().train()
    first = prepared(model)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    tokens, chosen = make_batch(*BATCHES["padding"])
    model(tokens, masked_tokens=chosen, targets=tokens)[1]["head_losses"][4].backward()
    optimiser.step()
    model.eval()
    assert prepared(model) is first


def test_weights_are_prepared_again_when_a_checkpoint_was_loaded():
    model, other = make_frozen_model(), make_frozen_model(seed=3)
    before = prepared(model)
    model.load_state_dict(other.state_dict())
    assert prepared(model) is not before
    check_logits_loss_and_gradients(model, *make_batch(*BATCHES["padding"]))


@pytest.mark.parametrize(
    "part",
    [
        "sentence_encoder.embed_positions.weight",
        "sentence_encoder.layernorm_embedding.bias",
        "sentence_encoder.layers.1.self_attn.k_proj.weight",
        "sentence_encoder.layers.3.final_layer_norm.weight",
        "lm_head.dense.bias",
        "lm_head.layer_norm.weight",
    ],
)
def test_weights_are_prepared_again_when_any_of_them_changed(part):
    model = make_frozen_model()
    before = prepared(model)
    with torch.no_grad():
        model.encoder.get_parameter(part).mul_(1.5)
    assert prepared(model) is not before
    check_logits_loss_and_gradients(model, *make_batch(*BATCHES["padding"]))


def test_weights_are_prepared_again_in_another_type():
    model = make_frozen_model(dtype=torch.float32)
    assert prepared(model).positions.dtype == torch.float32
    model.double()
    assert prepared(model).positions.dtype == torch.float64
    check_logits_loss_and_gradients(model, *make_batch(*BATCHES["padding"]))


def test_frozen_tensors_have_no_gradient_and_do_not_change():
    model = make_frozen_model(dtype=torch.float32).train()
    before = copy.deepcopy(model.state_dict())
    tokens, chosen = make_batch(*BATCHES["padding"])
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(tokens, masked_tokens=chosen, targets=tokens)[1]["head_losses"][4].backward()
    optimiser.step()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == is_language_side(name), name
    for name, tensor in model.state_dict().items():
        trained = is_language_side(name)
        assert torch.equal(tensor, before[name]) != trained, name


def test_a_body_in_bfloat16_leaves_parameters_gradients_and_optimiser_in_float32():
    lengths = (24, 20, 17, 9)
    tokens, chosen = make_batch(lengths, [range(1, length, 3) for length in lengths])
    losses, gradients = [], []
    for precision in ("parameters", "bfloat16"):
        model = make_frozen_model(torch.float32, body_precision=precision)
        optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
        loss = model(tokens, masked_tokens=chosen, targets=tokens)[1]["head_losses"][4]
        loss.backward()
        gradients.append(torch.cat([gradient.flatten() for gradient in language_gradients(model)]))
        losses.append(loss.item())
        optimiser.step()
        tensors = [*model.parameters(), *language_gradients(model), loss]
        tensors += [x for state in optimiser.state.values() for x in state.values()]
        assert {tensor.dtype for tensor in tensors} == {torch.float32}
        computes_in = torch.bfloat16 if precision == "bfloat16" else torch.float32
        assert model.encoder.frozen.body.layers[0].ffn_input.weight.dtype == computes_in
    assert losses[1] != losses[0] and losses[1] == pytest.approx(losses[0], rel=0.01)
    assert functional.cosine_similarity(*gradients, dim=0) > 0.99
    assert gradients[1].norm() == pytest.approx(gradients[0].norm().item(), rel=0.02)


@pytest.mark.parametrize("masked", [((0, 3), (0, 5), (1, 2)), ()], ids=["masked", "none masked"])
def test_both_criterions_have_the_loss_of_the_ordinary_path(masked):
    sample = make_sample(masked)
    task = SimpleNamespace(target_dictionary=make_dictionary())
    plain = MaskedLmLoss(MaskedLmConfig(tpu=False), task)
    results = []
    for criterion in (plain, make_criterion()):
        lean = make_frozen_model(torch.float32, encoder_layers=3)
        for model in (ordinary(lean), lean):
            loss, sample_size, log = criterion(model, sample)
            loss.backward()
            results.append((loss.detach(), log["loss"], sample_size, *language_gradients(model)))
    assert results[0][2] == len(masked) and (results[0][0] > 0) == bool(masked)
    for found in results[1:]:
        torch.testing.assert_close(found, results[0], rtol=2e-5, atol=2e-5)
