"""EuroBERT with MLM heads after any of its layers, and a choice of what is frozen.

Its output projection is tied to nothing: there is one, a part of the language side, which the heads in
the middle share with the last one.
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.models import register_model
from omegaconf import DictConfig
from torch import nn

from ..bodies.architectures import EUROBERT_SIZES
from ..bodies.families import EUROBERT
from ..cost.freezing import parse_freeze
from ..errors import InputError
from ..nn.lm_head import NormedHead, OutputProjection
from ..nn.modern_body import Sizes
from ..nn.pooling import LATE
from .minimodel_modernbert import MiniModelModern, ModernConfig, ModernEncoder
from .minimodel_roberta import option, register_sizes


@dataclass
class MiniModelEuroBertConfig(ModernConfig):
    activation_fn: ChoiceEnum(("silu",)) = option("silu", "activation function of the feed-forward")
    encoder_key_value_heads: Optional[int] = option(
        None,
        "attention heads of keys and values, which those of queries share evenly (default: the "
        "architecture's)",
    )
    rope_theta: float = option(
        EUROBERT.settings["rope_theta"], "base of the wavelengths of rotary positions"
    )
    classifier_pooling: ChoiceEnum(tuple(EUROBERT.poolings)) = option(
        LATE,
        "what the classes of a text come from: late, the mean of the head's outputs of all tokens; "
        "cls, the last hidden state of <s>; mean, that of all tokens",
    )


class EuroBertEncoder(ModernEncoder):
    """EuroBERT's encoder with auxiliary heads and an identity."""

    model_family = EUROBERT

    @staticmethod
    def sizes(cfg: DictConfig) -> Sizes:
        return Sizes(
            layers=cfg.encoder_layers,
            width=cfg.encoder_embed_dim,
            ffn=cfg.encoder_ffn_embed_dim,
            heads=cfg.encoder_attention_heads,
            key_value_heads=cfg.encoder_key_value_heads,
            global_every=1,
            window=None,
            global_theta=cfg.rope_theta,
            local_theta=cfg.rope_theta,
            rms=True,
            embedding_norm=False,
        )

    def build_lm_head(
        self, embed_dim: int, output_dim: int, activation_fn: str, weight: nn.Parameter
    ) -> OutputProjection:
        return OutputProjection(embed_dim, output_dim)

    def build_middle_head(self, cfg: DictConfig) -> NormedHead:
        return NormedHead(cfg.encoder_embed_dim)


@register_model(EUROBERT.model, dataclass=MiniModelEuroBertConfig)
class MiniModelEuroBert(MiniModelModern):
    """EuroBERT (Boizard et al. 2025, arXiv 2503.05500) with auxiliary MLM heads."""

    name = EUROBERT.model
    config_class = MiniModelEuroBertConfig
    encoder_class = EuroBertEncoder

    @classmethod
    def check(cls, cfg: DictConfig) -> None:
        heads, shared = cfg.encoder_attention_heads, cfg.encoder_key_value_heads
        if shared < 1 or heads % shared:
            raise InputError(
                f"--encoder-key-value-heads {shared} does not divide the {heads} heads of "
                "--encoder-attention-heads"
            )
        super().check(cfg)
        if parse_freeze(cfg.freeze, cfg.encoder_layers).bias_is_trained:
            raise InputError(
                f"--freeze {cfg.freeze} trains the output bias, which {cls.name} does not have: give "
                f"--freeze {cfg.freeze.removesuffix('+bias')}"
            )


register_sizes(EUROBERT_SIZES, EUROBERT.model)
