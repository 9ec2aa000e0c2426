"""The formulas against PyTorch's counter on the model itself, and against published figures."""

import math
from argparse import Namespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.optim.adam import Adam
from omegaconf import OmegaConf
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fairseq_minimodel.cost.flops import (
    Flops,
    Shape,
    adam_operations,
    classification_flops,
    masked_lm_flops,
    span_flops,
)
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.models.minimodel_eurobert import MiniModelEuroBert
from fairseq_minimodel.models.minimodel_modernbert import MiniModelModernBert
from fairseq_minimodel.models.minimodel_roberta import MiniModelRoberta

ROBERTA_BASE = Shape(layers=12, width=768, ffn=3072, heads=12, vocabulary=50_000)

# Shape, sequences, tokens of each. One term dominates, so that a wrong one cannot hide: the
# vocabulary; attention; feed-forward; the projections; and, with many classes, the classifier.
SHAPES = {
    "large vocabulary": (Shape(3, 16, 32, 2, 1000), 2, 40),
    "long sequence": (Shape(3, 16, 8, 4, 24), 2, 300),
    "large feed-forward": (Shape(4, 16, 512, 2, 24), 3, 20),
    "wide": (Shape(3, 128, 16, 2, 24), 3, 20),
    "single token": (Shape(3, 64, 1, 2, 24), 4, 1),
    "modern, long sequence": (Shape(3, 16, 8, 4, 24, modern=True), 2, 300),
    "modern, windows": (Shape(3, 16, 8, 4, 24, modern=True, window=9, global_every=2), 2, 310),
    "modern, as long as one piece": (
        Shape(3, 16, 8, 4, 24, True, window=150, global_every=3),
        2,
        300,
    ),
    "modern, large feed-forward": (Shape(4, 16, 512, 2, 24, modern=True), 3, 20),
    "untied, long sequence": (Shape(3, 16, 8, 4, 24, True, 2, tied=False), 2, 300),
    "untied, large vocabulary": (Shape(3, 16, 32, 2, 1000, True, 1, tied=False), 2, 40),
    "untied, wide, one head of keys": (Shape(3, 128, 16, 8, 24, True, 1, tied=False), 3, 20),
}
# Two scores per token count for something in the smallest of models only: 8 % of the forward pass.
SMALLEST = (Shape(3, 1, 1, 1, 24), 2, 1)

FREEZE = [
    "none", "language", "body", "bottom:0", "bottom:2", "bottom:3", "bottom:2-head",
    "bottom:3-head+bias",
]  # fmt: skip
# EuroBERT has no output bias
CASES = [
    (name, freeze)
    for name, (shape, *_) in SHAPES.items()
    for freeze in FREEZE
    if shape.tied or "+bias" not in freeze
]


def build_model(
    shape: Shape, length: int, freeze: str, auxiliary_head_layers: str = ""
) -> MiniModelRoberta:
    dictionary = Dictionary()
    for index in range(shape.vocabulary - len(dictionary)):
        dictionary.add_symbol(f"w{index}")
    kind = MiniModelModernBert if shape.modern else MiniModelRoberta
    own = {}
    if shape.modern:
        own = {"local_attention": shape.window or 128, "global_every": shape.global_every}
    if not shape.tied:
        kind, own = MiniModelEuroBert, {"encoder_key_value_heads": shape.key_value_heads}
    config = kind.config_class(
        encoder_layers=shape.layers,
        encoder_embed_dim=shape.width,
        encoder_ffn_embed_dim=shape.ffn,
        encoder_attention_heads=shape.heads,
        max_positions=length,
        dropout=0.0,
        attention_dropout=0.0,
        auxiliary_head_layers=auxiliary_head_layers,
        freeze=freeze,
        **own,
    )
    task = Namespace(source_dictionary=dictionary)
    return kind.build_model(OmegaConf.structured(config), task)


