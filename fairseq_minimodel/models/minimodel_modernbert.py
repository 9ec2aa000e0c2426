"""ModernBERT with MLM heads after any of its layers, and a choice of what is frozen.

And what EuroBERT's model has in common with it.
"""

from dataclasses import dataclass
from typing import Optional

from fairseq import utils
from fairseq.dataclass import ChoiceEnum
from fairseq.models import register_model
from fairseq.models.roberta.model import RobertaLMHead
from fairseq.modules.transformer_sentence_encoder import init_bert_params
from omegaconf import DictConfig
from torch import Tensor, nn, tensor

from ..bodies.architectures import MODERNBERT_SIZES
from ..bodies.families import MODERNBERT
from ..bodies.family import Family
from ..bodies.identity import family_mark
from ..bodies.language_side import StateDict
from ..bodies.tensors import HEAD
from ..errors import InputError
from ..kinds import CLASSIFICATION_HEADS, TOKEN_HEADS, output_weight
from ..nn.frozen_body import DropoutRates
from ..nn.lm_head import LMHeadTransform
from ..nn.modern_body import ModernBody, Sizes
from ..nn.pooling import CLS, LATE, MEAN, pool
from ..nn.task_head import TaskHead
from . import with_module
from .encoder import MiniModelEncoder
from .frozen_encoder import FrozenModernEncoder, activation_of
from .minimodel_roberta import (
    ACTIVATIONS,
    MiniModelRoberta,
    MiniModelRobertaConfig,
    option,
    register_sizes,
)

DEFAULTS = MODERNBERT.settings


@dataclass
class ModernConfig(MiniModelRobertaConfig):
    """What the models of ModernBERT and EuroBERT have in common, beside RoBERTa's."""

    max_positions: Optional[int] = option(
        None,
        "longest input, in tokens; there is no table of positions (default: the task's length)",
    )
    dropout: float = option(0.0, "dropout probability")
    attention_dropout: float = option(0.0, "dropout probability of attention weights")
    pooler_activation_fn: ACTIVATIONS = option("gelu", "activation function of the heads of tasks")
    pooler_dropout: float = option(0.0, "dropout probability in the heads of tasks")


@dataclass
class MiniModelModernBertConfig(ModernConfig):
    classifier_pooling: ChoiceEnum(tuple(MODERNBERT.poolings)) = option(
        CLS,
        "what a classification head reads: cls, the last hidden state of <s>; mean, that of all tokens",
    )
    global_rope_theta: float = option(
        DEFAULTS["global_rope_theta"],
        "base of the wavelengths of rotary positions, in layers that attend to all tokens",
    )
    local_rope_theta: float = option(
        DEFAULTS["local_rope_theta"], "the same in layers that attend to a window"
    )
    local_attention: int = option(
        DEFAULTS["local_attention"], "width of that window, in tokens: half of it to each side"
    )
    global_every: int = option(
        DEFAULTS["global_every"],
        "the first layer and every so many after it attend to all tokens, the others to a window",
    )


class ModernSentenceEncoder(ModernBody):
    """The body, called as fairseq's encoders are."""

    def __init__(self, cfg: DictConfig, sizes: Sizes, embed_tokens: nn.Embedding) -> None:
        rates = DropoutRates(cfg.dropout, cfg.attention_dropout, cfg.activation_dropout)
        super().__init__(sizes, embed_tokens, rates, activation_of(cfg.activation_fn))
        self.register_buffer("version", tensor([1.0]))  # all of fairseq's have it

    def forward(
        self,
        src_tokens: Tensor,
        return_all_hiddens: bool = False,
        token_embeddings: Tensor | None = None,
    ) -> dict[str, list[Tensor]]:
        """Hidden states, each length x batch x width; arguments as in `MiniModelEncoder.forward`."""
        states = [one.transpose(0, 1) for one in self.hidden_states(src_tokens, token_embeddings)]
        return {
            "encoder_out": states[-1:],
            "encoder_states": states if return_all_hiddens else [],
        }


