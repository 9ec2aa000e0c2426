"""RoBERTa with MLM heads after any of its layers, and a choice of what is frozen."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from fairseq import utils
from fairseq.dataclass import ChoiceEnum
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import register_model, register_model_architecture
from fairseq.models.roberta.model import RobertaModel
from fairseq.modules.transformer_sentence_encoder import init_bert_params
from fairseq.tasks.sentence_prediction import SentencePredictionTask
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor, nn

from ..bodies.architectures import ROBERTA_SIZES, complete_sizes
from ..bodies.identity import decode, encode, lineage_of
from ..bodies.language_side import StateDict, is_language_side
from ..bodies.parts import listed, part_of
from ..bodies.settings import LAYER_NORM_EPS
from ..bodies.tensors import AUXILIARY_HEAD, CLASSIFICATION_HEAD, LINEAGE, OUTPUT_BIAS, VOCABULARY
from ..cost.flops import (
    Flops,
    Shape,
    classification_flops,
    masked_lm_flops,
    sentence_vector_flops,
    token_flops,
)
from ..cost.freezing import BODY, BOTTOM, LANGUAGE, parse_freeze
from ..cost.freezing import NONE as NOTHING
from ..errors import InputError
from ..kinds import LABELS, SPAN_HEAD, TOKEN_HEADS
from ..modules.method import NONE
from ..modules.registry import find_method
from ..nn.pooling import CLS, LATE, MEAN, POOLINGS, pooled_positions
from ..packs.module import task_heads
from . import with_module
from .accounting import record_flops
from .encoder import MiniModelEncoder, auxiliary_layers
from .frozen_weights import KeepsFrozenWeights
from .with_module import TaskModuleConfig

logger = logging.getLogger(__name__)

ACTIVATIONS = ChoiceEnum(utils.get_available_activation_fns())
PRECISIONS = ChoiceEnum(("parameters", "bfloat16"))
POOLING = ChoiceEnum((NONE, *POOLINGS))


def option(default: object, help: str) -> object:
    """A field of a configuration of fairseq."""
    return field(default=default, metadata={"help": help})


@dataclass
class MiniModelRobertaConfig(TaskModuleConfig):
    encoder_layers: Optional[int] = option(None, "number of layers (default: the architecture's)")
    encoder_embed_dim: Optional[int] = option(
        None, "width of the model (default: the architecture's)"
    )
    encoder_ffn_embed_dim: Optional[int] = option(
        None, "width of the feed-forward (default: the architecture's)"
    )
    encoder_attention_heads: Optional[int] = option(
        None, "attention heads (default: the architecture's)"
    )
    max_positions: Optional[int] = option(
        None, "number of position embeddings, in tokens (default: the task's length)"
    )
    activation_fn: ACTIVATIONS = option(
        "gelu", "activation function of the feed-forward and the heads"
    )
    pooler_activation_fn: ACTIVATIONS = option(
        "tanh", "activation function of classification heads"
    )
    dropout: float = option(0.1, "dropout probability")
    attention_dropout: float = option(0.1, "dropout probability of attention weights")
    activation_dropout: float = option(
        0.0, "dropout probability after the feed-forward's activation"
    )
    pooler_dropout: float = option(0.0, "dropout probability in classification heads")
    layer_norm_eps: float = option(
        LAYER_NORM_EPS,
        "what all LayerNorms add to the variance (BERT's bodies have 1e-12)",
    )
    auxiliary_head_layers: str = option(
        "",
        "MLM heads besides the last layer's: after these layers, counted from 1, separated by commas "
        '("4", "4,8")',
    )
    freeze: str = option(
        "none",
        "what training does not change: none; language (token embeddings and output bias); body "
        "(everything else); bottom:N (language side, position embeddings, embedding LayerNorm, layers "
        "1 to N); bottom:N+bias (the same, but for the output bias, which is trained with a new head); "
        "bottom:N-head, bottom:N-head+bias (the MLM heads are not trained either). A LayerNorm after "
        "the last layer is trained with what is above the bottom",
    )
    forget_every: int = option(
        0,
        "pretraining: draw the token embeddings anew after every so many updates, with a learning-rate "
        "schedule and an optimiser state that begin anew, too (active forgetting); 0: never",
    )
    body_precision: PRECISIONS = option(
        "parameters",
        "how a frozen body computes (--freeze body; with bottom:N, the layers above too), and any body "
        "below the head of a task, without a task module: in the type of its parameters, or in "
        "bfloat16, over parameters, gradients and optimiser that stay as they are",
    )
    sentence_pooling: POOLING = option(
        "none",
        "what a sentence vector is made of: none (the model is not for sentence vectors), or the last "
        "hidden states of all tokens, <s> and </s> among them, as their mean or, in each dimension, "
        "their max; cls: the last hidden state of <s>",
    )
    sentence_normalise: bool = option(False, "sentence vectors have length 1")
    sentence_length: Optional[int] = option(
        None,
        "tokens of a text, with <s> and </s>, that its vector is made of (default: the model's "
        "positions)",
    )
    load_checkpoint_heads: bool = option(False, "register and load heads when loading checkpoints")


@register_model("minimodel_roberta", dataclass=MiniModelRobertaConfig)
class MiniModelRoberta(KeepsFrozenWeights, RobertaModel):
    """fairseq's RoBERTa with auxiliary MLM heads (Marchisio et al. 2023, MiniJoint)."""

    # what models of another family have in the place of these
    name = "minimodel_roberta"
    config_class: type[MiniModelRobertaConfig] = MiniModelRobertaConfig
    encoder_class: type[MiniModelEncoder] = MiniModelEncoder
    is_modern = False  # as in `Shape`

    def __init__(self, cfg: DictConfig, encoder: MiniModelEncoder) -> None:
        super().__init__(cfg, encoder)
        for head in TOKEN_HEADS:
            self.register_module(head, None)
        self.is_restored = False  # whether weights were loaded
        self.method = find_method(cfg, has_gate=self.is_modern)  # of the task module

    @classmethod
    def hub_models(cls) -> dict[str, str]:
        return {}

    @classmethod
    def add_args(cls, parser: object) -> None:
        gen_parser_from_dataclass(parser, cls.config_class(), delete_default=True)

    @classmethod
    def build_model(cls, cfg: DictConfig, task: object) -> "MiniModelRoberta":
        """Build the model and freeze what `cfg.freeze` says, before an optimiser exists.

        Raises:
            InputError: the settings contradict each other, or the labels of the data.
        """
        check_labels(task)
        with open_dict(cfg):
            complete_sizes(cfg, cls.name)
            if cfg.max_positions is None:
                cfg.max_positions = task.max_positions()
        cls.check(cfg)
        # fairseq's encoder fills a config of its own with what RoBERTa leaves unsaid.
        complete = OmegaConf.create(OmegaConf.to_container(cfg, enum_to_str=True))
        model = cls(complete, cls.encoder_class(complete, task.source_dictionary))
        for name, parameter in frozen_parameters(model, cfg.freeze):
            logger.debug("frozen: %s", name)
            parameter.requires_grad_(False)
        if model.method.name != NONE:
            with_module.install(model, model.method, cfg.freeze)
        return model

    @classmethod
    def check(cls, cfg: DictConfig) -> None:
        """Refuse settings that contradict each other, or that the model lacks, with an `InputError`."""
        auxiliary_layers(cfg)
        if cfg.encoder_embed_dim % cfg.encoder_attention_heads:
            raise InputError(
                f"a width of {cfg.encoder_embed_dim} (--encoder-embed-dim) does not divide into "
                f"{cfg.encoder_attention_heads} attention heads (--encoder-attention-heads)"
            )
        freeze = parse_freeze(cfg.freeze, cfg.encoder_layers)
        if cfg.forget_every < 0:
            raise InputError(f"--forget-every {cfg.forget_every} is below 0")
        if cfg.forget_every and (freeze.kind != NOTHING or cfg.task_module != NONE):
            raise InputError(
                f"--forget-every {cfg.forget_every} is for pretraining, in which the body learns to do "
                "with ever new token embeddings: leave it out where one of the two is frozen "
                "(adaptation, --freeze, --task-module)"
            )

    def forward(
        self,
        src_tokens: Tensor,
        features_only: bool = False,
        return_all_hiddens: bool = False,
        classification_head_name: str | None = None,
        masked_tokens: Tensor | None = None,
        span_scores: bool = False,
        token_head: str | None = None,
        **kwargs,
    ) -> tuple[Tensor | None, dict]:
        """fairseq's forward pass; in training, its cost goes into the log (`accounting.py`).

        With one of the `TOKEN_HEADS`, what comes first is its scores: batch x length x outputs;
        `span_scores` is another way to name that of spans. With `sentence_vectors=True` it is a vector
        for each sequence: batch x width.
        """
        token_head = SPAN_HEAD if span_scores else token_head
        if self.training:
            all_heads = kwargs.get("all_heads") or kwargs.get("targets") is not None
            flops = self._flops(
                src_tokens,
                masked_tokens,
                classification_head_name,
                all_heads,
                token_head,
                kwargs.get("sentence_vectors", False),
            )
            record_flops(flops.total, src_tokens.device)
        reads_pairs = token_head == SPAN_HEAD or classification_head_name is not None
        kwargs.setdefault("pairs", reads_pairs)
        has_head = token_head is not None or classification_head_name is not None
        if has_head:
            pooling = MEAN if token_head else self.classifier_pooling
            real = src_tokens.ne(self.encoder.dictionary.pad())
            kwargs["wanted"] = pooled_positions(real, pooling)
        output, extra = super().forward(
            src_tokens,
            features_only or has_head,
            return_all_hiddens,
            masked_tokens=masked_tokens,
            **kwargs,
        )
        if token_head:
            output = getattr(self, token_head)(output)
        elif classification_head_name is not None:
            output = self.classify(classification_head_name, output, src_tokens)
        return output, extra

    @property
    def classifier_pooling(self) -> str:
        """What a classification head reads, of `POOLINGS`, or `LATE`."""
        return str(getattr(self.args, "classifier_pooling", CLS))

    def classify(self, head: str, features: Tensor, tokens: Tensor) -> Tensor:
        """The logits of a classification head, batch x classes.

        Args:
            features: the last hidden states, batch x length x width; tokens: ids, batch x length.
        """
        return self.classification_heads[head](features)

    def register_classification_head(self, name: str, *args: object, **kwargs: object) -> None:
        """Add fairseq's head, as the task module wants it."""
        super().register_classification_head(name, *args, **kwargs)
        with_module.prepare_head(self.classification_heads[name], self.method)

    def register_span_head(self) -> None:
        """Add the head that scores each token as the first and the last of an answer, if need be.

        Devlin et al. 2019 (arXiv 1810.04805), section 4.2. In the state dict: `span_head.*`.
        """
        self.register_token_head(SPAN_HEAD, 2)

    def register_token_head(self, name: str, outputs: int) -> None:
        """Add one of the `TOKEN_HEADS`, which scores each token's hidden state, if need be."""
        if getattr(self, name) is None:
            head = self.build_token_head(outputs)
            setattr(self, name, with_module.prepare_head(head, self.method))

    def build_token_head(self, outputs: int) -> nn.Module:
        """A new head of all tokens."""
        head = nn.Linear(self.args.encoder_embed_dim, outputs)
        init_bert_params(head)
        return head

    def _flops(
        self,
        src_tokens: Tensor,
        masked_tokens: Tensor | None,
        classification_head: str | None,
        all_heads: bool,
        token_head: str | None = None,
        sentence_vectors: bool = False,
    ) -> Flops:
        """The cost of one training pass over a batch. Arguments as in the encoder's `forward`.

        With a task module, what it adds itself is not counted. Where it changes weights, their
        gradients are computed, although nothing but the change is trained, and so they count.
        """
        cfg, (sequences, length) = self.args, src_tokens.shape
        tokens = positions = src_tokens.numel()
        is_lean = self.encoder.has_lean_features(src_tokens.device)
        if not (classification_head or token_head or sentence_vectors):
            is_lean = self.encoder.has_lean_predictions and masked_tokens is not None
        if is_lean:
            tokens = int(src_tokens.ne(self.encoder.dictionary.pad()).sum())
            length *= positions / tokens  # attention scores are computed for padding too
        tied = self.encoder.lm_head.weight is self.encoder.sentence_encoder.embed_tokens.weight
        vocabulary = len(self.encoder.dictionary)
        shape = Shape.of(cfg, vocabulary, modern=self.is_modern, tied=tied)
        frozen = {"freeze": cfg.freeze if self.method.name == NONE else self.method.charged_as}
        if classification_head is not None:
            classes = self.classification_heads[classification_head].out_proj.out_features
            pooling = self.classifier_pooling
            return classification_flops(
                shape,
                tokens,
                length,
                classes=classes,
                read=positions if pooling == LATE else sequences,
                wanted=sequences if is_lean and pooling == CLS else None,
                **frozen,
            )
        if token_head:
            outputs = getattr(self, token_head).out_features
            return token_flops(shape, tokens, length, outputs=outputs, read=positions, **frozen)
        if sentence_vectors:
            pooled = sequences if is_lean and cfg.sentence_pooling == CLS else None
            return sentence_vector_flops(shape, tokens, length, pooled=pooled, **frozen)
        predicted = positions if masked_tokens is None else int(masked_tokens.sum())
        return masked_lm_flops(
            shape,
            tokens,
            length,
            masked_fraction=predicted / tokens,
            auxiliary_head_layers=auxiliary_layers(cfg) if all_heads else [],
            predictions_only=is_lean,
            **frozen,
        )

    def upgrade_state_dict_named(self, state_dict: StateDict, name: str) -> None:
        """Fit a checkpoint to this model: its identity, its task module and its heads.

        Raises:
            InputError: the checkpoint was trained with another vocabulary of the same size, which
                fairseq would load silently; or with another task module than this model's.
        """
        self.is_restored = True
        self.encoder.adopt_family(state_dict)
        self._fit_classification_heads(state_dict)
        super().upgrade_state_dict_named(state_dict, name)
        if LINEAGE not in state_dict:
            state_dict[LINEAGE] = encode(lineage_of(state_dict))
        with_module.fit_state(self, state_dict, self.method)
        own_vocabulary = self.encoder.vocabulary
        found = state_dict.setdefault(VOCABULARY, own_vocabulary)
        if decode(found) != decode(own_vocabulary):
            raise InputError(
                f"the checkpoint was trained with the vocabulary {decode(found)} and the data has "
                f"the vocabulary {decode(own_vocabulary)} ({len(self.encoder.dictionary)} symbols): "
                "use the dict.txt of the checkpoint's training data, or the task "
                "language_adaptation to give the model another language"
            )
        for head in TOKEN_HEADS:
            self._fit_token_head(head, state_dict)
        own_heads = self.encoder.auxiliary_lm_heads
        _leave_out(
            state_dict, lambda name: (m := AUXILIARY_HEAD.match(name)) and m[1] not in own_heads
        )

    def _fit_classification_heads(self, state_dict: StateDict) -> None:
        """Leave out heads that this model lacks or has in another size, as fairseq does.

        In one line, where fairseq warns of each tensor.
        """
        own = {name: head.out_proj.out_features for name, head in self.classification_heads.items()}
        found = task_heads(state_dict)
        if not self.args.load_checkpoint_heads:
            _leave_out(
                state_dict,
                lambda name: (
                    (m := CLASSIFICATION_HEAD.match(name)) and own.get(m[1]) != found.get(m[1])
                ),
            )

    def _fit_token_head(self, head: str, state_dict: StateDict) -> None:
        """Do with a head of all tokens what fairseq does with classification heads."""
        prefix, outputs = f"{head}.", task_heads(state_dict).get(head)
        if outputs and self.args.load_checkpoint_heads:
            self.register_token_head(head, outputs)
        module = getattr(self, head)
        if module is None or outputs not in (None, module.out_features):
            _leave_out(state_dict, lambda name: name.startswith(prefix))
            outputs = None
        if module is not None and not outputs:
            logger.info("the checkpoint has no such head: a new %s is trained", part_of(prefix))
            own = module.state_dict()
            state_dict.update({f"{prefix}{name}": tensor for name, tensor in own.items()})


