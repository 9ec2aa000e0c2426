"""The encoder of a ModernBERT or EuroBERT of which all or the bottom is frozen.

As `frozen_body.py` has it of RoBERTa's.

The mathematics is that of `modern_body.py`; what is not computed is the same as there: gradients of
frozen weights, anything for padding but attention scores, and, in the last layer, anything but keys and
values for positions that are not predicted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .dropout import add_dropout, dropout
from .frozen_body import Affine, DropoutRates, Grid, attend
from .local_attention import Blocks
from .modern_body import Reach, Sizes, reaches, turn


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
        sizes, grid = self.sizes, Grid.of(real)
        both = reaches(sizes, real[:, : grid.length])
        everywhere, around = (
            _Listed.of(one, real[:, : grid.length], grid, one.blocks) for one in both
        )
        chosen, is_local = wanted[real], not sizes.is_global(len(self.layers) - 1)
        is_partial = not chosen.all()  # else the last layer is like the others, blocks and all
        last = _Listed.of(both[is_local], wanted[:, : grid.length], Grid.of(wanted))
        x = self._norm(self.embedding_norm, rows.to(self.final_norm.weight.dtype))
        x = dropout(x, rates.hidden)
        width = x.shape[1]
        keys = width * sizes.key_value_heads // sizes.heads
        for number, layer in enumerate(self.layers):
            at = everywhere if sizes.is_global(number) else around
            normed = self._norm(layer.attention_norm, x)
            if number + 1 < len(self.layers) or not is_partial:
                queries = at
                joined = layer.query_key_value.linear(normed)
                query, key, value = joined.split([width, keys, keys], dim=-1)
            else:
                queries, weight = last, layer.query_key_value.weight
                key, value = functional.linear(normed, weight[width:]).chunk(2, dim=-1)
                query, x = functional.linear(normed[chosen], weight[:width]), x[chosen]
            attended = attend(
                queries.rotate(query, sizes.heads), at.rotate(key, sizes.key_value_heads), value,
                queries.grid, at.grid, sizes.heads, queries.hidden, rates.attention,
                queries.blocks,
            )  # fmt: skip
            x = add_dropout(x, layer.attention_output.linear(attended), rates.hidden)
            inner, gate = layer.ffn_input.linear(self._norm(layer.ffn_norm, x)).chunk(2, dim=-1)
            inner = dropout(self.activation(inner) * gate, rates.activation)
            x = add_dropout(x, layer.ffn_output.linear(inner), rates.hidden)
        return self._norm(self.final_norm, x)


@dataclass(frozen=True)
class _Listed:
    """The `Reach` of the tokens of a list.

    Attributes:
        grid: where they stand in a rectangle.
        cosine, sine: of their angles, tokens x 1 x width of a head.
        hidden: true where there is no attention, sequences x 1 x tokens x length; None: nowhere, or
            the blocks say it.
        blocks: in which attention is computed; None: in one piece.
    """

    grid: Grid
    cosine: Tensor
    sine: Tensor
    hidden: Tensor | None
    blocks: Blocks | None

    @classmethod
    def of(
        cls, reach: Reach, chosen: Tensor, grid: Grid, blocks: Blocks | None = None
    ) -> "_Listed":
        """Of the chosen tokens of a batch (batch x length), which the grid is of."""
        hidden = None
        if not blocks and reach.mask is not None:
            rows = (~reach.mask).expand(len(chosen), 1, -1, -1)[:, 0][chosen]
            # Where no token stands nothing is hidden: over nothing, softmax is not a number.
            hidden = grid.spread(rows).unsqueeze(1)
        places = chosen.nonzero()[:, 1]
        return cls(grid, reach.cosine[places, None], reach.sine[places, None], hidden, blocks)

    def rotate(self, x: Tensor, heads: int) -> Tensor:
        """Queries or keys, tokens x width, turned by their positions."""
        return turn(x.unflatten(-1, (heads, -1)), self.cosine, self.sine).flatten(1)
