"""RoBERTa's encoder with MLM heads after any of its layers."""

import torch
from fairseq import modules, utils
from fairseq.models.roberta.model import RobertaEncoder
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional

from ..bodies.identity import encode, family_of_state, new_lineage
from ..bodies.language_side import StateDict
from ..bodies.tensors import FAMILY, ORIGIN, SECOND_TEXT
from ..cost.freezing import BODY, BOTTOM, parse_freeze
from ..modules.method import NONE, parse_layers
from ..nn.cross_entropy import linear_cross_entropy
from ..nn.lm_head import LMHeadTransform
from ..nn.pooling import pool, pooled_positions
from ..vocabulary.symbols import fingerprint
from .frozen_encoder import FrozenEncoder


class MiniModelEncoder(RobertaEncoder):
    """RoBERTa's encoder with auxiliary heads and an identity (`bodies/identity.py`)."""

    frozen_class = FrozenEncoder

    def __init__(self, cfg: DictConfig, dictionary: object) -> None:
        super().__init__(cfg, dictionary)
        self.auxiliary_lm_heads = nn.ModuleDict(
            {str(layer): self.build_middle_head(cfg) for layer in auxiliary_layers(cfg)}
        )
        # with apex installed they are its own
        norms = nn.LayerNorm, nn.RMSNorm, type(modules.LayerNorm(1))
        for module in self.modules():
            if isinstance(module, norms):
                module.eps = cfg.layer_norm_eps
        # what a task module puts into the layers, only fairseq's own path computes
        self.frozen = self.frozen_class(cfg) if cfg.task_module == NONE else None
        self.is_lower_frozen = parse_freeze(cfg.freeze).kind in (BODY, BOTTOM)
        self.register_buffer("lineage", encode(new_lineage()))
        self.register_buffer("vocabulary", encode(fingerprint(dictionary.symbols)))
        self.has_second_text = False
        self.pooling, self.is_normalised = cfg.sentence_pooling, cfg.sentence_normalise

    def build_middle_head(self, cfg: DictConfig) -> LMHeadTransform:
        """An auxiliary head without its language side."""
        return LMHeadTransform(cfg.encoder_embed_dim, utils.get_activation_fn(cfg.activation_fn))

    def adopt_family(self, state: StateDict) -> None:
        """Become of the family and the origin of a checkpoint; both go with this model's own."""
        if ORIGIN in state:
            self.register_buffer("origin", state[ORIGIN].detach().clone().to(self.vocabulary))
        if FAMILY in state:
            self.register_buffer("family", state[FAMILY].detach().clone().to(self.vocabulary))
            family = family_of_state(state)
            self.has_second_text = family is not None and family.has_second_text

    def forward(
        self,
        src_tokens: Tensor,
        features_only: bool = False,
        return_all_hiddens: bool = False,
        masked_tokens: Tensor | None = None,
        all_heads: bool = False,
        targets: Tensor | None = None,
        pairs: bool = False,
        sentence_vectors: bool = False,
        token_embeddings: Tensor | None = None,
        wanted: Tensor | None = None,
        **unused: object,
    ) -> tuple[Tensor | None, dict]:
        """One pass through the body, and the heads asked for.

        Args:
            src_tokens: token ids, batch x length.
            features_only: return the last hidden states (batch x length x width), no logits.
            return_all_hiddens: put the hidden states after every layer, the embedding first, into
                "inner_states" (each length x batch x width).
            masked_tokens: batch x length, true where logits are wanted; None: everywhere.
            all_heads: put the logits of every head into "head_logits", by layer, in order.
            targets: ids, batch x length, read at `masked_tokens`: put the cross-entropy of every
                head, summed over them, into "head_losses", by layer, in order; no logits.
            pairs: what follows the first </s> is a second text. It gets a token type of its own, where
                the family has token types (Devlin et al. 2019, section 3).
            sentence_vectors: return a vector for each sequence (batch x width, in float32 or more), as
                the settings of the model say.
            token_embeddings: read in the place of the model's own (batch x length x width).
            wanted: with `features_only`, batch x length, true where the hidden states are needed, at
                real positions only. At others, what comes back means nothing.

        Returns: the last head's logits (predictions x vocabulary), and what was asked for besides.
        """
        if sentence_vectors:
            return self._sentence_vectors(src_tokens, token_embeddings), {}
        predicted = None if features_only or return_all_hiddens else masked_tokens
        if self.has_lean_predictions and predicted is not None:
            lean = self.frozen(self.sentence_encoder, self.lm_head, src_tokens, predicted)
            if lean is not None:
                return self._lean_output(*lean, None if targets is None else targets[predicted])
        if targets is not None:
            return None, {"head_losses": self._head_losses(src_tokens, masked_tokens, targets)}
        auxiliary = self.auxiliary_lm_heads if all_heads else {}
        if pairs and self.has_second_text:
            token_embeddings = self._typed_embeddings(src_tokens)
        if wanted is not None and features_only and not return_all_hiddens:
            return self._features(src_tokens, wanted, token_embeddings), {"inner_states": None}
        features, extra = self.extract_features(
            src_tokens,
            return_all_hiddens=return_all_hiddens or bool(auxiliary),
            token_embeddings=token_embeddings,
        )
        if features_only:
            return features, extra
        logits = self.output_layer(features, masked_tokens=masked_tokens)
        if all_heads:
            extra["head_logits"] = {
                int(layer): head(
                    extra["inner_states"][int(layer)].transpose(0, 1),
                    self.lm_head.weight,
                    self.lm_head.bias,
                    masked_tokens,
                )
                for layer, head in auxiliary.items()
            }
            extra["head_logits"][self.sentence_encoder.num_layers] = logits
        return logits, extra

    def _sentence_vectors(self, tokens: Tensor, token_embeddings: Tensor | None) -> Tensor:
        pooling, real = self.pooling, tokens.ne(self.dictionary.pad())
        hidden = self._features(tokens, pooled_positions(real, pooling), token_embeddings)
        if hidden.dtype in (torch.float16, torch.bfloat16):
            hidden = hidden.float()
        vectors = pool(hidden, real, pooling)
        return functional.normalize(vectors) if self.is_normalised else vectors

    @property
    def has_lean_predictions(self) -> bool:
        """Whether predictions of the MLM head at some positions come from the frozen encoder."""
        is_lean = self.frozen is not None and self.is_lower_frozen
        return is_lean and not self.auxiliary_lm_heads

    def has_lean_features(self, device: torch.device) -> bool:
        """Whether hidden states of `wanted` positions, for a head or a vector, come from there.

        Not with `--amp`: PyTorch then chooses the type of each product, the frozen encoder one type.
        """
        return self.frozen is not None and not torch.is_autocast_enabled(device.type)

    def _features(self, tokens: Tensor, wanted: Tensor, token_embeddings: Tensor | None) -> Tensor:
        """The last hidden states, batch x length x width, right where they are wanted."""
        if not self.has_lean_features(tokens.device):
            return self.extract_features(tokens, token_embeddings=token_embeddings)[0]
        encoder = self.sentence_encoder
        listed = self.frozen.hidden_states(encoder, self.lm_head, tokens, wanted, token_embeddings)
        listed = listed.to(encoder.embed_tokens.weight.dtype)  # which a head has, too
        places = wanted.flatten().nonzero().squeeze(1)
        hidden = listed.new_zeros(wanted.numel(), listed.size(1)).index_copy(0, places, listed)
        return hidden.unflatten(0, wanted.shape)

    def _typed_embeddings(self, tokens: Tensor) -> Tensor:
        """Token embeddings, with what token type 1 adds, batch x length x width."""
        ends = tokens.eq(self.dictionary.eos()).long()
        is_second = (ends.cumsum(1) - ends).clamp(max=1).unsqueeze(-1)
        encoder = self.sentence_encoder
        return (
            encoder.embed_tokens(tokens) + is_second * encoder.embed_positions.weight[SECOND_TEXT]
        )

    def _head_losses(
        self, src_tokens: Tensor, masked_tokens: Tensor, targets: Tensor
    ) -> dict[int, Tensor]:
        # A batch without a masked token predicts everything: its loss is 0 and its shapes regular.
        # On a GPU the choice is made there, without one more wait for the device (counting FLOPs
        # waits for it).
        if masked_tokens.device.type == "cpu":
            selected = masked_tokens if masked_tokens.any() else None
        else:
            selected = torch.where(
                masked_tokens.any(), masked_tokens, masked_tokens.new_tensor([True])
            )
        target = targets if selected is None else targets[selected]
        extra = self(src_tokens, masked_tokens=selected, all_heads=True)[1]
        return {
            layer: modules.cross_entropy(
                logits.view(-1, logits.size(-1)),
                target.view(-1),
                reduction="sum",
                ignore_index=self.dictionary.pad(),
            )
            for layer, logits in extra["head_logits"].items()
        }

    def _lean_output(
        self, hidden: Tensor, matrix: Tensor, target: Tensor | None
    ) -> tuple[Tensor | None, dict]:
        """The output of `forward`, from what the frozen encoder computed."""
        layer, bias = self.sentence_encoder.num_layers, self.lm_head.bias
        # In float16 the gradient of the logits needs the loss scale before it is multiplied, and
        # linear_cross_entropy learns that scale only afterwards.
        if target is not None and hidden.dtype != torch.float16:
            loss = linear_cross_entropy(hidden, matrix, bias, target)
            return None, {"head_losses": {layer: loss}}
        offset = None if bias is None else bias.to(hidden.dtype)
        logits = functional.linear(hidden, matrix.to(hidden.dtype), offset)
        if target is None:
            return logits, {"inner_states": None, "head_logits": {layer: logits}}
        loss = modules.cross_entropy(logits, target, reduction="sum")
        return None, {"head_losses": {layer: loss}}


def auxiliary_layers(cfg: DictConfig) -> list[int]:
    """The layers with an MLM head besides the last, ascending; InputError: there are no such layers."""
    last = cfg.encoder_layers
    there = (
        f"a model of {last} layers takes auxiliary heads after layers 1 to {last - 1} (the last layer "
        "has a head anyway)"
    )
    text = str(cfg.auxiliary_head_layers)
    return parse_layers("--auxiliary-head-layers", text, last - 1, there)
