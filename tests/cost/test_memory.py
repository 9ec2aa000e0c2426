"""The formulas against models that are built and trained for a step, counted byte by byte."""

from functools import partial

import pytest
import torch
from cost.test_flops import build_model as build_with_own_paths
from cost.test_flops import random_batch
from fairseq import modules
from fairseq.optim.adam import FairseqAdam
from fairseq.optim.fp16_optimizer import FP16Optimizer
from omegaconf import OmegaConf

from fairseq_minimodel.cost.flops import Shape
from fairseq_minimodel.cost.memory import (
    BITS_16,
    BITS_32,
    Memory,
    activation_bytes,
    parameter_count,
    training_memory,
)
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.nn.frozen_body import DropoutRates

FREEZE = ["none", "language", "body", "bottom:0", "bottom:2", "bottom:8"]
LENGTH = 40

# Eight layers, so that three copies of the first layer's input, which fairseq makes because it comes
# transposed and which are not in the formula, stay below the tolerance.
SHAPES = {
    "large vocabulary": Shape(8, 16, 32, 2, 4000),
    "many heads": Shape(8, 16, 16, 16, 24),
    "large feed-forward": Shape(8, 16, 512, 2, 24),
    "wide": Shape(8, 128, 16, 2, 24),
    "modern, large feed-forward": Shape(8, 16, 512, 2, 24, modern=True),
    "modern, wide": Shape(8, 128, 16, 2, 24, modern=True),
    "modern, windows": Shape(8, 128, 16, 2, 24, modern=True, window=8, global_every=2),
    "untied, large feed-forward": Shape(8, 16, 512, 4, 24, True, 2, tied=False),
    "untied, wide": Shape(8, 128, 16, 2, 24, True, 1, tied=False),
    "untied, large vocabulary": Shape(8, 16, 32, 4, 4000, True, 2, tied=False),
}
TOLERANCE = 0.03


def build_model(*sizes):
    """A model that runs fairseq's own code, also where this package has a leaner path."""
    model = build_with_own_paths(*sizes)
    model.encoder.frozen = None
    return model


def bytes_of(tensors):
    """Of their storages, each counted once: the tied matrix is one, and so are some gradients."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def masked_lm_loss(model, tokens, masked):
    """As the criteria compute it: fairseq's cross-entropy, of every head."""
    logits = model(tokens, masked_tokens=masked, all_heads=True)[1]["head_logits"]
    return sum(
        modules.cross_entropy(head, tokens[masked], reduction="sum", ignore_index=1)
        for head in logits.values()
    )


CONFIG = OmegaConf.create(
    {
        "optimizer": {
            "_name": "adam", "lr": [0.01], "adam_betas": [0.9, 0.98], "adam_eps": 1e-6,
            "weight_decay": 0.01, "use_old_adam": False, "fp16_adam_stats": False, "tpu": False,
        },
        "common": {"bf16": True, "model_parallel_size": 1},
        "optimization": {"update_freq": [1]},
        "distributed_training": {"distributed_world_size": 1},
    }
)  # fmt: skip


def step(model, loss, half):
    """Train for one step. Returns the optimiser as fairseq builds it."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if half:
        optimiser = FP16Optimizer.build_optimizer(CONFIG, parameters)
    else:
        optimiser = FairseqAdam(CONFIG.optimizer, parameters)
    optimiser.backward(loss)
    optimiser.step()
    return optimiser


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("freeze", FREEZE)
@pytest.mark.parametrize("auxiliary", [(), (1, 2)])
@pytest.mark.parametrize(
    "name", ["large feed-forward", "modern, large feed-forward", "untied, large feed-forward"]
)
def test_parameters_gradients_and_optimiser_to_the_byte(name, freeze, auxiliary, half):
    shape = SHAPES[name]
    model = build_model(shape, LENGTH, freeze, ",".join(map(str, auxiliary)))
    model = model.bfloat16() if half else model
    tokens, masked = random_batch(shape, 2, LENGTH)
    optimiser = step(model, masked_lm_loss(model, tokens, masked), half)

    ours = training_memory(
        shape,
        2,
        LENGTH,
        freeze=freeze,
        auxiliary_head_layers=auxiliary,
        precision=BITS_16 if half else BITS_32,
    )
    model_tensors = list(model.parameters())
    assert ours.parameters == bytes_of(model_tensors)
    assert ours.gradients == bytes_of(p.grad for p in model_tensors if p.grad is not None)
    states = optimiser.optimizer.state.values()
    kept = [state[name] for state in states for name in ("exp_avg", "exp_avg_sq")]
    if half:
        kept += [tensor for copy in optimiser.fp32_params for tensor in (copy, copy.grad)]
    assert ours.optimiser == bytes_of(kept)


@pytest.mark.parametrize("objective", ["classification", "span", "tags"])
@pytest.mark.parametrize("name", ["wide", "modern, wide", "untied, wide"])
def test_parameters_of_a_task_head(name, objective):
    shape = SHAPES[name]
    model = build_model(shape, LENGTH, "language")
    if objective == "classification":
        model.register_classification_head("topic", num_classes=5)
    else:
        model.register_token_head(f"{objective.rstrip('s')}_head", 2 if objective == "span" else 5)
    everything = list(model.parameters())
    trained = sum(p.numel() for p in everything if p.requires_grad)
    frozen = sum(p.numel() for p in everything) - trained
    assert (trained, frozen) == parameter_count(
        shape, LENGTH, freeze="language", objective=objective, classes=5
    )


def kept_bytes(model, forward):
    """Bytes that a forward pass keeps for the backward pass, without the parameters."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()
    size = sum(storage.nbytes() for storage in kept.values())
    loss.backward()  # what was kept was needed, and was alive until here
    return size


