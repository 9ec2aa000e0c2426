"""RoBERTa with MLM heads after any of its layers, and a choice of what is frozen."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import torch
from fairseq import modules, utils
from fairseq.dataclass import ChoiceEnum
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import register_model, register_model_architecture
from fairseq.models.roberta.model import RobertaEncoder, RobertaModel
from fairseq.modules.transformer_sentence_encoder import init_bert_params
from fairseq.tasks.sentence_prediction import SentencePredictionTask
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor, nn
from torch.nn import functional

from ..bodies.architectures import ARCHITECTURES, complete_sizes
from ..bodies.family import AUXILIARY_HEAD, CLASSIFICATION_HEAD, LINEAGE, OUTPUT_BIAS, VOCABULARY
from ..bodies.identity import decode, encode, lineage_of, new_lineage
from ..bodies.language_side import StateDict, is_language_side
from ..bodies.parts import listed, part_of
from ..cost.flops import (
    Flops,
    Shape,
    classification_flops,
    masked_lm_flops,
    span_flops,
)
from ..cost.freezing import BODY, BOTTOM, LANGUAGE, parse_freeze
from ..cost.freezing import NONE as NOTHING
from ..errors import InputError
from ..modules.task_module import NONE
from ..nn.cross_entropy import linear_cross_entropy
from ..nn.lm_head import LMHeadTransform
from ..packs.module import LABELS, settings_in
from ..vocabulary.symbols import fingerprint
from . import task_module
from .accounting import record_flops
from .frozen_encoder import FrozenEncoder
from .task_module import TaskModuleConfig

logger = logging.getLogger(__name__)

PRECISIONS = ("parameters", "bfloat16")


@dataclass
class MiniModelRobertaConfig(TaskModuleConfig):
    encoder_layers: Optional[int] = field(
        default=None, metadata={"help": "number of layers (default: the architecture's)"}
    )
    encoder_embed_dim: Optional[int] = field(
        default=None, metadata={"help": "width of the model (default: the architecture's)"}
    )
    encoder_ffn_embed_dim: Optional[int] = field(
        default=None, metadata={"help": "width of the feed-forward (default: the architecture's)"}
    )
    encoder_attention_heads: Optional[int] = field(
        default=None, metadata={"help": "attention heads (default: the architecture's)"}
    )
    max_positions: Optional[int] = field(
        default=None,
        metadata={"help": "number of position embeddings, in tokens (default: the task's length)"},
    )
    activation_fn: ChoiceEnum(utils.get_available_activation_fns()) = field(
        default="gelu", metadata={"help": "activation function of the feed-forward and the heads"}
    )
    pooler_activation_fn: ChoiceEnum(utils.get_available_activation_fns()) = field(
        default="tanh", metadata={"help": "activation function of classification heads"}
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout probability"})
    attention_dropout: float = field(
        default=0.1, metadata={"help": "dropout probability of attention weights"}
    )
    activation_dropout: float = field(
        default=0.0, metadata={"help": "dropout probability after the feed-forward's activation"}
    )
    pooler_dropout: float = field(
        default=0.0, metadata={"help": "dropout probability in classification heads"}
    )
    auxiliary_head_layers: str = field(
        default="",
        metadata={
            "help": "MLM heads besides the last layer's: after these layers, counted from 1, "
            'separated by commas ("4", "4,8")'
        },
    )
    freeze: str = field(
        default="none",
        metadata={
            "help": "what training does not change: none; language (token embeddings and output "
            "bias); body (everything else); bottom:N (language side, position embeddings, "
            "embedding LayerNorm, layers 1 to N); bottom:N+bias (the same, but for the output bias, "
            "which is trained with a new head)"
        },
    )
    body_precision: ChoiceEnum(PRECISIONS) = field(
        default="parameters",
        metadata={
            "help": "how a frozen body computes (--freeze body): in the type of its parameters, or "
            "in bfloat16, over parameters, gradients and optimiser that stay as they are"
        },
    )
    load_checkpoint_heads: bool = field(
        default=False, metadata={"help": "register and load heads when loading checkpoints"}
    )


@register_model("minimodel_roberta", dataclass=MiniModelRobertaConfig)
class MiniModelRoberta(RobertaModel):
    """fairseq's RoBERTa with auxiliary MLM heads (Marchisio et al. 2023, MiniJoint)."""

    def __init__(self, cfg: DictConfig, encoder: "MiniModelEncoder") -> None:
        super().__init__(cfg, encoder)
        self.span_head: nn.Linear | None = None
        self.is_restored = False  # whether weights were loaded
        self.module_settings = settings_in(cfg)

    @classmethod
    def hub_models(cls) -> dict[str, str]:
        return {}

    @staticmethod
    def add_args(parser: object) -> None:
        gen_parser_from_dataclass(parser, MiniModelRobertaConfig(), delete_default=True)

    @classmethod
    def build_model(cls, cfg: DictConfig, task: object) -> "MiniModelRoberta":
        """Build the model and freeze what `cfg.freeze` says, before an optimiser exists.

        Raises:
            InputError: the settings contradict each other, or the labels of the data.
        """
        check_labels(task)
        with open_dict(cfg):
            complete_sizes(cfg, "minimodel_roberta")
            if cfg.max_positions is None:
                cfg.max_positions = task.max_positions()
        check(cfg)
        # fairseq's encoder fills a config of its own with what RoBERTa leaves unsaid.
        complete = OmegaConf.create(OmegaConf.to_container(cfg, enum_to_str=True))
        model = cls(complete, MiniModelEncoder(complete, task.source_dictionary))
        for name, parameter in frozen_parameters(model, cfg.freeze):
            logger.debug("frozen: %s", name)
            parameter.requires_grad_(False)
        if model.module_settings.task_module != NONE:
            task_module.check(complete, model.module_settings)
            task_module.install(model, model.module_settings)
        return model

    def forward(
        self,
        src_tokens: Tensor,
        features_only: bool = False,
        return_all_hiddens: bool = False,
        classification_head_name: str | None = None,
        masked_tokens: Tensor | None = None,
        span_scores: bool = False,
        **kwargs,
    ) -> tuple[Tensor | None, dict]:
        """fairseq's forward pass; in training, its cost goes into the log (`accounting.py`).

        With `span_scores`, what comes first is the span head's scores: batch x length x 2.
        """
        if self.training:
            all_heads = kwargs.get("all_heads") or kwargs.get("targets") is not None
            flops = self._flops(
                src_tokens, masked_tokens, classification_head_name, all_heads, span_scores
            )
            record_flops(flops.total, src_tokens.device)
        output, extra = super().forward(
            src_tokens,
            features_only or span_scores,
            return_all_hiddens,
            classification_head_name,
            masked_tokens=masked_tokens,
            **kwargs,
        )
        return (self.span_head(output) if span_scores else output), extra

    def register_classification_head(self, name: str, *args: object, **kwargs: object) -> None:
        """Add fairseq's head, as the task module wants it."""
        super().register_classification_head(name, *args, **kwargs)
        task_module.prepare_head(self.classification_heads[name], self.module_settings)

    def register_span_head(self) -> None:
        """Add the head that scores each token as the first and the last of an answer, if need be.

        Devlin et al. 2019 (arXiv 1810.04805), section 4.2. In the state dict: `span_head.*`.
        """
        if self.span_head is None:
            head = nn.Linear(self.args.encoder_embed_dim, 2)
            init_bert_params(head)
            self.span_head = task_module.prepare_head(head, self.module_settings)

    def _flops(
        self,
        src_tokens: Tensor,
        masked_tokens: Tensor | None,
        classification_head: str | None,
        all_heads: bool,
        span_scores: bool = False,
    ) -> Flops:
        """The cost of one training pass over a batch. Arguments as in the encoder's `forward`.

        With a task module, what it adds itself is not counted. Where it changes weights, their
        gradients are computed, although nothing but the change is trained, and so they count.
        """
        cfg, positions, length = self.args, src_tokens.numel(), src_tokens.shape[1]
        freeze = self.module_settings.charged_as or cfg.freeze
        shape = Shape(
            cfg.encoder_layers,
            cfg.encoder_embed_dim,
            cfg.encoder_ffn_embed_dim,
            cfg.encoder_attention_heads,
            len(self.encoder.dictionary),
        )
        if classification_head is not None:
            classes = self.classification_heads[classification_head].out_proj.out_features
            return classification_flops(shape, positions, length, classes=classes, freeze=freeze)
        if span_scores:
            return span_flops(shape, positions, length, freeze=freeze)
        predicted = positions if masked_tokens is None else int(masked_tokens.sum())
        if self.encoder.frozen is not None and masked_tokens is not None:
            real = int(src_tokens.ne(self.encoder.dictionary.pad()).sum())
            return masked_lm_flops(
                shape,
                real,
                length * positions / real,  # attention scores are computed for padding too
                freeze=freeze,
                masked_fraction=predicted / real,
                predictions_only=True,
            )
        return masked_lm_flops(
            shape,
            positions,
            length,
            freeze=freeze,
            auxiliary_head_layers=parse_layers(cfg.auxiliary_head_layers) if all_heads else [],
            masked_fraction=predicted / positions,
        )

    def upgrade_state_dict_named(self, state_dict: StateDict, name: str) -> None:
        """Fit a checkpoint to this model: its identity, its task module and its heads.

        Raises:
            InputError: the checkpoint was trained with another vocabulary of the same size, which
                fairseq would load without a word; or with another task module than this model's.
        """
        self.is_restored = True
        self._fit_classification_heads(state_dict)
        super().upgrade_state_dict_named(state_dict, name)
        if LINEAGE not in state_dict:
            state_dict[LINEAGE] = encode(lineage_of(state_dict))
        task_module.fit_state(self, state_dict, self.module_settings)
        own_vocabulary = self.encoder.vocabulary
        found = state_dict.setdefault(VOCABULARY, own_vocabulary)
        if decode(found) != decode(own_vocabulary):
            raise InputError(
                f"the checkpoint was trained with the vocabulary {decode(found)} and the data has "
                f"the vocabulary {decode(own_vocabulary)} ({len(self.encoder.dictionary)} symbols): "
                "use the dict.txt of the checkpoint's training data, or the task "
                "language_adaptation to give the model another language"
            )
        self._fit_span_head(state_dict)
        own_heads = self.encoder.auxiliary_lm_heads
        others = [
            name
            for name in state_dict
            if (match := AUXILIARY_HEAD.match(name)) and match[1] not in own_heads
        ]
        _leave_out(state_dict, others)

    def _fit_classification_heads(self, state_dict: StateDict) -> None:
        """Leave out heads that this model lacks or has in another size, as fairseq does.

        In one line, where fairseq warns of each tensor.
        """
        if self.args.load_checkpoint_heads:
            return
        own = {name: head.out_proj.out_features for name, head in self.classification_heads.items()}
        others = [
            name
            for name in state_dict
            if (match := CLASSIFICATION_HEAD.match(name))
            and own.get(match[1])
            != len(state_dict[f"classification_heads.{match[1]}.out_proj.bias"])
        ]
        _leave_out(state_dict, others)

    def _fit_span_head(self, state_dict: StateDict) -> None:
        """Do with the span head what fairseq does with classification heads."""
        keys = [key for key in state_dict if key.startswith("span_head.")]
        if keys and self.args.load_checkpoint_heads:
            self.register_span_head()
        if self.span_head is None:
            _leave_out(state_dict, keys)
        elif not keys:
            logger.info("the checkpoint has no span head: a new one is trained")
            own = self.span_head.state_dict()
            state_dict.update({f"span_head.{name}": tensor for name, tensor in own.items()})