class ModernEncoder(MiniModelEncoder):
    """ModernBERT's encoder with auxiliary heads and an identity."""

    frozen_class = FrozenModernEncoder
    model_family: Family = MODERNBERT

    def __init__(self, cfg: DictConfig, dictionary: object) -> None:
        super().__init__(cfg, dictionary)
        self.adopt_family(family_mark(self.model_family))

    @staticmethod
    def sizes(cfg: DictConfig) -> Sizes:
        """The form of the body."""
        return Sizes(
            layers=cfg.encoder_layers,
            width=cfg.encoder_embed_dim,
            ffn=cfg.encoder_ffn_embed_dim,
            heads=cfg.encoder_attention_heads,
            key_value_heads=cfg.encoder_attention_heads,
            global_every=cfg.global_every,
            window=cfg.local_attention,
            global_theta=cfg.global_rope_theta,
            local_theta=cfg.local_rope_theta,
            rms=False,
            embedding_norm=True,
        )

    def build_encoder(
        self, args: DictConfig, dictionary: object, embed_tokens: nn.Embedding
    ) -> ModernSentenceEncoder:
        return ModernSentenceEncoder(args, self.sizes(args), embed_tokens)

    def build_lm_head(
        self, embed_dim: int, output_dim: int, activation_fn: str, weight: nn.Parameter
    ) -> RobertaLMHead:
        head = super().build_lm_head(embed_dim, output_dim, activation_fn, weight)
        head.dense = nn.Linear(embed_dim, embed_dim, bias=False)
        head.layer_norm = nn.LayerNorm(embed_dim, bias=False)
        return head

    def build_middle_head(self, cfg: DictConfig) -> LMHeadTransform:
        activation = utils.get_activation_fn(cfg.activation_fn)
        return LMHeadTransform(cfg.encoder_embed_dim, activation, modern=True)


class MiniModelModern(MiniModelRoberta):
    """What the models of ModernBERT and EuroBERT have in common."""

    encoder_class: type[ModernEncoder] = ModernEncoder
    is_modern = True

    def register_classification_head(
        self, name: str, num_classes: int, inner_dim: int | None = None, **unused: object
    ) -> None:
        """Add the family's head, as the task module wants it; `inner_dim` is the model's width."""
        head = self.build_task_head(num_classes)
        self.classification_heads[name] = with_module.prepare_head(head, self.method)

    def build_task_head(self, outputs: int) -> TaskHead:
        """A new head with a dense layer."""
        cfg, parts = self.args, self.encoder_class.model_family.classifier
        activation = utils.get_activation_fn(cfg.pooler_activation_fn)
        eps = cfg.layer_norm_eps if any(one.here == "layer_norm" for one in parts) else None
        sizes = cfg.encoder_embed_dim, outputs, activation, cfg.pooler_dropout, eps
        return TaskHead(*sizes).apply(init_bert_params)

    def classify(self, head: str, features: Tensor, tokens: Tensor) -> Tensor:
        real = tokens.ne(self.encoder.dictionary.pad())
        module, pooling = self.classification_heads[head], self.classifier_pooling
        if pooling == LATE:
            return pool(module(features), real, MEAN)
        return module(pool(features, real, pooling))

    def upgrade_state_dict_named(self, state_dict: StateDict, name: str) -> None:
        """As in `MiniModelRoberta`; below its outputs a new head starts as the MLM head is.

        So it does in transformers, where both have one name.
        """
        heads = {one: getattr(self, one) for one in TOKEN_HEADS}
        for one, head in self.classification_heads.items():
            heads[f"{CLASSIFICATION_HEADS}{one}"] = head
        for place, head in heads.items():
            is_new = output_weight(place, state_dict) not in state_dict
            if head is not None and is_new and not self.method.changes_heads:
                for part in ("dense.weight", "layer_norm.weight"):
                    if f"{HEAD}{part}" in state_dict:
                        head.get_parameter(part).data.copy_(state_dict[f"{HEAD}{part}"])
        super().upgrade_state_dict_named(state_dict, name)

    @classmethod
    def check(cls, cfg: DictConfig) -> None:
        super().check(cfg)
        if cfg.encoder_embed_dim // cfg.encoder_attention_heads % 2:
            raise InputError(
                f"attention heads of an odd width ({cfg.encoder_embed_dim} / "
                f"{cfg.encoder_attention_heads}) cannot be rotated: give --encoder-embed-dim and "
                "--encoder-attention-heads that divide into an even number"
            )
        for name in cls.encoder_class.model_family.settings:
            if not cfg[name] > 0:
                raise InputError(f"--{name.replace('_', '-')} {cfg[name]}: give more than 0")


@register_model(MODERNBERT.model, dataclass=MiniModelModernBertConfig)
class MiniModelModernBert(MiniModelModern):
    """ModernBERT (Warner et al. 2024, arXiv 2412.13663) with auxiliary MLM heads."""

    name = MODERNBERT.model
    config_class = MiniModelModernBertConfig

    def build_token_head(self, outputs: int) -> TaskHead:
        return self.build_task_head(outputs)


register_sizes(MODERNBERT_SIZES, MODERNBERT.model)