def random_batch(shape: Shape, batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids without special tokens, and a mask of the first six positions of each sequence."""
    masked = torch.zeros(batch, length, dtype=torch.bool)
    masked[:, :6] = True
    return torch.randint(4, shape.vocabulary, (batch, length)), masked


def counted(forward) -> tuple[int, int]:
    """FLOPs that the counter sees in the forward and in the backward pass.

    On CPU, fairseq's attention ends in a fused kernel that the counter has no formula for. The math
    backend computes the same by two batched products, which it has.
    """
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as counter:
            loss = forward()
        assert torch.ops.aten.bmm in counter.get_flop_counts()["Global"], "attention is not seen"
        with FlopCounterMode(display=False) as backward_counter:
            loss.backward()
    return counter.get_total_flops(), backward_counter.get_total_flops()


def assert_close(ours: Flops, reference: tuple[int, int]) -> None:
    forward, backward = reference
    assert ours.forward == pytest.approx(forward, rel=0.01)
    assert ours.activation_gradients + ours.weight_gradients == pytest.approx(backward, rel=0.01)


@pytest.mark.parametrize(("name", "freeze"), CASES)
def test_masked_lm_agrees_with_pytorch(name, freeze):
    shape, batch, length = SHAPES[name]
    model = build_model(shape, length, freeze)
    tokens, masked = random_batch(shape, batch, length)

    reference = counted(lambda: model(tokens, masked_tokens=masked)[0].sum())

    fraction = masked.double().mean().item()
    ours = masked_lm_flops(
        shape,
        batch * length,
        length,
        freeze=freeze,
        masked_fraction=fraction,
        predictions_only=freeze == "body" or freeze.startswith("bottom"),
    )
    assert_close(ours, reference)


@pytest.mark.parametrize("name", SHAPES)
def test_a_frozen_body_that_computes_every_position_agrees_with_pytorch(name):
    shape, batch, length = SHAPES[name]
    model = build_model(shape, length, "body")
    model.encoder.frozen = None  # fairseq's own way through the body
    tokens, masked = random_batch(shape, batch, length)

    reference = counted(lambda: model(tokens, masked_tokens=masked)[0].sum())

    fraction = masked.double().mean().item()
    ours = masked_lm_flops(shape, batch * length, length, freeze="body", masked_fraction=fraction)
    assert_close(ours, reference)


@pytest.mark.parametrize("freeze", FREEZE)
def test_several_heads_on_one_pass_agree_with_pytorch(freeze):
    shape, batch, length = SHAPES["large vocabulary"]
    model = build_model(shape, length, freeze, auxiliary_head_layers="1,2")
    tokens, masked = random_batch(shape, batch, length)

    def forward():
        logits = model(tokens, masked_tokens=masked, all_heads=True)[1]["head_logits"]
        return sum(head.sum() for head in logits.values())

    reference = counted(forward)

    fraction = masked.double().mean().item()
    ours = masked_lm_flops(
        shape,
        batch * length,
        length,
        freeze=freeze,
        auxiliary_head_layers=[1, 2],
        masked_fraction=fraction,
    )
    assert_close(ours, reference)


@pytest.mark.parametrize(("name", "freeze"), CASES)
def test_classification_agrees_with_pytorch(name, freeze):
    shape, batch, length = SHAPES[name]
    model = build_model(shape, length, freeze)
    model.register_classification_head("topic", num_classes=500)
    tokens, _ = random_batch(shape, batch, length)

    reference = counted(
        lambda: model(tokens, features_only=True, classification_head_name="topic")[0].sum()
    )

    # ModernBERT's head reads <s> alone, as RoBERTa's; EuroBERT's every token
    reads = {"wanted": batch} if shape.tied else {"read": batch * length}
    ours = classification_flops(shape, batch * length, length, classes=500, freeze=freeze, **reads)
    assert_close(ours, reference)


@pytest.mark.parametrize("name", SHAPES)
def test_a_classifier_over_every_position_agrees_with_pytorch(name):
    """As it is with a task module."""
    shape, batch, length = SHAPES[name]
    model = build_model(shape, length, "language")
    model.encoder.frozen = None
    model.register_classification_head("topic", num_classes=500)
    tokens, _ = random_batch(shape, batch, length)

    reference = counted(lambda: model(tokens, classification_head_name="topic")[0].sum())

    read = None if shape.tied else batch * length
    ours = classification_flops(shape, batch * length, length, classes=500, read=read)
    assert_close(ours, reference)


@pytest.mark.parametrize(
    "name", ["wide", "modern, large feed-forward", "untied, wide, one head of keys"]
)
@pytest.mark.parametrize("pooling", ["cls", "mean", "late", "tags"])
def test_a_batch_with_padding_is_charged_what_it_computes(name, pooling):
    shape, _, length = SHAPES[name]
    model = build_model(shape, length, "language")
    if shape.modern:
        model.args.classifier_pooling = "cls" if pooling == "tags" else pooling
    elif pooling in ("mean", "late"):
        pytest.skip("RoBERTa's head reads <s>")
    model.register_classification_head("topic", num_classes=500)
    model.register_token_head("tag_head", 9)
    tokens, _ = random_batch(shape, 4, length)
    for row, places in enumerate((length, length // 2, length // 3, 2)):
        tokens[row, places:] = 1
    topic, tags = (None, "tag_head") if pooling == "tags" else ("topic", None)

    heads = {"classification_head_name": topic, "token_head": tags}
    reference = counted(lambda: model(tokens, **heads)[0].sum())

    assert_close(model._flops(tokens, None, topic, False, tags), reference)


def test_a_classifier_by_hand():
    """Of a sequence: in the last layer all tokens have keys and values, and <s> alone the rest."""
    d, f, length, classes = 768, 3072, 128, 3
    layer = length * (2 * (4 * d**2 + 2 * d * f) + 4 * length * d)
    last = length * 2 * 2 * d**2 + 2 * (2 * d**2 + 2 * d * f) + 4 * length * d
    head = 2 * (d**2 + d * classes)
    found = classification_flops(ROBERTA_BASE, length, length, classes=classes, wanted=1)
    assert found.forward == 11 * layer + last + head
    # products of weights twice more, attention's too, and everything has gradients
    assert found.total == 3 * found.forward


@pytest.mark.parametrize(("name", "freeze"), [*CASES, *(("smallest", freeze) for freeze in FREEZE)])
def test_span_extraction_agrees_with_pytorch(name, freeze):
    shape, batch, length = SHAPES.get(name, SMALLEST)
    model = build_model(shape, length, freeze)
    model.register_span_head()
    tokens, _ = random_batch(shape, batch, length)

    reference = counted(lambda: model(tokens, span_scores=True)[0].sum())

    assert_close(span_flops(shape, batch * length, length, freeze=freeze), reference)


@pytest.mark.parametrize(("weight_decay", "per_parameter"), [(0.0, 12), (0.01, 14)])
def test_operations_of_adam_agree_with_those_of_fairseq(weight_decay, per_parameter):
    """PyTorch's counter, told what an element of each operation costs."""

    def elementwise(operations):
        return lambda shape, *_, **__: operations * math.prod(shape)

    def added(shape, _, alpha=1, **__):
        return math.prod(shape) * (2 if alpha != 1 else 1)

    aten = torch.ops.aten
    costs = {
        aten.mul_: elementwise(1),
        aten.add_: added,
        aten.addcmul_: elementwise(3),
        aten.addcdiv_: elementwise(3),
        aten.sqrt: elementwise(1),
    }
    parameters = [torch.nn.Parameter(torch.randn(size)) for size in ((40, 5), (7,))]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimiser = Adam(parameters, lr=0.1, weight_decay=weight_decay)
    with FlopCounterMode(display=False, custom_mapping=costs) as counter:
        optimiser.step()
    seen = counter.get_flop_counts()["Global"]
    assert set(seen) == set(costs), "an operation does not occur"

    assert adam_operations(207, weight_decay=weight_decay > 0) == counter.get_total_flops()
    assert counter.get_total_flops() == 207 * per_parameter


@pytest.mark.parametrize(("depth", "mega"), [(12, 431), (6, 233), (4, 167)])
def test_adaptation_of_roberta_base_per_token(depth, mega):
    flops = masked_lm_flops(ROBERTA_BASE.truncate(depth), 1, 512, freeze="body")
    assert flops.total / 1e6 == pytest.approx(mega, abs=0.5)


@pytest.mark.parametrize(("depth", "ratio"), [(4, 2.58), (6, 1.85)])
def test_saving_by_depth_of_roberta_base(depth, ratio):
    full, mini = (
        masked_lm_flops(ROBERTA_BASE.truncate(layers), 1, 512, freeze="body").total
        for layers in (12, depth)
    )
    assert full / mini == pytest.approx(ratio, abs=0.005)


def test_second_head_costs_about_six_percent_of_pretraining():
    one = masked_lm_flops(ROBERTA_BASE, 1, 512).total
    two = masked_lm_flops(ROBERTA_BASE, 1, 512, auxiliary_head_layers=(4,)).total
    assert two / one == pytest.approx(1.06, abs=0.005)


def test_cost_is_proportional_to_tokens():
    shape, _, length = SHAPES["wide"]
    per_token = masked_lm_flops(shape, 1, length, freeze="body").total
    run = masked_lm_flops(shape, 125_000 * 2048 * 512, length, freeze="body").total
    assert run == pytest.approx(125_000 * 2048 * 512 * per_token)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Shape(0, 16, 32, 2, 100), "layers is 0"),
        (lambda: Shape(2, 16, 32, 3, 100), "width 16 cannot be split over 3 heads"),
        (lambda: ROBERTA_BASE.truncate(13), "depth 13 is not between 1 and the 12 layers"),
        (lambda: masked_lm_flops(ROBERTA_BASE, 1, 512, freeze="top"), 'freeze "top" is none of'),
        (lambda: masked_lm_flops(ROBERTA_BASE, 1, 512, freeze="bottom:"), 'freeze "bottom:"'),
        (
            lambda: masked_lm_flops(ROBERTA_BASE, 1, 512, freeze="bottom:13"),
            "N from 0 to 12",
        ),
        (
            lambda: masked_lm_flops(ROBERTA_BASE, 1, 512, auxiliary_head_layers=(12,)),
            "auxiliary head after layer 12",
        ),
        (lambda: masked_lm_flops(ROBERTA_BASE, 1, 512, masked_fraction=15), "masked fraction 15"),
        (lambda: masked_lm_flops(ROBERTA_BASE, -1, 512), "-1 tokens"),
        (lambda: classification_flops(ROBERTA_BASE, 512, 0, classes=3), "sequences of 0"),
        (lambda: classification_flops(ROBERTA_BASE, 512, 512, classes=0), "0 classes"),
        (lambda: span_flops(ROBERTA_BASE, 512, 0), "sequences of 0"),
        (lambda: span_flops(ROBERTA_BASE, 512, 512, freeze="top"), 'freeze "top" is none of'),
    ],
)
def test_values_that_cannot_be_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