def _leave_out(state_dict: StateDict, names: list[str]) -> None:
    """Delete tensors of heads that this model does not have, and say of which heads."""
    if names:
        heads = listed(dict.fromkeys(map(part_of, names)))
        logger.info("left out of the checkpoint, as this model has no such head: %s", heads)
    for name in names:
        del state_dict[name]


class MiniModelEncoder(RobertaEncoder):
    """RoBERTa's encoder with auxiliary heads and an identity (`bodies/identity.py`)."""

    def __init__(self, cfg: DictConfig, dictionary: object) -> None:
        super().__init__(cfg, dictionary)
        activation = utils.get_activation_fn(cfg.activation_fn)
        self.auxiliary_lm_heads = nn.ModuleDict(
            {
                str(layer): LMHeadTransform(cfg.encoder_embed_dim, activation)
                for layer in parse_layers(cfg.auxiliary_head_layers)
            }
        )
        only_last = cfg.freeze == BODY and not self.auxiliary_lm_heads
        self.frozen = FrozenEncoder(cfg) if only_last else None
        self.register_buffer("lineage", encode(new_lineage()))
        self.register_buffer("vocabulary", encode(fingerprint(dictionary.symbols)))

    def forward(
        self,
        src_tokens: Tensor,
        features_only: bool = False,
        return_all_hiddens: bool = False,
        masked_tokens: Tensor | None = None,
        all_heads: bool = False,
        targets: Tensor | None = None,
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

        Returns: the last head's logits (predictions x vocabulary), and what was asked for besides.
        """
        wanted = None if features_only or return_all_hiddens else masked_tokens
        if self.frozen is not None and wanted is not None:
            lean = self.frozen(self.sentence_encoder, self.lm_head, src_tokens, wanted)
            if lean is not None:
                return self._lean_output(*lean, None if targets is None else targets[wanted])
        if targets is not None:
            return None, {"head_losses": self._head_losses(src_tokens, masked_tokens, targets)}
        auxiliary = self.auxiliary_lm_heads if all_heads else {}
        features, extra = self.extract_features(
            src_tokens, return_all_hiddens=return_all_hiddens or bool(auxiliary)
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
        """The output of `forward`, from what a frozen body computed."""
        layer, bias = self.sentence_encoder.num_layers, self.lm_head.bias
        # In float16 the gradient of the logits needs the loss scale before it is multiplied, and
        # linear_cross_entropy learns that scale only afterwards.
        if target is not None and hidden.dtype != torch.float16:
            loss = linear_cross_entropy(hidden, matrix, bias, target)
            return None, {"head_losses": {layer: loss}}
        logits = functional.linear(hidden, matrix.to(hidden.dtype), bias.to(hidden.dtype))
        if target is None:
            return logits, {"inner_states": None, "head_logits": {layer: logits}}
        loss = modules.cross_entropy(logits, target, reduction="sum")
        return None, {"head_losses": {layer: loss}}


for _name in set(ARCHITECTURES) - {"minimodel_roberta"}:
    register_model_architecture("minimodel_roberta", _name)(
        lambda cfg, name=_name: complete_sizes(cfg, name)
    )


def parse_layers(text: str) -> list[int]:
    """The layers in "4,8", in ascending order.

    Raises:
        InputError: the text is something else.
    """
    try:
        layers = [int(layer) for layer in str(text).split(",") if layer.strip()]
    except ValueError:
        raise InputError(
            f'--auxiliary-head-layers "{text}" is not a list of layers such as "4" or "4,8"'
        ) from None
    return sorted(set(layers))


def check(cfg: DictConfig) -> None:
    """Refuse settings that contradict each other with an `InputError`."""
    for layer in parse_layers(cfg.auxiliary_head_layers):
        if not 1 <= layer < cfg.encoder_layers:
            raise InputError(
                f"--auxiliary-head-layers {cfg.auxiliary_head_layers}: a model of "
                f"{cfg.encoder_layers} layers takes auxiliary heads after layers 1 to "
                f"{cfg.encoder_layers - 1} (the last layer has a head anyway)"
            )
    if cfg.encoder_embed_dim % cfg.encoder_attention_heads:
        raise InputError(
            f"a width of {cfg.encoder_embed_dim} (--encoder-embed-dim) does not divide into "
            f"{cfg.encoder_attention_heads} attention heads (--encoder-attention-heads)"
        )
    parse_freeze(cfg.freeze, cfg.encoder_layers)


def check_labels(task: object) -> None:
    """Refuse another number of classes than the data of `sentence_prediction` have labels.

    Raises:
        InputError: with both numbers.
    """
    if not isinstance(task, SentencePredictionTask) or task.cfg.regression_target:
        return
    dictionary, classes = task.label_dictionary, task.cfg.num_classes
    # what fairseq adds: its special symbols, a mask, and names that fill up to a multiple of 8
    labels = [
        label
        for label in dictionary.symbols[dictionary.nspecial :]
        if label != "<mask>" and not label.startswith("madeupword")
    ]
    path = Path(task.cfg.data, LABELS)
    if not labels:
        raise InputError(f"{path} has no labels: copy it or prepare the data again")
    if classes != len(labels):
        raise InputError(
            f"--num-classes {classes}, and {path} has {len(labels)} labels ({', '.join(labels[:20])}): "
            f"give --num-classes {len(labels)}"
        )


def frozen_parameters(model: MiniModelRoberta, freeze: str) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters, with their names, that a value of --freeze keeps from training."""
    encoder = model.encoder.sentence_encoder
    kind, bottom, bias_is_trained = parse_freeze(freeze, encoder.num_layers)
    above: set[int] = set()
    if kind == BOTTOM:
        modules = [
            *encoder.layers[bottom:],
            model.encoder.lm_head,
            model.encoder.auxiliary_lm_heads,
        ]
        above = {id(parameter) for module in modules for parameter in module.parameters()}
    for name, parameter in model.named_parameters():
        if kind == NOTHING:
            frozen = False
        elif kind == LANGUAGE:
            frozen = is_language_side(name)
        elif kind == BODY:
            frozen = not is_language_side(name)
        elif name == OUTPUT_BIAS:
            frozen = not bias_is_trained
        else:
            frozen = is_language_side(name) or id(parameter) not in above
        if frozen:
            yield name, parameter
