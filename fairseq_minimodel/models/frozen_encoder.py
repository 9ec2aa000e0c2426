"""Runs fairseq's encoder through the frozen body of `nn/frozen_body.py`, in fine-tuning too."""

from collections.abc import Callable
from typing import TypeVar

import torch
from fairseq import utils
from fairseq.models.roberta.model import RobertaLMHead
from fairseq.models.transformer import TransformerEncoder
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional

from ..bodies.families import MODERNBERT, ROBERTA
from ..nn.frozen_body import Affine, DropoutRates, FrozenBody, Layer
from ..nn.frozen_modern_body import FrozenModernBody, FrozenModernLayer
from ..nn.lm_head import OutputProjection
from ..nn.modern_body import ModernBody
from ..nn.tied_embedding import tied_embedding

# of fairseq's layer, in the order of `Layer.prepare`
LAYER_PARTS = tuple(module.here for module in ROBERTA.layer)
# of a ModernBERT's or EuroBERT's, in that of `FrozenModernLayer.prepare`
MODERN_LAYER_PARTS = tuple(
    module.here for module in MODERNBERT.layer if module.here not in MODERNBERT.first_lacks
)


Part = TypeVar("Part")


class FrozenEncoder:
    """The encoder of a model, all or a part of it frozen, without what nobody reads.

    That is what would be computed for padding, and in the last layer for positions that no head reads.
    The weights stay where they are, in the modules of the model. What is prepared from frozen ones is
    kept, and prepared again when they have changed: after a checkpoint was loaded, on another device.
    What is prepared from others belongs to one pass.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.bfloat16 = cfg.body_precision == "bfloat16"
        self.rates = DropoutRates(cfg.dropout, cfg.attention_dropout, cfg.activation_dropout)
        # fairseq's own converts to float32 and back
        gelu = cfg.activation_fn == "gelu"
        self.activation = functional.gelu if gelu else activation_of(cfg.activation_fn)
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
        embedding, matrix = encoder.embed_tokens.weight, head.weight
        if matrix is embedding:
            rows, matrix = tied_embedding(embedding, tokens[real])
        else:
            rows = functional.embedding(tokens[real], embedding)
        rates = self.rates if encoder.training else DropoutRates()
        with torch.autocast(tokens.device.type, enabled=False):
            return self._body(encoder, head)(rows, real, predicted, rates), matrix

    def hidden_states(
        self,
        encoder: TransformerEncoder,
        head: RobertaLMHead,
        tokens: Tensor,
        wanted: Tensor,
        token_embeddings: Tensor | None = None,
    ) -> Tensor:
        """The last hidden states of the wanted positions (batch x length), as a list of them.

        Arguments as in a call, with `wanted` for `predicted`; none is at padding. `token_embeddings`
        (batch x length x width) are read in the place of the model's own.
        """
        real = tokens.ne(encoder.padding_idx)
        if token_embeddings is None:
            rows = functional.embedding(tokens[real], encoder.embed_tokens.weight)
        else:
            rows = token_embeddings[real]
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
            with torch.inference_mode(False):  # a later pass may have gradients
                self.kept[name] = signature, prepare(module)
        return self.kept[name][1]

    def _positions(self, module: nn.Embedding) -> Tensor:
        # rows up to the padding's do not belong to positions
        return module.weight[module.padding_idx + 1 :].to(self._type(module))

    def _affine(self, module: nn.Linear | nn.LayerNorm | nn.RMSNorm) -> Affine:
        return _affine(module).to(self._type(module))

    def _layer(self, module: nn.Module) -> Layer:
        parts = (_affine(module.get_submodule(name)) for name in LAYER_PARTS)
        return Layer.prepare(*parts, heads=self.heads, dtype=self._type(module))

    def _type(self, module: nn.Module) -> torch.dtype:
        return torch.bfloat16 if self.bfloat16 else next(module.parameters()).dtype


class FrozenModernEncoder(FrozenEncoder):
    """The same of a ModernBERT's or EuroBERT's, through that of `nn/frozen_modern_body.py`."""

    def _body(
        self, encoder: ModernBody, head: RobertaLMHead | OutputProjection
    ) -> FrozenModernBody:
        first, has_dense = encoder.layernorm_embedding, not isinstance(head, OutputProjection)
        return FrozenModernBody(
            sizes=encoder.sizes,
            embedding_norm=first and self._once("norm", first, self._affine),
            layers=[
                self._once(f"layer {number}", layer, self._layer)
                for number, layer in enumerate(encoder.layers)
            ],
            final_norm=self._once("final norm", encoder.layer_norm, self._affine),
            head_dense=self._once("head", head.dense, self._affine) if has_dense else None,
            head_norm=self._once("head norm", head.layer_norm, self._affine) if has_dense else None,
            activation=self.activation,
        )

    def _layer(self, module: nn.Module) -> FrozenModernLayer:
        first = module.self_attn_layer_norm  # which the first layer lacks
        parts = (_affine(module.get_submodule(name)) for name in MODERN_LAYER_PARTS)
        norm = None if first is None else _affine(first)
        return FrozenModernLayer.prepare(norm, *parts, heads=self.heads, dtype=self._type(module))


def activation_of(name: str) -> Callable[[Tensor], Tensor]:
    """fairseq's activation functions, and SiLU, which it has no function for."""
    return functional.silu if name == "silu" else utils.get_activation_fn(name)


def _affine(module: nn.Linear | nn.LayerNorm | nn.RMSNorm) -> Affine:
    if isinstance(module, nn.Linear):
        return Affine(module.weight, module.bias)
    return Affine(module.weight, getattr(module, "bias", None), module.eps)
