"""A transformer encoder of which all, the bottom or nothing is frozen: to train what is not on masked
words or sentence vectors, and all of it below the head of a task.

The mathematics is that of a RoBERTa encoder: post-norm layers, learned positions, dropout. Weights that
never change are converted and rearranged ahead of time, the others in each pass; and as not all
positions are predicted, or read by a head, three things are not computed at all:

- no gradient of a frozen weight, and no copy of an activation kept for one; where nothing below is
  trained (MiniPost's step 1b), no gradient at all;
- nothing for padding but its attention scores: the batch is a list of tokens without gaps;
- in the last layer, for positions that nobody wants, nothing but keys and values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .dropout import add_dropout, dropout
from .local_attention import Blocks


@dataclass(frozen=True)
class Affine:
    """Weight (outputs x inputs; width, for a layer norm) and bias, if any; eps of a layer norm."""

    weight: Tensor
    bias: Tensor | None = None
    eps: float = 1e-5

    def to(self, dtype: torch.dtype) -> "Affine":
        bias = None if self.bias is None else self.bias.to(dtype)
        return Affine(self.weight.to(dtype), bias, self.eps)

    def linear(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)

    def layer_norm(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class Layer:
    """The weights of a post-norm transformer layer; query, key and value in one matrix."""

    query_key_value: Affine
    attention_output: Affine
    attention_norm: Affine
    ffn_input: Affine
    ffn_output: Affine
    ffn_norm: Affine

    @classmethod
    def prepare(
        cls,
        query: Affine,
        key: Affine,
        value: Affine,
        *others: Affine,
        heads: int,
        dtype: torch.dtype,
    ) -> "Layer":
        """Join the projections, the scale of attention scores included, and convert everything.

        Gradients flow through, to the weights that want them.
        """
        scale = (len(query.bias) // heads) ** -0.5
        joined = Affine(
            torch.cat([query.weight * scale, key.weight, value.weight]),
            torch.cat([query.bias * scale, key.bias, value.bias]),
        )
        return cls(joined.to(dtype), *(other.to(dtype) for other in others))


@dataclass(frozen=True)
class DropoutRates:
    """Probabilities for hidden states, attention weights, and the activation of the feed-forward."""

    hidden: float = 0.0
    attention: float = 0.0
    activation: float = 0.0


@dataclass(frozen=True)
class FrozenBody:
    """The layers of an encoder and one MLM head, all of the type that computation is to have.

    Attributes:
        positions: position embeddings, row i for position i of a sequence.
        embedding_norm: of the sum of token and position embedding.
        layers: from the bottom.
        head_dense, head_norm: of the MLM head, before the projection to the vocabulary.
        heads: attention heads.
        activation: of the feed-forward and the head.
    """

    positions: Tensor
    embedding_norm: Affine
    layers: Sequence[Layer]
    head_dense: Affine
    head_norm: Affine
    heads: int
    activation: Callable[[Tensor], Tensor]

    def __call__(
        self, rows: Tensor, real: Tensor, predicted: Tensor, rates: DropoutRates
    ) -> Tensor:
        """What the MLM head projects to the vocabulary, for the predicted positions.

        Args:
            rows: token embeddings of the real positions, a list of vectors of the model's width.
            real: batch x length, false at padding, which is at the right.
            predicted: batch x length, true where a prediction is wanted, at real positions only.
            rates: of dropout; all 0 in evaluation.

        Returns: predictions x width, in the order of `tokens[predicted]`.
        """
        x = self.hidden_states(rows, real, predicted, rates)
        return self.head_norm.layer_norm(self.activation(self.head_dense.linear(x)))

    def hidden_states(
        self, rows: Tensor, real: Tensor, wanted: Tensor, rates: DropoutRates
    ) -> Tensor:
        """The last hidden states of the wanted positions, as a list of them (wanted x width).

        Arguments as in a call, with `wanted` for `predicted`.
        """
        keys = Grid.of(real)
        x = self._embed(rows, real, rates)
        for layer in self.layers[:-1]:
            query, key, value = layer.query_key_value.linear(x).chunk(3, dim=-1)
            attended = self._attend(query, keys, key, value, keys, rates)
            x = self._finish(layer, x, attended, rates)
        return self._last_layer(x, keys, Grid.of(wanted), wanted[real], rates)

    def _embed(self, rows: Tensor, real: Tensor, rates: DropoutRates) -> Tensor:
        x = rows.to(self.positions.dtype) + self.positions[real.nonzero()[:, 1]]
        return dropout(self.embedding_norm.layer_norm(x), rates.hidden)

    def _last_layer(
        self, x: Tensor, keys: "Grid", queries: "Grid", predicted: Tensor, rates: DropoutRates
    ) -> Tensor:
        layer, width = self.layers[-1], x.shape[1]
        weight, bias = layer.query_key_value.weight, layer.query_key_value.bias
        key, value = functional.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
        x = x[predicted]
        query = functional.linear(x, weight[:width], bias[:width])
        return self._finish(layer, x, self._attend(query, queries, key, value, keys, rates), rates)

    def _attend(
        self,
        query: Tensor,
        queries: "Grid",
        key: Tensor,
        value: Tensor,
        keys: "Grid",
        rates: DropoutRates,
    ) -> Tensor:
        lists = query, key, value
        return attend(*lists, queries, keys, self.heads, keys.gaps, rates.attention)

    def _finish(self, layer: Layer, x: Tensor, attended: Tensor, rates: DropoutRates) -> Tensor:
        """Everything of a layer after its attention."""
        attended = layer.attention_output.linear(attended)
        x = layer.attention_norm.layer_norm(add_dropout(x, attended, rates.hidden))
        inner = dropout(self.activation(layer.ffn_input.linear(x)), rates.activation)
        outer = layer.ffn_output.linear(inner)
        return layer.ffn_norm.layer_norm(add_dropout(x, outer, rates.hidden))


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    queries: "Grid",
    keys: "Grid",
    heads: int,
    hidden: Tensor | None,
    rate: float,
    blocks: Blocks | None = None,
) -> Tensor:
    """Dot-product attention within each sequence; lists of tokens in, a list out.

    Args:
        query: scaled, the others as they are, each elements x width; where keys and values have fewer
            heads, theirs is less.
        queries, keys: where the elements of the lists stand.
        hidden: true where there is no attention, broadcast to sequences x heads x queries x keys; None:
            nowhere.
        rate: of dropout on the weights.
        blocks: in which it is computed, and which say where there is attention; the queries are those
            of all tokens then. None: in one piece.
    """

    width = query.shape[1] // heads

    def split_heads(x: Tensor) -> Tensor:
        """sequences x length x width to sequences x heads x length x rest, laid out for products."""
        parts = x.unflatten(-1, (-1, width)).transpose(1, 2)
        if parts.size(1) < heads:  # heads of queries share it (Ainslie et al. 2023)
            return parts.repeat_interleave(heads // parts.size(1), dim=1)
        return parts.contiguous()

    q = split_heads(queries.spread(query))
    k, v = (split_heads(keys.spread(tensor)) for tensor in (key, value))
    if blocks:
        q, k, v, hidden = blocks.split(q), blocks.around(k), blocks.around(v), ~blocks.mask
    if q.device.type == "cpu":
        # With dropout PyTorch's own falls back to these products, with two copies more; without,
        # it is as fast in float32 and three times slower in bfloat16.
        scores = q @ k.transpose(-1, -2)
        if hidden is not None:
            scores = scores.masked_fill(hidden, float("-inf"))
        mixed = dropout(scores.softmax(-1), rate) @ v
    else:
        mask = None if hidden is None else ~hidden
        mixed = functional.scaled_dot_product_attention(q, k, v, mask, dropout_p=rate, scale=1.0)
    if blocks:
        mixed = blocks.join(mixed)
    return queries.collect(mixed.transpose(1, 2).flatten(2))


@dataclass(frozen=True)
class Grid:
    """Where the elements of a list stand in a rectangle of sequences, at the left of each row."""

    sequences: int
    length: int
    places: Tensor | None  # in the flat rectangle, by element of the list; None: every place
    gaps: Tensor | None  # sequences x 1 x 1 x length, true where nothing stands; None: nowhere

    @classmethod
    def of(cls, chosen: Tensor) -> "Grid":
        """The chosen positions (batch x length) of each sequence, pushed to the left."""
        counts = chosen.sum(1)
        length = int(counts.max()) if len(counts) else 0
        gaps = torch.arange(length, device=chosen.device) >= counts.unsqueeze(1)
        if not gaps.any():
            return cls(len(chosen), length, None, None)
        places = (~gaps).flatten().nonzero().squeeze(1)
        return cls(len(chosen), length, places, gaps[:, None, None, :])

    def spread(self, x: Tensor) -> Tensor:
        """A list of vectors, elements x width, to sequences x length x width."""
        if self.places is not None:
            rectangle = x.new_zeros(self.sequences * self.length, x.shape[1])
            x = rectangle.index_copy(0, self.places, x)
        return x.unflatten(0, (self.sequences, self.length))

    def collect(self, x: Tensor) -> Tensor:
        """The inverse of `spread`."""
        x = x.flatten(0, 1)
        return x if self.places is None else x[self.places]
