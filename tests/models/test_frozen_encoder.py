"""The lean path of a frozen body against fairseq's own path through the same weights, in float64."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from criterions.test_joint_masked_lm import make_criterion, make_sample
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss
from models.test_minimodel_roberta import make_dictionary, make_model, random_tokens
from torch import distributed
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from fairseq_minimodel.bodies.language_side import is_language_side
from fairseq_minimodel.nn import frozen_body

PAD, MASK = 1, 44


# What the lean path serves: adaptation, and MiniPost's step 1b down to a head alone.
FREEZE = [
    "body", "bottom:0", "bottom:2", "bottom:2-head", "bottom:3+bias", "bottom:4", "bottom:4-head+bias",
]  # fmt: skip


def make_frozen_model(dtype=torch.float64, seed=2, freeze="body", **settings):
    """Random weights everywhere, so that no bias is 0, no norm the identity, no layer near it."""
    model = make_model(freeze=freeze, **settings).to(dtype)
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
            layer.activation_fn = layer.activation = functional.gelu  # ModernBERT's is the second
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


def trained(model):
    return {name: one for name, one in model.named_parameters() if one.requires_grad}


def gradients(model):
    """Of everything that is trained; nothing else has one."""
    found = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    assert found.keys() == trained(model).keys()
    return found


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
    expected = gradients(reference)

    found = model(tokens, masked_tokens=chosen, targets=answers)
    assert found[0] is None
    head_losses = found[1]["head_losses"]
    assert list(head_losses) == [model.encoder.sentence_encoder.num_layers]
    (found_loss,) = head_losses.values()
    found_loss.backward()
    torch.testing.assert_close(found_loss.double(), loss.detach(), rtol=1e-6, atol=1e-6)
    check_equal(gradients(model), expected)

    model.zero_grad()
    logits = model(tokens, masked_tokens=chosen)[0]
    check_equal(logits, everywhere[chosen])
    functional.cross_entropy(logits, answers[chosen], reduction="sum").backward()
    check_equal(gradients(model), expected)


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("freeze", FREEZE)
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_the_lean_path_is_fairseqs(batch, freeze, training):
    rates = {"dropout": 0.0, "attention_dropout": 0.0} if training else {}
    model = make_frozen_model(freeze=freeze, **rates).train(training)
    check_logits_loss_and_gradients(model, *make_batch(*batch))


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder_layers": 1},
        {"encoder_layers": 2, "encoder_attention_heads": 4},
        {"encoder_layers": 7, "encoder_attention_heads": 1},
        {"activation_fn": "relu"},
        {"activation_fn": "tanh", "encoder_layers": 1},
        {"activation_fn": "relu", "freeze": "bottom:1"},
        {"encoder_layers": 1, "freeze": "bottom:0"},
    ],
    ids=str,
)
def test_so_it_is_at_any_depth_and_with_any_activation(settings):
    model = make_frozen_model(**settings)
    check_logits_loss_and_gradients(model, *make_batch(*BATCHES["padding"]))


@pytest.mark.gpu
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("freeze", ["body", "bottom:2"])
def test_so_it_is_on_a_gpu(freeze, batch):
    tokens, chosen = make_batch(*batch)
    model = make_frozen_model(freeze=freeze).cuda()
    check_logits_loss_and_gradients(model, tokens.cuda(), chosen.cuda())


def test_the_last_head_is_among_all_heads():
    model = make_frozen_model(encoder_layers=2)
    tokens, chosen = make_batch(*BATCHES["padding"])
    logits, extra = model(tokens, masked_tokens=chosen, all_heads=True)
    assert list(extra["head_logits"]) == [2] and extra["head_logits"][2] is logits


@pytest.mark.parametrize("freeze", FREEZE)
def test_a_batch_without_predictions_has_no_loss_and_changes_nothing(freeze):
    model = make_frozen_model(dropout=0.1, freeze=freeze).train()
    tokens, chosen = make_batch(*BATCHES["nothing predicted"])
    loss = model(tokens, masked_tokens=chosen, targets=tokens)[1]["head_losses"][4]
    loss.backward()
    assert loss == 0
    for gradient in gradients(model).values():
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
    tokens, chosen = make_batch(*BATCHES["padding"])
    model(tokens)
    model(tokens, masked_tokens=chosen, features_only=True)
    states = model(tokens, masked_tokens=chosen, return_all_hiddens=True)[1]["inner_states"]
    assert len(states) == 5
    assert not model.encoder.frozen.kept  # nothing was prepared


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


@pytest.mark.parametrize(("layers", "freeze"), [(1, "body"), (3, "body"), (3, "bottom:1")])
@pytest.mark.parametrize("batch", ["no padding", "padding", "some rows not predicted"])
def test_dropout_is_at_fairseqs_places_with_fairseqs_rates(batch, layers, freeze, no_randomness):
    rates = {"dropout": 0.1, "attention_dropout": 0.2, "activation_dropout": 0.35}
    model = make_frozen_model(encoder_layers=layers, freeze=freeze, **rates).train()
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


@pytest.mark.parametrize("freeze", FREEZE)
def test_all_that_is_trained_is_used(freeze, tmp_path):
    """Else DistributedDataParallel refuses the second pass. Here is one process of one."""
    distributed.init_process_group("gloo", store=distributed.FileStore(f"{tmp_path}/store", 1),
                                   rank=0, world_size=1)  # fmt: skip
    try:
        model = make_frozen_model(torch.float32, freeze=freeze).train()
        wrapped = DistributedDataParallel(model)
        for batch in ("padding", "nothing predicted", "no padding"):
            tokens, chosen = make_batch(*BATCHES[batch])
            extra = wrapped(tokens, masked_tokens=chosen, targets=tokens)[1]
            extra["head_losses"][4].backward()
        assert gradients(model)
    finally:
        distributed.destroy_process_group()


def prepared(model):
    """The ids of the prepared weights that are kept after a pass, by the part of the model."""
    tokens, chosen = make_batch(*BATCHES["padding"])
    model(tokens, masked_tokens=chosen)
    return {name: id(part) for name, (_, part) in model.encoder.frozen.kept.items()}


def update(model):
    """One step of an optimiser; returns what there was before."""
    before = copy.deepcopy(model.state_dict())
    tokens, chosen = make_batch(*BATCHES["padding"])
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(tokens, masked_tokens=chosen, targets=tokens)[1]["head_losses"][4].backward()
    optimiser.step()
    return before


@pytest.mark.parametrize(
    ("freeze", "parts"), [("body", 8), ("bottom:3", 5), ("bottom:1-head", 5), ("bottom:4", 6)]
)
def test_frozen_weights_are_prepared_once(freeze, parts):
    model = make_frozen_model(freeze=freeze).train()
    first = prepared(model)
    assert len(first) == parts
    update(model)
    model.eval()
    assert prepared(model) == first
    # and trained ones are not kept: the next pass sees the update
    model.zero_grad()
    check_logits_loss_and_gradients(model, *make_batch(*BATCHES["padding"]))


def test_weights_are_prepared_again_when_a_checkpoint_was_loaded():
    model, other = make_frozen_model(), make_frozen_model(seed=3)
    before = prepared(model)
    model.load_state_dict(other.state_dict())
    assert prepared(model) != before
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
    assert prepared(model) != before
    check_logits_loss_and_gradients(model, *make_batch(*BATCHES["padding"]))


def test_weights_are_prepared_again_in_another_type():
    model = make_frozen_model(dtype=torch.float32)
    prepared(model)
    assert model.encoder.frozen.kept["positions"][1].dtype == torch.float32
    model.double()
    check_logits_loss_and_gradients(model, *make_batch(*BATCHES["padding"]))


@pytest.mark.parametrize(
    ("freeze", "is_trained"),
    [
        ("body", is_language_side),
        ("bottom:3", lambda name: ".layers.3." in name or is_body_head(name)),
        ("bottom:3-head", lambda name: ".layers.3." in name),
        ("bottom:3+bias", lambda name: ".layers.3." in name or is_body_head(name) or is_bias(name)),
        ("bottom:4+bias", lambda name: is_body_head(name) or is_bias(name)),
        ("bottom:4-head+bias", lambda name: is_bias(name)),
    ],
)
def test_what_is_trained_changes_and_what_is_frozen_does_not(freeze, is_trained):
    model = make_frozen_model(dtype=torch.float32, freeze=freeze).train()
    before = update(model)
    assert gradients(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) != is_trained(name), name


def is_body_head(name):
    return name.startswith("encoder.lm_head.") and not is_language_side(name)


def is_bias(name):
    return name == "encoder.lm_head.bias"


@pytest.mark.parametrize("freeze", ["body", "bottom:2"])
def test_a_body_in_bfloat16_leaves_parameters_gradients_and_optimiser_in_float32(freeze):
    lengths = (24, 20, 17, 9)
    tokens, chosen = make_batch(lengths, [range(1, length, 3) for length in lengths])
    losses, both = [], []
    for precision in ("parameters", "bfloat16"):
        model = make_frozen_model(torch.float32, freeze=freeze, body_precision=precision)
        optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
        loss = model(tokens, masked_tokens=chosen, targets=tokens)[1]["head_losses"][4]
        loss.backward()
        both.append(torch.cat([gradient.flatten() for gradient in gradients(model).values()]))
        losses.append(loss.item())
        optimiser.step()
        tensors = [*model.parameters(), *gradients(model).values(), loss]
        tensors += [x for state in optimiser.state.values() for x in state.values()]
        assert {tensor.dtype for tensor in tensors} == {torch.float32}
        computes_in = torch.bfloat16 if precision == "bfloat16" else torch.float32
        layer = model.encoder.frozen.kept["layer 0"][1]
        assert layer.ffn_input.weight.dtype == computes_in
    assert losses[1] != losses[0] and losses[1] == pytest.approx(losses[0], rel=0.01)
    assert functional.cosine_similarity(*both, dim=0) > 0.99
    assert both[1].norm() == pytest.approx(both[0].norm().item(), rel=0.02)


@pytest.mark.parametrize("freeze", ["body", "bottom:2"])
@pytest.mark.parametrize("masked", [((0, 3), (0, 5), (1, 2)), ()], ids=["masked", "none masked"])
def test_both_criterions_have_the_loss_of_the_ordinary_path(masked, freeze):
    sample = make_sample(masked)
    task = SimpleNamespace(target_dictionary=make_dictionary())
    plain = MaskedLmLoss(MaskedLmConfig(tpu=False), task)
    results = []
    for criterion in (plain, make_criterion()):
        lean = make_frozen_model(torch.float32, encoder_layers=3, freeze=freeze)
        for model in (ordinary(lean), lean):
            loss, sample_size, log = criterion(model, sample)
            loss.backward()
            results.append((loss.detach(), log["loss"], sample_size, gradients(model)))
    assert results[0][2] == len(masked) and (results[0][0] > 0) == bool(masked)
    for found in results[1:]:
        torch.testing.assert_close(found, results[0], rtol=2e-5, atol=2e-5)
