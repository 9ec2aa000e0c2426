"""FLOPs of training and evaluating a RoBERTa-style masked language model, from its shapes alone.

One multiply-add is 2 FLOPs, and only matrix products count, as in PyTorch's FlopCounterMode with
attention as explicit products. With d the width, f the feed-forward width, V the vocabulary and T
the tokens of a sequence (padding included, because it is computed), the forward pass costs

    a layer, per token             2 (4 d^2 + 2 d f)   q, k, v, output projection; feed-forward
                                 + 4 T d               attention scores; weighted sum of the values
    an MLM head, per masked token  2 (d^2 + d V)       dense; projection to the vocabulary
    a classifier, per sequence     2 (d^2 + d classes) on <s>: dense; projection to the classes
    span extraction, per token     2 * 2 d             scores of the span's start and of its end
    a sentence vector              nothing             a mean, or one of the hidden states
    tagging, per token             2 tags d            scores of the tags
    the same over a ModernBERT   + 2 d^2               a dense layer before either
    classes over a EuroBERT        2 (d^2 + d classes) of every token, where their mean counts

A feed-forward with a gate (`Shape.modern`) has 2 d f more; with k the width of keys and values, where
it is less than d, the projections cost 2 (2 d^2 + 2 d k); and where the output projection is not tied,
an MLM head is 2 d V alone. In layers that attend to w tokens on each side, T is 3 w where the sequence
is longer than 4 w: so `nn/local_attention.py` computes.

A product y = x W costs the same again in the backward pass for the gradient of x, if something
below needs it, and once more for the gradient of W, if W is trained. Attention has no weights, so
its two products cost twice their forward pass in the backward pass.

Left out: layer norm, softmax, GELU, dropout, biases, residual sums, embedding look-ups and their
gradient, the loss, clipping and the optimiser. None of them is a matrix product; what Adam computes
element by element stands apart, in `adam_operations`. Also left out is what an implementation
computes twice, such as the scores in the backward pass of flash attention.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import InputError
from .freezing import BODY, BOTTOM, LANGUAGE, parse_freeze

MOST_LAYERS, MOST = 10_000, 10**9  # of a model: a hundred times the largest there are, or more


@dataclass(frozen=True)
class Shape:
    """The sizes that set the cost.

    Attributes:
        layers: transformer layers that run; for a mini-model, its depth.
        width: hidden size d.
        ffn: hidden size of the feed-forward blocks.
        heads: attention heads. They split the width, so the count does not depend on them.
        vocabulary: rows of the token embedding matrix V, special tokens included.
        modern: layers as ModernBERT's: a feed-forward with a gate, which is one product more; no
            biases; no table of positions.
        key_value_heads: those of keys and values, which the heads share evenly; None: as many.
        tied: the output projection is the token embeddings, behind a dense layer; else it is a matrix
            of its own and the whole MLM head (EuroBERT's), and the embeddings have no norm.
        window, global_every: the layers 1, n + 1, 2 n + 1, ... attend to all tokens, the others to a
            window of so many.

    Raises:
        InputError: a size is below 1 or absurdly large, or the heads do not divide the width.
    """

    layers: int
    width: int
    ffn: int
    heads: int
    vocabulary: int
    modern: bool = False
    key_value_heads: int | None = None
    tied: bool = True
    window: int | None = None
    global_every: int = 1

    @classmethod
    def of(
        cls, settings: Mapping[str, Any], vocabulary: int, *, modern: bool, tied: bool
    ) -> "Shape":
        """Of a model with these settings, by the names that its options have."""
        return cls(
            settings["encoder_layers"],
            settings["encoder_embed_dim"],
            settings["encoder_ffn_embed_dim"],
            settings["encoder_attention_heads"],
            vocabulary,
            modern,
            settings.get("encoder_key_value_heads"),
            tied,
            settings.get("local_attention"),
            settings.get("global_every") or 1,
        )

    def __post_init__(self):
        for name, size in dataclasses.asdict(self).items():
            if type(size) is bool or size is None:
                continue
            if size < 1:
                raise InputError(f"{name} is {size}: a model needs at least 1")
            if size > (most := MOST_LAYERS if name == "layers" else MOST):
                raise InputError(f"{name} is {size}: more than {most:,} are not computed")
        if self.width % self.heads:
            raise InputError(f"width {self.width} cannot be split over {self.heads} heads evenly")
        if self.key_value_heads and self.heads % self.key_value_heads:
            raise InputError(
                f"{self.heads} heads cannot share {self.key_value_heads} of keys and values evenly"
            )

    @property
    def keys(self) -> int:
        """The width of keys and of values, k."""
        return self.width * (self.key_value_heads or self.heads) // self.heads

    def attended(self, layer: int, length: float, in_blocks: bool = True) -> float:
        """How many scores are computed for each token of a sequence in a layer, from 1.

        Args:
            length: of the sequence.
            in_blocks: whether the layer computes all its tokens, which local attention needs.
        """
        side = self.window // 2 if self.window and (layer - 1) % self.global_every else 0
        if not side or length <= 4 * side or not in_blocks:
            return length
        return math.ceil(length / side) * side / length * 3 * side  # the last block is filled up

    @property
    def dense_for_tokens(self) -> bool:
        """Whether heads of tags and spans have a dense layer, as ModernBERT's do."""
        return self.modern and self.tied

    def truncate(self, depth: int) -> "Shape":
        """The mini-model: the bottom `depth` layers, everything else the same."""
        if not 1 <= depth <= self.layers:
            raise InputError(f"depth {depth} is not between 1 and the {self.layers} layers")
        return dataclasses.replace(self, layers=depth)


@dataclass(frozen=True)
class Flops:
    """FLOPs of one pass. `forward` alone is the cost of an evaluation, `total` of a training step."""

    forward: float = 0.0
    activation_gradients: float = 0.0
    weight_gradients: float = 0.0

    @property
    def total(self) -> float:
        return self.forward + self.activation_gradients + self.weight_gradients

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(
            self.forward + other.forward,
            self.activation_gradients + other.activation_gradients,
            self.weight_gradients + other.weight_gradients,
        )


def masked_lm_flops(
    shape: Shape,
    tokens: float,
    sequence_length: float,
    *,
    freeze: str = "none",
    auxiliary_head_layers: Sequence[int] = (),
    masked_fraction: float = 0.15,
    predictions_only: bool = False,
) -> Flops:
    """FLOPs of masked language modelling over `tokens` tokens in sequences of `sequence_length`.

    Linear in `tokens`: 1 gives the cost per token, the sum over a training log the cost of the run.

    Args:
        shape: of the layers that run; `shape.truncate(4)` for adaptation at depth 4.
        tokens: all positions computed, padding included (batch x sequence length).
        sequence_length: T, the length that a token attends over.
        freeze: what is not trained, as in the model's option of this name.
            none - pretraining: all weights get gradients.
            language - the embedding matrix gets none, position embeddings and body do.
            body - adaptation: gradients flow through every layer down to the embeddings; the tied
                matrix is the only product with a weight gradient.
            bottom:N - MiniPost step 1b: all embeddings and the bottom N layers get none, the layers
                above and every head do, so the backward pass ends at the inputs of layer N + 1.
                With "-head" the heads get none either.
        auxiliary_head_layers: MLM heads besides the last layer's, each after this layer (1-based).
            All heads read one pass of the body.
        masked_fraction: share of `tokens` that the heads predict.
        predictions_only: the last layer computes keys and values for every token, and everything
            else for the predicted ones alone, as the frozen body of `nn/frozen_body.py` does. The
            loss and its gradients are the same. Only with one head.

    Raises:
        InputError: a value is outside its range.
    """
    if not 0 <= masked_fraction <= 1:
        raise InputError(f"masked fraction {masked_fraction} is not between 0 and 1")
    for layer in auxiliary_head_layers:
        if not 1 <= layer < shape.layers:
            raise InputError(
                f"an auxiliary head after layer {layer} does not fit a model of {shape.layers} "
                "layers: it must stand below the last one"
            )
    trained = Trained.parse(freeze, shape.layers)
    if predictions_only and auxiliary_head_layers:
        raise InputError("with auxiliary heads, the last layer's predictions are not all there is")
    top = masked_fraction * tokens if predictions_only else tokens
    flops = _body(shape, tokens, sequence_length, trained, top)
    masked, d = masked_fraction * tokens, shape.width
    for layer in (*auxiliary_head_layers, shape.layers):
        below = trained.input_of_head_needs_gradient(layer, shape.modern)
        if shape.tied:
            flops += _linear(masked, d, d, below, trained.heads)
        inside = below or trained.heads  # not where the output bias alone is trained
        flops += _linear(masked, d, shape.vocabulary, inside, trained.language)
    return flops


def classification_flops(
    shape: Shape,
    tokens: float,
    sequence_length: float,
    *,
    classes: int,
    freeze: str = "language",
    read: float | None = None,
    wanted: float | None = None,
) -> Flops:
    """FLOPs of a sentence classifier, over `tokens` tokens in sequences of `sequence_length`.

    `total` is fine-tuning, `forward` evaluation. Arguments and errors as in `masked_lm_flops`; the
    classifier (dense layer of the model's width, then the projection to `classes`) is trained
    whatever is frozen.

    Args:
        read: vectors that it reads (None: one of each sequence, that of <s> or a mean); where its
            outputs are pooled, every position.
        wanted: tokens whose last hidden states are needed (None: all), where the last layer computes
            no others (as `predictions_only` there); of <s> alone, one of each sequence.
    """
    if classes < 1:
        raise InputError(f"{classes} classes: a classifier needs at least 1")
    trained = Trained.parse(freeze, shape.layers)
    flops = _body(shape, tokens, sequence_length, trained, wanted)
    read = tokens / sequence_length if read is None else read
    below = trained.input_of_head_needs_gradient(shape.layers, shape.modern)
    flops += _linear(read, shape.width, shape.width, below, True)
    flops += _linear(read, shape.width, classes, True, True)
    return flops


def token_flops(
    shape: Shape,
    tokens: float,
    sequence_length: float,
    *,
    outputs: int,
    freeze: str = "language",
    read: float | None = None,
) -> Flops:
    """FLOPs of scoring every token, over `tokens` tokens in sequences of `sequence_length`.

    The head is one projection from every token: to two scores, for the start and the end of a span
    (Devlin et al. 2019, arXiv 1810.04805, section 4.2), or to one for each tag (section 5.3); over a
    ModernBERT after a dense layer. It is trained whatever is frozen. `total` is fine-tuning, `forward`
    evaluation. Arguments and errors as in `masked_lm_flops`.

    Args:
        read: positions that the head scores (None: `tokens`); padding too, where the body computes
            none.
    """
    if outputs < 1:
        raise InputError(f"{outputs} outputs: a head needs at least 1")
    trained = Trained.parse(freeze, shape.layers)
    flops = _body(shape, tokens, sequence_length, trained)
    below = trained.input_of_head_needs_gradient(shape.layers, shape.modern)
    read = tokens if read is None else read
    if shape.dense_for_tokens:
        flops += _linear(read, shape.width, shape.width, below, True)
    return flops + _linear(read, shape.width, outputs, below or shape.dense_for_tokens, True)


span_flops = partial(token_flops, outputs=2)


def sentence_vector_flops(
    shape: Shape,
    tokens: float,
    sequence_length: float,
    *,
    freeze: str = "body",
    pooled: float | None = None,
) -> Flops:
    """FLOPs of sentence vectors, over `tokens` tokens in sequences of `sequence_length`.

    `total` is training, where the gradients end at the embeddings; a look-up is not counted.
    Arguments and errors as in `masked_lm_flops`.

    Args:
        pooled: tokens whose last hidden states are pooled (None: all), where the last layer computes no
            others (as `predictions_only` there).
    """
    return _body(shape, tokens, sequence_length, Trained.parse(freeze, shape.layers), pooled)


def adam_operations(parameters: float, *, weight_decay: bool = True) -> float:
    """Elementwise operations of one step of Adam over so many trained parameters.

    Each addition, multiplication, division and square root counts as one. A parameter takes 3 for
    the mean of its gradients, 4 for the mean of their squares, 2 for the denominator, 3 for the
    step, and 2 for decoupled weight decay (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1;
    Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2). The corrections of the bias are a few
    scalars for all parameters.

    No part of any `Flops`: these operations are limited by memory, not by arithmetic, and a peak
    rate of matrix products says nothing about their time.
    """
    return parameters * (12 + 2 * weight_decay)


@dataclass(frozen=True)
class Trained:
    """What `freeze` means: what is trained, and where gradients flow."""

    language: bool  # the tied matrix
    embeddings: bool  # anything that is added into the first layer's input
    positions: bool  # position embeddings and the embeddings' layer norm
    frozen_layers: int  # from the bottom
    heads: bool  # dense layers of the MLM heads

    @classmethod
    def parse(cls, freeze: str, layers: int) -> "Trained":
        kind, bottom, _, head_is_trained = parse_freeze(freeze, layers)
        if kind == BOTTOM:  # a bias has no matrix product
            return cls(False, False, False, frozen_layers=bottom, heads=head_is_trained)
        if kind == LANGUAGE:  # the position embeddings are the body's, and are trained
            return cls(False, True, True, frozen_layers=0, heads=True)
        if kind == BODY:
            return cls(True, True, False, frozen_layers=layers, heads=False)
        return cls(True, True, True, frozen_layers=0, heads=True)

    def is_trained(self, layer: int) -> bool:
        return layer > self.frozen_layers

    def final_norm(self, layers: int) -> bool:
        """Whether the LayerNorm after the last of so many layers is trained, where there is one."""
        return self.heads or self.frozen_layers < layers

    def output_needs_gradient(self, layer: int) -> bool:
        """After `layer` (1-based; 0: the embeddings), is there anything trained at or below it?"""
        return self.embeddings or layer > self.frozen_layers

    def input_of_head_needs_gradient(self, layer: int, modern: bool) -> bool:
        """The same of what a head after `layer` reads, which in a modern model a LayerNorm gives it."""
        return self.output_needs_gradient(layer) or (modern and self.heads)


def _body(
    shape: Shape, tokens: float, sequence_length: float, trained: Trained, top: float | None = None
) -> Flops:
    """FLOPs of all layers; of the last one's output only `top` tokens are needed (None: all)."""
    if tokens < 0 or sequence_length < 1:
        raise InputError(f"{tokens} tokens in sequences of {sequence_length} cannot be counted")
    d, flops = shape.width, Flops()
    for layer in range(1, shape.layers + 1):
        outputs = tokens if layer < shape.layers or top is None else top
        is_trained = trained.is_trained(layer)
        # Without a gradient below (the lowest trained layer of bottom:N), only the query, key and
        # value projections are spared: what comes after them depends on trained weights.
        below = trained.output_needs_gradient(layer - 1)
        has_norm = shape.modern and (layer > 1 or not shape.tied)
        below = below or (has_norm and is_trained)  # a trained norm comes first
        inside = trained.output_needs_gradient(layer)
        flops += _linear(outputs, d, d, below, is_trained)  # query
        flops += _linear(tokens, d, 2 * shape.keys, below, is_trained)  # key, value
        keys = shape.attended(layer, sequence_length, outputs == tokens)
        flops += _attention(outputs, keys, d, inside)
        flops += _linear(outputs, d, d, inside, is_trained)  # attention output
        flops += _linear(outputs, d, shape.ffn * (1 + shape.modern), inside, is_trained)
        flops += _linear(outputs, shape.ffn, d, inside, is_trained)
    return flops


def _linear(
    positions: float, inputs: int, outputs: int, input_gradient: bool, weight_gradient: bool
) -> Flops:
    product = 2.0 * positions * inputs * outputs
    return Flops(product, product * input_gradient, product * weight_gradient)


def _attention(tokens: float, keys: float, width: int, gradient: bool) -> Flops:
    # Queries x keys and weights x values; either factor of both needs its gradient.
    products = 2 * 2.0 * tokens * keys * width
    return Flops(products, 2 * products * gradient, 0.0)
