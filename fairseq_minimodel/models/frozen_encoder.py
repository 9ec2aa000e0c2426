"""Runs fairseq's encoder through the frozen body of `nn/frozen_body.py`."""

import torch
from fairseq import utils
from fairseq.models.roberta.model import RobertaLMHead
from fairseq.models.transformer import TransformerEncoder
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional

from ..nn.frozen_body import Affine, DropoutRates, FrozenBody, Layer
from ..nn.tied_embedding import tied_embedding

LAYER_PARTS = (  # of fairseq's layer, in the order of `Layer.prepare`
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj",
    "self_attn_layer_norm", "fc1", "fc2", "final_layer_norm",
)  # fmt: skip


class FrozenEncoder:
    """The body of a model whose language side alone is trained.

    The weights stay where they are, in the modules of the model. What is prepared from them is kept,
    and prepared again when they have changed: after a checkpoint was loaded, or on another device.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.bfloat16 = cfg.body_precision == "bfloat16"
        self.rates = DropoutRates(cfg.dropout, cfg.attention_dropout, cfg.activation_dropout)
        # fairseq's own converts to float32 and back
        gelu = cfg.activation_fn == "gelu"
        self.activation = functional.gelu if gelu else utils.get_activation_fn(cfg.activation_fn)
        self.heads = cfg.encoder_attention_heads
        self.prepared_from: list[tuple[int, int]] = []
        self.body: FrozenBody | None = None

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
            return self._prepared(encoder, head)(rows, real, predicted, rates), matrix

    def _prepared(self, encoder: TransformerEncoder, head: RobertaLMHead) -> FrozenBody:
        weights = [
            *encoder.embed_positions.parameters(),
            *encoder.layernorm_embedding.parameters(),
            *encoder.layers.parameters(),
            *head.dense.parameters(),
            *head.layer_norm.parameters(),
        ]
        signature = [(weight.data_ptr(), weight._version) for weight in weights]
        if signature != self.prepared_from:
            self.body = self._prepare(encoder, head)
            self.prepared_from = signature
        return self.body

    def _prepare(self, encoder: TransformerEncoder, head: RobertaLMHead) -> FrozenBody:
        positions = encoder.embed_positions
        dtype = torch.bfloat16 if self.bfloat16 else positions.weight.dtype
        layers = [
            Layer.prepare(
                *(_affine(layer.get_submodule(name)) for name in LAYER_PARTS),
                heads=self.heads,
                dtype=dtype,
            )
            for layer in encoder.layers
        ]
        return FrozenBody(
            # rows up to the padding's do not belong to positions
            positions=positions.weight.detach()[positions.padding_idx + 1 :].to(dtype),
            embedding_norm=_affine(encoder.layernorm_embedding).to(dtype),
            layers=layers,
            head_dense=_affine(head.dense).to(dtype),
            head_norm=_affine(head.layer_norm).to(dtype),
            heads=self.heads,
            activation=self.activation,
        )


def _affine(module: nn.Linear | nn.LayerNorm) -> Affine:
    if isinstance(module, nn.Linear):
        return Affine(module.weight, module.bias)
    return Affine(module.weight, module.bias, module.eps)
