"""The encoders of ModernBERT (Warner et al. 2024, arXiv 2412.13663, section 2.1) and EuroBERT (Boizard
et al. 2025, arXiv 2503.05500, section 2.1), in plain PyTorch.

What differs from RoBERTa's: norms stand before attention and feed-forward (Xiong et al. 2020, arXiv
2002.04745), so that the sum that runs through the layers is normalised only at its end; queries and
keys are rotated by their positions (RoPE: Su et al. 2021, arXiv 2104.09864), and there is no table of
positions; the feed-forward has a gate (GeGLU, SwiGLU: Shazeer 2020, arXiv 2002.05202); and nothing but
the output of ModernBERT's MLM head has a bias.

In ModernBERT most layers look at a window around each token alone, and the embeddings have a norm. In
EuroBERT norms are RMSNorms (Zhang and Sennrich 2019, arXiv 1910.07467), and several heads of queries
may share one of keys and values (Ainslie et al. 2023, arXiv 2305.13245).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from .dropout import add_dropout, dropout
from .frozen_body import DropoutRates
from .local_attention import Blocks

SHORT = 4  # times as far as a window reaches to one side


@dataclass(frozen=True)
class Sizes:
    """What decides about the form of a body.

    Attributes:
        layers, width, ffn, heads: how many layers; their width d; that of the feed-forward f; attention
            heads, which divide the width into even parts.
        key_value_heads: those of keys and values, which divide the heads into groups.
        global_every: the layers 0, n, 2 n, ... attend to all tokens (n = 1: all layers).
        window: the others, to so many around each token: to those at a distance up to half of it; None:
            there are no others.
        global_theta, local_theta: the base of the wavelengths of RoPE, in these and those layers.
        rms: norms are RMSNorms, not LayerNorms without a bias.
        embedding_norm: the embeddings have a norm, and the first layer reads them without its own.
    """

    layers: int
    width: int
    ffn: int
    heads: int
    key_value_heads: int
    global_every: int
    window: int | None
    global_theta: float
    local_theta: float
    rms: bool
    embedding_norm: bool

    def norm(self) -> nn.Module:
        """One of the norms of the body."""
        return nn.RMSNorm(self.width) if self.rms else nn.LayerNorm(self.width, bias=False)

    def is_global(self, layer: int) -> bool:
        """Whether a layer, counted from 0, attends to all tokens."""
        return layer % self.global_every == 0


@dataclass(frozen=True)
class Reach:
    """What a token of a batch attends to, and where the tokens stand.

    Attributes:
        real: batch x length, false at padding.
        side: how far a token attends to either side; None: to all.
        cosine, sine: of the angles of RoPE, length x width of a head, in float32.
    """

    real: Tensor
    side: int | None
    cosine: Tensor
    sine: Tensor

    @classmethod
    def of(cls, real: Tensor, window: int | None, theta: float, head_width: int) -> "Reach":
        """Of a batch.

        Args:
            real: batch x length, false at padding.
            window: as in `Sizes`; None: no window.
        """
        places = torch.arange(real.size(1), device=real.device)
        angles = rotary_angles(places, theta, head_width)
        side = None if window is None or len(places) <= window // 2 + 1 else window // 2
        return cls(real, side, angles.cos(), angles.sin())

    @cached_property
    def mask(self) -> Tensor | None:
        """True where there is attention, broadcast to batch x heads x queries x keys; None: all."""
        mask = None if self.real.all() else self.real[:, None, None, :]
        if mask is None and self.side is None:
            return None
        places = torch.arange(self.real.size(1), device=self.real.device)
        distances = (places[:, None] - places).abs()
        if self.side is not None:
            near = distances <= self.side
            mask = near if mask is None else mask & near
        return mask | (distances == 0)  # padding: over nothing, softmax is not a number

    @cached_property
    def blocks(self) -> Blocks | None:
        """In which attention is computed; None: in one piece, which is quicker for short sequences."""
        if not self.side or self.real.size(1) <= SHORT * self.side:
            return None
        return Blocks.of(self.real, self.side)

    def rotate(self, x: Tensor) -> Tensor:
        """Queries or keys, batch x heads x length x width of a head, turned by their positions."""
        return turn(x, self.cosine, self.sine)


def reaches(sizes: Sizes, real: Tensor) -> tuple[Reach, Reach]:
    """What the tokens of a batch reach in layers that attend to all tokens, and in the others.

    Args:
        real: batch x length, false at padding.
    """
    head_width = sizes.width // sizes.heads
    everywhere = Reach.of(real, None, sizes.global_theta, head_width)
    if sizes.window is None:
        return everywhere, everywhere
    return everywhere, Reach.of(real, sizes.window, sizes.local_theta, head_width)


def rotary_angles(places: Tensor, theta: float, head_width: int) -> Tensor:
    """The angles of RoPE at some positions, positions x width of a head, in float32.

    They are computed anew in each pass, as a buffer would lose its precision in a model of 16 bits.
    """
    steps = torch.arange(0, head_width, 2, dtype=torch.float, device=places.device) / head_width
    return torch.outer(places.float(), theta**-steps).repeat(1, 2)


def turn(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Vectors of heads, turned; the dimensions i and i + width / 2 are the two of a plane."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    first, second = wide.chunk(2, dim=-1)
    return (wide * cosine + torch.cat([-second, first], dim=-1) * sine).to(x.dtype)


def share_heads(x: Tensor, group: int) -> Tensor:
    """Keys or values, batch x heads x length x width, each head as many times as heads share it."""
    return x if group == 1 else x.repeat_interleave(group, dim=1)


class SelfAttention(nn.Module):
    """Attention of several heads within a sequence."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, self.head_width = sizes.width, sizes.width // sizes.heads
        self.group = sizes.heads // sizes.key_value_heads  # heads of queries that share keys
        keys = sizes.key_value_heads * self.head_width
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(width, outputs, bias=False) for outputs in (width, keys, keys, width)
        )

    def forward(self, x: Tensor, reach: Reach, rate: float) -> Tensor:
        """x: batch x length x width; rate: of dropout on the weights."""
        query, key, value = (
            projection(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = reach.rotate(query), reach.rotate(key)
        key, value = (share_heads(one, self.group) for one in (key, value))
        blocks = reach.blocks
        if blocks:
            query, key, value = blocks.split(query), blocks.around(key), blocks.around(value)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, blocks.mask if blocks else reach.mask, dropout_p=rate
        )
        if blocks:
            mixed = blocks.join(mixed)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class ModernLayer(nn.Module):
    """x + attention(norm(x)), then the same with the gated feed-forward, W2 (act(W1 x) * V x)."""

    def __init__(self, sizes: Sizes, layer: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        width, ffn = sizes.width, sizes.ffn
        self.activation = activation
        self.self_attn = SelfAttention(sizes)
        is_normed = sizes.embedding_norm and layer == 0  # what it reads comes from a norm
        self.self_attn_layer_norm = None if is_normed else sizes.norm()
        self.fc1, self.gate = (nn.Linear(width, ffn, bias=False) for _ in range(2))
        self.fc2 = nn.Linear(ffn, width, bias=False)
        self.final_layer_norm = sizes.norm()

    def forward(self, x: Tensor, reach: Reach, rates: DropoutRates) -> Tensor:
        """x: batch x length x width."""
        normed = x if self.self_attn_layer_norm is None else self.self_attn_layer_norm(x)
        x = add_dropout(x, self.self_attn(normed, reach, rates.attention), rates.hidden)
        normed = self.final_layer_norm(x)
        inner = dropout(self.activation(self.fc1(normed)) * self.gate(normed), rates.activation)
        return add_dropout(x, self.fc2(inner), rates.hidden)


class ModernBody(nn.Module):
    """Token embeddings, layers, and the norms before and after them.

    Args:
        embed_tokens: of the model, with its padding index.
        rates: of dropout, in training.
        activation: of the feed-forward.
    """

    def __init__(
        self,
        sizes: Sizes,
        embed_tokens: nn.Embedding,
        rates: DropoutRates,
        activation: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.sizes, self.rates = sizes, rates
        self.padding_idx = embed_tokens.padding_idx
        self.embed_tokens = embed_tokens
        self.layernorm_embedding = sizes.norm() if sizes.embedding_norm else None
        self.layers = nn.ModuleList(
            ModernLayer(sizes, layer, activation) for layer in range(sizes.layers)
        )
        self.layer_norm = sizes.norm()

    @property
    def num_layers(self) -> int:
        return self.sizes.layers

    def hidden_states(self, tokens: Tensor, token_embeddings: Tensor | None = None) -> list[Tensor]:
        """Hidden states after the embeddings and after each layer, each batch x length x width.

        Those of the last layer have been through the last norm, as in transformers; those below
        are the plain sums. At padding they mean nothing.

        Args:
            tokens: ids, batch x length.
            token_embeddings: read in the place of the model's own (batch x length x width).
        """
        sizes, rates = self.sizes, self.rates if self.training else DropoutRates()
        everywhere, around = reaches(sizes, tokens.ne(self.padding_idx))
        x = self.embed_tokens(tokens) if token_embeddings is None else token_embeddings
        x = x if self.layernorm_embedding is None else self.layernorm_embedding(x)
        x = dropout(x, rates.hidden)
        states = [x]
        for number, layer in enumerate(self.layers):
            x = layer(x, everywhere if sizes.is_global(number) else around, rates)
            states.append(x)
        return [*states[:-1], self.layer_norm(x)]
