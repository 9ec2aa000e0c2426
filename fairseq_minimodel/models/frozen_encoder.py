"""Runs fairseq's encoder through the frozen body of `nn/frozen_body.py`."""

from collections.abc import Callable
from typing import TypeVar

import torch
from fairseq import utils
from fairseq.models.roberta.model import RobertaLMHead
from fairseq.models.transformer import TransformerEncoder
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional

from ..bodies.family import MODERNBERT, ROBERTA
from ..nn.frozen_body import Affine, DropoutRates, FrozenBody, Layer
from ..nn.frozen_modern_body import FrozenModernBody, FrozenModernLayer
from ..nn.modern_body import ModernBody, Sizes
from ..nn.tied_embedding import tied_embedding

# of fairseq's layer, in the order of `Layer.prepare`
LAYER_PARTS = tuple(module.here for module in ROBERTA.layer)
# of a ModernBERT's, in that of `FrozenModernLayer.prepare`
MODERN_LAYER_PARTS = tuple(
    module.here for module in MODERNBERT.layer if module.here not in MODERNBERT.first_lacks
)


Part = TypeVar("Part")


class FrozenEncoder:
    """The encoder of a model of which the language side, or upper layers and the head, are trained.

    The weights stay where they are, in the modules of the model. What is prepared from frozen ones is
    kept, and prepared again when they have changed: after a checkpoint was loaded, on another device.
    What is prepared from others belongs to one pass.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.bfloat16 = cfg.body_precision == "bfloat16"
        self.rates = DropoutRates(cfg.dropout, cfg.attention_dropout, cfg.activation_dropout)
        # fairseq's own converts to float32 and back
        gelu = cfg.activation_fn == "gelu"
        self.activation = functional.gelu if gelu else utils.get_activation_fn(cfg.activation_fn)
        self.heads = cfg.encoder_attention_heads
        # what is kept of each part, and of which weights it was prepared
        self.kept: dict[str, tuple[list[tuple[int, int]], object]] = {}

    def __call__(
        self, encoder: TransformerEncoder, head: RobertaLMHead, tokens: Tensor, predicted: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """What the MLM head projects for the predicted positions, and the matrix to do it with.

        Args:
            encoder, head: of the model.
            tokens: ids, batch x length.
            predicted: batch x length, true where a prediction is wanted.

        Returns: predictions x width and vocabulary x width; None if predictions are wanted at
            padding, as fairseq's `masked_lm` does for a batch without masked tokens.
        """
        real = tokens.ne(encoder.padding_idx)
        if (predicted & ~real).any():
            return None
        rows, matrix = tied_embedding(encoder.embed_tokens.weight, tokens[real])
        rates = self.rates if encoder.training else DropoutRates()
        with torch.autocast(tokens.device.type, enabled=False):
            return self._body(encoder, head)(rows, real, predicted, rates), matrix

    def hidden_states(
        self, encoder: TransformerEncoder, head: RobertaLMHead, tokens: Tensor, wanted: Tensor
    ) -> Tensor:
        """The last hidden states of the wanted positions (batch x length), as a list of them.

        Arguments as in a call, with `wanted` for `predicted`; none is at padding.
        """
        real = tokens.ne(encoder.padding_idx)
        rows = functional.embedding(tokens[real], encoder.embed_tokens.weight)
        rates = self.rates if encoder.training else DropoutRates()
        with torch.autocast(tokens.device.type, enabled=False):
            return self._body(encoder, head).hidden_states(rows, real, wanted, rates)

    def _body(self, encoder: TransformerEncoder, head: RobertaLMHead) -> FrozenBody:
        return FrozenBody(
            positions=self._once("positions", encoder.embed_positions, self._positions),
            embedding_norm=self._once("norm", encoder.layernorm_embedding, self._affine),
            layers=[
                self._once(f"layer {number}", layer, self._layer)
                for number, layer in enumerate(encoder.layers)
            ],
            head_dense=self._once("head", head.dense, self._affine),
            head_norm=self._once("head norm", head.layer_norm, self._affine),
            heads=self.heads,
            activation=self.activation,
        )

    def _once(self, name: str, module: nn.Module, prepare: Callable[[nn.Module], Part]) -> Part:
        """What is prepared from a module: what is kept, if its weights are frozen and the same."""
        weights = list(module.parameters())
        if any(weight.requires_grad for weight in weights):
            return prepare(module)
        signature = [(weight.data_ptr(), weight._version) for weight in weights]
        if name not in self.kept or self.kept[name][0] != signature:
            self.kept[name] = signature, prepare(module)
        return self.kept[name][1]

    def _positions(self, module: nn.Embedding) -> Tensor:
        # rows up to the padding's do not belong to positions
        return module.weight[module.padding_idx + 1 :].to(self._type(module))

    def _affine(self, module: nn.Linear | nn.LayerNorm) -> Affine:
        return _affine(module).to(self._type(module))

    def _layer(self, module: nn.Module) -> Layer:
        parts = (_affine(module.get_submodule(name)) for name in LAYER_PARTS)
        return Layer.prepare(*parts, heads=self.heads, dtype=self._type(module))

    def _type(self, module: nn.Module) -> torch.dtype:
        return torch.bfloat16 if self.bfloat16 else next(module.parameters()).dtype


class FrozenModernEncoder(FrozenEncoder):
    """The same of a ModernBERT's, through the frozen body of `nn/frozen_modern_body.py`."""

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        self.sizes = sizes_of(cfg)

    def _body(self, encoder: ModernBody, head: RobertaLMHead) -> FrozenModernBody:
        return FrozenModernBody(
            sizes=self.sizes,
            embedding_norm=self._once("norm", encoder.layernorm_embedding, self._affine),
            layers=[
                self._once(f"layer {number}", layer, self._layer)
                for number, layer in enumerate(encoder.layers)
            ],
            final_norm=self._once("final norm", encoder.layer_norm, self._affine),
            head_dense=self._once("head", head.dense, self._affine),
            head_norm=self._once("head norm", head.layer_norm, self._affine),
            activation=self.activation,
        )

    def _layer(self, module: nn.Module) -> FrozenModernLayer:
        first = module.self_attn_layer_norm  # which the first layer lacks
        parts = (_affine(module.get_submodule(name)) for name in MODERN_LAYER_PARTS)
        norm = None if first is None else _affine(first)
        return FrozenModernLayer.prepare(norm, *parts, heads=self.heads, dtype=self._type(module))


def sizes_of(cfg: DictConfig) -> Sizes:
    """The form of a ModernBERT's body."""
    return Sizes(
        layers=cfg.encoder_layers,
        width=cfg.encoder_embed_dim,
        ffn=cfg.encoder_ffn_embed_dim,
        heads=cfg.encoder_attention_heads,
        global_every=cfg.global_every,
        window=cfg.local_attention,
        global_theta=cfg.global_rope_theta,
        local_theta=cfg.local_rope_theta,
    )


def _affine(module: nn.Linear | nn.LayerNorm) -> Affine:
    if isinstance(module, nn.Linear):
        return Affine(module.weight, module.bias)
    return Affine(module.weight, module.bias, module.eps)
