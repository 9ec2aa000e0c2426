"""The encoder of a ModernBERT or EuroBERT of which all or the bottom is frozen.

As `frozen_body.py` has it of RoBERTa's.

The mathematics is that of `modern_body.py`; what is not computed is the same as there: gradients of
frozen weights, anything for padding but attention scores, and, in the last layer, anything but keys and
values for positions that are not predicted. Scores outside of a window are computed and masked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .dropout import add_dropout, dropout
from .frozen_body import Affine, DropoutRates, Grid, attend
from .modern_body import Sizes, rotary_angles, turn


@dataclass(frozen=True)
class FrozenModernLayer:
    """The weights of a layer; query, key and value in one matrix, and so are the input and the gate.

    The first layer has no `attention_norm` where the embeddings have a norm.
    """

    attention_norm: Affine | None
    query_key_value: Affine
    attention_output: Affine
    ffn_input: Affine
    ffn_output: Affine
    ffn_norm: Affine

    @classmethod
    def prepare(
        cls,
        attention_norm: Affine | None,
        query: Affine,
        key: Affine,
        value: Affine,
        attention_output: Affine,
        ffn_input: Affine,
        gate: Affine,
        ffn_output: Affine,
        ffn_norm: Affine,
        *,
        heads: int,
        dtype: torch.dtype,
    ) -> "FrozenModernLayer":
        """Join the projections, the scale of attention scores included, and convert everything.

        Gradients flow through, to the weights that want them.
        """
        scale = (len(query.weight) // heads) ** -0.5
        joined = Affine(torch.cat([query.weight * scale, key.weight, value.weight]))
        inputs = Affine(torch.cat([ffn_input.weight, gate.weight]))
        others = (joined, attention_output, inputs, ffn_output, ffn_norm)
        norm = None if attention_norm is None else attention_norm.to(dtype)
        return cls(norm, *(other.to(dtype) for other in others))


@dataclass(frozen=True)
class FrozenModernBody:
    """The layers of an encoder and one MLM head, all of the type that computation is to have.

    Attributes:
        sizes: the form of the body.
        embedding_norm, final_norm: before the first and after the last layer; the one may be None.
        layers: from the bottom.
        head_dense, head_norm: of the MLM head, before the projection to the vocabulary; None: it is
            the projection alone.
        activation: of the feed-forward and the head.
    """

    sizes: Sizes
    embedding_norm: Affine | None
    layers: Sequence[FrozenModernLayer]
    final_norm: Affine
    head_dense: Affine | None
    head_norm: Affine | None
    activation: Callable[[Tensor], Tensor]

    def __call__(
        self, rows: Tensor, real: Tensor, predicted: Tensor, rates: DropoutRates
    ) -> Tensor:
        """What the MLM head projects to the vocabulary; arguments as in `FrozenBody`."""
        x = self.hidden_states(rows, real, predicted, rates)
        if self.head_dense is None:
            return x
        return self._norm(self.head_norm, self.activation(self.head_dense.linear(x)))

    def _norm(self, norm: Affine | None, x: Tensor) -> Tensor:
        if norm is None:
            return x
        if self.sizes.rms:
            return functional.rms_norm(x, norm.weight.shape, norm.weight, norm.eps)
        return norm.layer_norm(x)

    def hidden_states(
        self, rows: Tensor, real: Tensor, wanted: Tensor, rates: DropoutRates
    ) -> Tensor:
        """The last hidden states of the wanted positions; arguments as in `FrozenBody`."""
        tokens = _Tokens(Grid.of(real), real.nonzero()[:, 1])
        chosen = wanted[real]
        last = _Tokens(Grid.of(wanted), tokens.places[chosen])
        x = self._norm(self.embedding_norm, rows.to(self.final_norm.weight.dtype))
        x = dropout(x, rates.hidden)
        width = x.shape[1]
        keys = width * self.sizes.key_value_heads // self.sizes.heads
        for number, layer in enumerate(self.layers):
            normed = self._norm(layer.attention_norm, x)
            if number + 1 < len(self.layers):
                queries = tokens
                joined = layer.query_key_value.linear(normed)
                query, key, value = joined.split([width, keys, keys], dim=-1)
            else:
                queries, weight = last, layer.query_key_value.weight
                key, value = functional.linear(normed, weight[width:]).chunk(2, dim=-1)
                query, x = functional.linear(normed[chosen], weight[:width]), x[chosen]
            attended = self._attend(number, query, queries, key, value, tokens, rates)
            x = add_dropout(x, layer.attention_output.linear(attended), rates.hidden)
            inner, gate = layer.ffn_input.linear(self._norm(layer.ffn_norm, x)).chunk(2, dim=-1)
            inner = dropout(self.activation(inner) * gate, rates.activation)
            x = add_dropout(x, layer.ffn_output.linear(inner), rates.hidden)
        return self._norm(self.final_norm, x)

    def _attend(
        self,
        number: int,
        query: Tensor,
        queries: "_Tokens",
        key: Tensor,
        value: Tensor,
        keys: "_Tokens",
        rates: DropoutRates,
    ) -> Tensor:
        """Attention of the layer of this number, with queries and keys rotated."""
        sizes, is_global = self.sizes, self.sizes.is_global(number)
        theta = sizes.global_theta if is_global else sizes.local_theta
        query = queries.rotate(query, theta, sizes.heads)
        key = keys.rotate(key, theta, sizes.key_value_heads)
        hidden = keys.grid.gaps
        if not is_global and keys.grid.length > sizes.window // 2 + 1:
            far = queries.far(keys.grid.length, sizes.window // 2)
            hidden = far if hidden is None else far | hidden
        grids = queries.grid, keys.grid
        return attend(query, key, value, *grids, sizes.heads, hidden, rates.attention)


@dataclass(frozen=True)
class _Tokens:
    """Where the tokens of a list stand: in a rectangle, and, counted from 0, in their sequences."""

    grid: Grid
    places: Tensor

    def rotate(self, x: Tensor, theta: float, heads: int) -> Tensor:
        """Queries or keys, tokens x width, turned by their positions."""
        x = x.unflatten(-1, (heads, -1))
        angles = rotary_angles(self.places, theta, x.shape[-1]).unsqueeze(1)
        return turn(x, angles.cos(), angles.sin()).flatten(1)

    def far(self, length: int, distance: int) -> Tensor:
        """Which keys, at the positions 0 to `length`, are too far: sequences x 1 x tokens x length.

        Where no token stands, they are counted from 0, so that some are near: over nothing, softmax is
        not a number.
        """
        places = self.grid.spread(self.places.unsqueeze(1))
        far = (places - torch.arange(length, device=places.device)).abs() > distance
        return far.unsqueeze(1)