class FusedNorm(torch.autograd.Function):
    """An RMSNorm that keeps its input and a deviation, as on a GPU; PyTorch has none for a CPU."""

    @staticmethod
    def forward(ctx, x, weight):
        deviation = (x.float().square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        ctx.save_for_backward(x, deviation, weight)
        return (x * deviation).to(x) * weight

    @staticmethod
    def backward(ctx, gradient):
        x, deviation, weight = ctx.saved_tensors
        normed = (x * deviation).to(x)
        return gradient * weight, (gradient * normed).flatten(0, -2).sum(0)


def normalise(weight, x):
    return FusedNorm.apply(x, weight)


def training_model(shape, freeze, auxiliary="", attention_dropout=0.1):
    model = build_model(shape, LENGTH, freeze, auxiliary).train()
    for module in model.modules():
        if type(module).__name__ == "FairseqDropout":
            is_attention = module.module_name == "MultiheadAttention"
            module.p = attention_dropout if is_attention else 0.1
        if isinstance(module, torch.nn.RMSNorm):
            module.forward = partial(normalise, module.weight)
    encoder = model.encoder.sentence_encoder
    if shape.modern:
        encoder.rates = DropoutRates(hidden=0.1, attention=attention_dropout)
    else:
        for layer in encoder.layers:
            layer.activation_dropout_module.p = 0.0
    return model


def mask_bytes(shape, number):
    """Of an element of a dropout mask on CPU: as a number, and of nn/dropout.py's 2."""
    return 2 if shape.modern else number


@pytest.mark.parametrize("freeze", FREEZE)
@pytest.mark.parametrize(
    ("name", "fused"),  # of the modern ones without, the masks have two sizes
    [
        (name, fused)
        for name in SHAPES
        for fused in (True, False)
        if fused or not SHAPES[name].modern
    ],
)
def test_activations_agree_with_what_autograd_keeps(name, freeze, fused):
    """On CPU, attention is one kernel that keeps no scores if it has no dropout, as on a GPU."""
    shape = SHAPES[name]
    model = training_model(shape, freeze, attention_dropout=0.0 if fused else 0.1)
    tokens, masked = random_batch(shape, 3, LENGTH)

    kept = kept_bytes(model, lambda: masked_lm_loss(model, tokens, masked))

    ours = activation_bytes(
        shape, 3, LENGTH, freeze=freeze, masked_fraction=masked.double().mean().item(),
        number=4, mask=mask_bytes(shape, 4), fused_attention=fused,
    )  # fmt: skip
    assert ours == pytest.approx(kept, rel=TOLERANCE)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("freeze", ["none", "body"])
def test_activations_of_16_bits_and_several_heads(name, freeze):
    shape = SHAPES[name]
    model = training_model(shape, freeze, auxiliary="2,4", attention_dropout=0.0).bfloat16()
    tokens, masked = random_batch(shape, 3, LENGTH)

    kept = kept_bytes(model, lambda: masked_lm_loss(model, tokens, masked))

    ours = activation_bytes(
        shape, 3, LENGTH, freeze=freeze, mlm_heads=3,
        masked_fraction=masked.double().mean().item(), number=2, mask=mask_bytes(shape, 2),
    )  # fmt: skip
    assert ours == pytest.approx(kept, rel=TOLERANCE)


@pytest.mark.parametrize("objective", ["classification", "span"])
@pytest.mark.parametrize("name", SHAPES)
def test_activations_of_fine_tuning(name, objective):
    shape = SHAPES[name]
    model = training_model(shape, "language", attention_dropout=0.0)
    model.register_classification_head("topic", num_classes=5)
    model.register_span_head()
    tokens, _ = random_batch(shape, 3, LENGTH)

    def forward():
        if objective == "classification":
            return model(tokens, classification_head_name="topic")[0].sum()
        return model(tokens, span_scores=True)[0].sum()

    kept = kept_bytes(model, forward)

    mask = mask_bytes(shape, 4)
    ours = activation_bytes(
        shape, 3, LENGTH, freeze="language", mlm_heads=0, number=4, mask=mask,
        scores_tokens=objective == ("span" if shape.tied else "classification"),
    )  # fmt: skip
    assert ours == pytest.approx(kept, rel=TOLERANCE)


def test_the_whole_by_hand():
    # d = 4, f = 8, V = 10, one layer, one head, T = 6: 1 sequence, half of it masked, 16 bits.
    shape = Shape(1, 4, 8, 1, 10)
    # language side 40 + 10; body: 8 positions x 4 + 8, layer 80 + 64 + 12 + 16, head 16 + 4 + 8
    # layer, per token: attention 32 + 4, norms 2 x 16, masks 8, GELU 32
    # embeddings, per token: 16 + 4; head, per masked token: 16 + 16 + 8 + 40
    assert training_memory(shape, 1, 6, freeze="body", masked_fraction=0.5) == Memory(
        parameters=2 * (50 + 40 + 172 + 28),
        gradients=2 * 50,
        optimiser=16 * 50,
        activations=6 * 108 + 6 * 20 + 3 * 80,
        loss=3 * 10 * 6,
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: training_memory(SHAPES["wide"], 0, 512), "0 sequences of 512 tokens"),
        (lambda: training_memory(SHAPES["wide"], 1, 512, freeze="top"), 'freeze "top" is none of'),
        (lambda: training_memory(SHAPES["wide"], 1, 512, objective="x"), 'objective "x" is none'),
    ],
)
def test_values_that_cannot_be_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