def _leave_out(state_dict: StateDict, is_left_out: Callable[[str], object]) -> None:
    """Delete tensors of heads that this model does not have, and say of which heads."""
    names = list(filter(is_left_out, state_dict))
    if names:
        heads = listed(dict.fromkeys(map(part_of, names)))
        logger.info("left out of the checkpoint, as this model has no such head: %s", heads)
    for name in names:
        del state_dict[name]


def register_sizes(sizes: Iterable[str], model: str) -> None:
    """Register the other architectures of a model; `sizes`: all of them, by name."""
    for architecture in set(sizes) - {model}:
        register_model_architecture(model, architecture)(
            lambda cfg, name=architecture: complete_sizes(cfg, name)
        )


register_sizes(ROBERTA_SIZES, MiniModelRoberta.name)


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
    kind, bottom, bias_is_trained, head_is_trained = parse_freeze(freeze, encoder.num_layers)
    heads = [model.encoder.lm_head, model.encoder.auxiliary_lm_heads] if head_is_trained else []
    upper = nn.ModuleList([*encoder.layers[bottom:], *heads])
    final_norm = getattr(encoder, "layer_norm", None)
    if final_norm is not None and len(upper):  # it is above the bottom, as they are
        upper.append(final_norm)
    above = set(map(id, upper.parameters()))
    for name, parameter in model.named_parameters():
        is_language = is_language_side(name)
        is_trained = {
            NOTHING: True,
            LANGUAGE: not is_language,
            BODY: is_language,
            # the tied embedding is in the last head, too
            BOTTOM: bias_is_trained
            and name == OUTPUT_BIAS
            or not is_language
            and id(parameter) in above,
        }
        if not is_trained[kind]:
            yield name, parameter
