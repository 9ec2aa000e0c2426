"""Model families: what the tensors and settings of a model are called, here and at Hugging Face.

Every such name stands once: here, those of the heads of tasks in `kinds/`. First come the names that
all families share here, those of this package's fairseq model; then what differs, as one `Family` each.
Imports no PyTorch.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..kinds import CLASSIFICATION_HEADS, SPAN_HEAD, TAG_HEAD, TOKEN_HEADS

# ---- the state dict of every family here

BODY = "encoder."  # what a body has beside the heads of tasks
ENCODER = f"{BODY}sentence_encoder."
EMBEDDING = f"{ENCODER}embed_tokens.weight"
POSITIONS = f"{ENCODER}embed_positions.weight"
EMBEDDING_NORM = f"{ENCODER}layernorm_embedding."
LAYERS = f"{ENCODER}layers."
FINAL_NORM = (
    f"{ENCODER}layer_norm."  # after the last layer, in families whose layers have theirs first
)
VERSION = f"{ENCODER}version"  # a buffer of fairseq's
HEAD = f"{BODY}lm_head."
# The projection is the token embedding, or in some families a table of its own.
OUTPUT_PROJECTION, OUTPUT_BIAS = f"{HEAD}weight", f"{HEAD}bias"
MIDDLE_HEADS = f"{BODY}auxiliary_lm_heads."  # by the layer, counted from 1, that they stand after
MIDDLE_NORM = "final_norm."  # of a middle head, in the place of the `FINAL_NORM`
# Buffers that say what a model is (`bodies/identity.py`); the last, over which body a task module
# was trained.
LINEAGE, VOCABULARY, TASK_BODY = f"{BODY}lineage", f"{BODY}vocabulary", f"{BODY}task_body"
# Which family a body is of, where it is not RoBERTa: a buffer, too.
FAMILY = f"{BODY}family"
# The lineage of the body that this one, which is of a lineage of its own, was trained on from.
ORIGIN = f"{BODY}origin"
# fairseq numbers positions from the padding index, 1, on, so that these rows come before the first.
POSITION_OFFSET = 2
# Of these rows fairseq reads the first for no token. In families that have token types it holds what
# the second text of a pair adds to its positions: the difference between the types 1 and 0.
SECOND_TEXT = 0

LAYER = re.compile(rf"{re.escape(LAYERS)}(\d+)\.")
AUXILIARY_HEAD = re.compile(rf"{re.escape(MIDDLE_HEADS)}(\d+)\.")
CLASSIFICATION_HEAD = re.compile(rf"{re.escape(CLASSIFICATION_HEADS)}([^.]+)\.")


def layer_of(name: str) -> int | None:
    """The layer, counted from 0, that a tensor belongs to; None: to none."""
    match = LAYER.match(name)
    return int(match[1]) if match else None


def middle_head(depth: int) -> str:
    """What the names of the MLM head after so many layers, not all of them, begin with."""
    return f"{MIDDLE_HEADS}{depth}."


def is_head(name: str) -> bool:
    """Whether a tensor belongs to a head of a task."""
    return name.startswith(CLASSIFICATION_HEADS) or name.partition(".")[0] in TOKEN_HEADS


# ---- what differs

# What files of TensorFlow's BERT called the parts of a LayerNorm.
FORMER_NORM = re.compile(r"(?<=LayerNorm\.)(gamma|beta)$")
NORM_PARTS = {"gamma": "weight", "beta": "bias"}
# How names of a body's tensors begin in files of models without a head.
PARTS_OF_BODY = (
    "embeddings.", "encoder.", "transformer.", "pooler.", "layers.", "final_norm.", "embed_tokens.",
    "norm.",
)  # fmt: skip


class Module(NamedTuple):
    """A module of a family.

    Attributes:
        here: its name in the state dict of a checkpoint.
        there: its name in Hugging Face's files.
        weight, bias: the shapes of these tensors of it, a letter for each dimension; "": it has none.
    """

    here: str
    there: str
    weight: str = "dd"
    bias: str = "d"


class ModelType(NamedTuple):
    """A `model_type` of config.json.

    Attributes:
        classes: what Hugging Face's classes begin with.
        first_tokens: those before the pieces, where there is a SentencePiece model alone.
        left_out: of its pieces, these first ones are not in the vocabulary.
    """

    classes: str
    first_tokens: tuple[str, ...] = ("<s>", "<pad>", "</s>", "<unk>")  # fairseq's own
    left_out: int = 3

    def tokens(self, pieces: Sequence[str]) -> list[str]:
        """The vocabulary of a model that has these pieces of SentencePiece alone."""
        return [*self.first_tokens, *pieces[self.left_out :], "<mask>"]


class Parameter(NamedTuple):
    """A tensor: its names here and at Hugging Face, and its shape, a letter for each dimension."""

    here: str
    there: str
    shape: str


@dataclass(frozen=True)
class Family:
    """A kind of model: the names of its tensors and settings, and what is refused.

    In shapes, V stands for the vocabulary, P for the rows of positions, d for the width of the model,
    f for that of its feed-forward blocks, k for that of its keys and values, where it is another, and c
    for the outputs of a task's head.

    Attributes:
        name: in words.
        model: the model of this package that a body of the family is, by its name for --arch.
        settings: what its model has besides sizes and activation, by fairseq's names: the defaults.
        prefix_there: the beginning of Hugging Face's names of a body's tensors, which models without
            a head lack.
        embeddings: modules before the layers.
        layer: modules of a layer; their names begin with that of the layer.
        first_lacks: those that the first layer does not have, by their names here.
        joined_there: modules that are one in Hugging Face's files, one below the other: the ends of
            the names there, and of those that stand for its parts in `layer`.
        layers_there: the beginning of Hugging Face's names of a layer, with {} for its number.
        head: modules of the MLM head before its projection; their names here begin with that of the
            head.
        bias_there: the output bias in Hugging Face's files; "": there is none.
        projection_there: the output projection there; "": it is the token embedding.
        classifier, spans, tags: modules of the heads of tasks (`head_modules`), the last of which gives
            the outputs; their names here begin with that of the head, and are "" for a single layer.
            Without names there they neither come in nor go out.
        head_settings: what those heads are made by, by fairseq's names: the defaults.
        poolings: what a classification head can read, where there is a choice (`classifier_pooling`),
            and the names of that in config.json.
        tied_there: tensors that some of Hugging Face's versions store twice, and the same ones.
        token_types_there: the embedding of token types, whose first row is added to the positions; "":
            there is none.
        has_second_text: whether the second text of a pair has a type of its own (`SECOND_TEXT`).
        ignored_there: parts of the names of tensors there that hold no weights.
        model_types: what config.json calls the family.
        byte_level_type, pieces_type: those that are written, by what the tokenizer is: it is the
            tokenizer that one expects with each.
        sizes: settings in whole numbers that both have: fairseq's names to Hugging Face's.
        dimensions: the settings in config.json that say how long a dimension is, by its letter;
            that of P is the longest input, where there is no table of positions.
        rates: the same of probabilities, and the defaults.
        layer_norm_eps: the setting in config.json ("": it has none), and the library's default.
        fixed: settings in config.json that have one value here and no other. (Hugging Face's MLM head
            has GELU whatever the activation is, in some families.)
        activation_there: the one of them that is the activation function.
        embedding_size_there: the setting for the width of the token embeddings, which must be that of
            the model; "": there is none.
        pooler_activation: that of Hugging Face's classification head.
        position_offset: the number of rows before the first real position in Hugging Face's files.
        special_tokens: by the names of their roles in special_tokens_map.json.
        special_there: what those are called in the vocabularies of the family, if not so.
        pair_separators: how many </s> stand between the two texts of a pair.
        unsupported: options of fairseq's models that this package's model does not have.
        former_names: patterns of names in older checkpoints, and what stands for them now.
        joined: the pattern of tensors that hold several modules, one below the other (group 1: where
            they belong; 2: weight or bias), and the names of these modules.
    """

    name: str
    model: str
    settings: Mapping[str, object]
    prefix_there: str
    embeddings: tuple[Module, ...]
    layer: tuple[Module, ...]
    first_lacks: tuple[str, ...]
    joined_there: Mapping[str, tuple[str, ...]]
    layers_there: str
    head: tuple[Module, ...]
    bias_there: str
    projection_there: str
    classifier: tuple[Module, ...]
    spans: tuple[Module, ...]
    tags: tuple[Module, ...]
    head_settings: Mapping[str, str]
    poolings: Mapping[str, str]
    tied_there: Mapping[str, str]
    token_types_there: str
    has_second_text: bool
    ignored_there: str
    model_types: Mapping[str, ModelType]
    byte_level_type: str
    pieces_type: str
    sizes: Mapping[str, str]
    dimensions: Mapping[str, str]
    rates: Mapping[str, tuple[str, float]]
    layer_norm_eps: tuple[str, float]
    fixed: Mapping[str, object]
    activation_there: str
    embedding_size_there: str
    pooler_activation: str
    position_offset: int
    special_tokens: Mapping[str, str]
    special_there: Mapping[str, str]
    pair_separators: int
    unsupported: tuple[str, ...]
    former_names: tuple[tuple[re.Pattern[str], str], ...]
    joined: tuple[re.Pattern[str], tuple[str, ...]]

    @property
    def ffn(self) -> str:
        """The tensor of the first layer whose rows are the width of the feed-forward blocks."""
        return next(one.here for one in self.parameters([0], []) if one.shape == "fd")

    @property
    def key(self) -> str:
        """The tensor of the first layer whose rows are the width of keys; "": it is the model's."""
        named = self.parameters([0], [])
        return next((one.here for one in named if one.shape == "kd"), "")

    @property
    def is_tied(self) -> bool:
        """Whether the output projection is the token embedding."""
        return not self.projection_there

    @property
    def has_positions(self) -> bool:
        """Whether there is a table of positions."""
        return any(one.here == POSITIONS for one in _with_parts(self.embeddings))

    @property
    def has_final_norm(self) -> bool:
        """Whether a LayerNorm stands after the last layer, and in each middle head."""
        return any(one.here.startswith(FINAL_NORM) for one in _with_parts(self.embeddings))

    @property
    def is_modern(self) -> bool:
        """Whether the layers are built as ModernBERT's (`Shape.modern`)."""
        return self.has_final_norm

    def parameters(
        self, layers: Iterable[int], heads: Iterable[str] = (HEAD,)
    ) -> Iterator[Parameter]:
        """All parameters of a masked language model, each once: not the projection where it is tied.

        Args:
            layers: which, counted from 0.
            heads: what the names of its MLM heads begin with.
        """
        yield from _with_parts(self.embeddings)
        if self.bias_there:
            yield Parameter(OUTPUT_BIAS, self.bias_there, "V")
        if self.projection_there:
            yield Parameter(OUTPUT_PROJECTION, self.projection_there, "Vd")
        for head in heads:
            yield from _with_parts(self.head, head)
            if head != HEAD and self.has_final_norm:
                yield Parameter(f"{head}{MIDDLE_NORM}weight", "", "d")
        for number in layers:
            there = self.layers_there.format(number)
            modules = [one for one in self.layer if number or one.here not in self.first_lacks]
            yield from _with_parts(modules, f"{LAYERS}{number}.", there)

    def names_there(self, layers: Iterable[int]) -> dict[str, str]:
        """The names of the tensors of a masked language model: those here to Hugging Face's."""
        return {one.here: one.there for one in self.parameters(layers)}

    def head_names_there(self, classifier: str) -> dict[str, str]:
        """The same of the heads of tasks; `classifier`: the name of the classification head."""
        heads = filter(self.is_known_there, (classifier, *TOKEN_HEADS))
        return {one.here: one.there for head in heads for one in self.head_parameters(head)}

    def is_known_there(self, head: str) -> bool:
        """Whether a task's head has a form at Hugging Face; argument as in `head_modules`."""
        return all(one.there for one in self.head_modules(head))

    def head_modules(self, head: str) -> tuple[Module, ...]:
        """The modules of a task's head, the last of which gives its outputs.

        Args:
            head: the name of a classification head, or one of `TOKEN_HEADS`.
        """
        modules = {SPAN_HEAD: self.spans, TAG_HEAD: self.tags}.get(head, self.classifier)
        start = head if head in TOKEN_HEADS else f"{CLASSIFICATION_HEADS}{head}"
        return tuple(
            one._replace(here=f"{start}.{one.here}" if one.here else start) for one in modules
        )

    def head_parameters(self, head: str) -> Iterator[Parameter]:
        """All parameters of a task's head; argument as in `head_modules`."""
        return _with_parts(self.head_modules(head))

    def shapes(
        self, layers: Iterable[int], sizes: Mapping[str, int], heads: Iterable[str] = (HEAD,)
    ) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters by their names here; `sizes`: by their letters."""
        shapes = {
            one.here: tuple(sizes[letter] for letter in one.shape)
            for one in self.parameters(layers, heads)
        }
        return shapes | {OUTPUT_PROJECTION: shapes[EMBEDDING]}

    def present_name_there(self, name: str) -> str:
        """What Hugging Face's library calls a tensor now that a file has as `name`."""
        name = FORMER_NORM.sub(lambda match: NORM_PARTS[match[1]], name)
        return self.prefix_there + name if name.startswith(PARTS_OF_BODY) else name

    def present_name(self, name: str) -> str:
        """What a tensor is called now that an older fairseq has called `name`."""
        for former, new in self.former_names:
            name = former.sub(new, name)
        return name


def _with_parts(modules: Iterable[Module], here: str = "", there: str = "") -> Iterator[Parameter]:
    for module in modules:
        for part, shape in (("weight", module.weight), ("bias", module.bias)):
            if shape:
                names = f"{here}{module.here}.{part}", f"{there}{module.there}.{part}"
                yield Parameter(*names, shape)


def _layer(*there: str) -> tuple[Module, ...]:
    """The modules of a layer, of which only the names at Hugging Face differ between families."""
    here = (
        ("self_attn.q_proj",), ("self_attn.k_proj",), ("self_attn.v_proj",),
        ("self_attn.out_proj",), ("self_attn_layer_norm", "d"),
        ("fc1", "fd", "f"), ("fc2", "df"), ("final_layer_norm", "d"),
    )  # fmt: skip
    return tuple(
        Module(name, other, *shapes) for (name, *shapes), other in zip(here, there, strict=True)
    )


def _classifier(dense: str, outputs: str) -> tuple[Module, ...]:
    """The modules of a classification head, by their names at Hugging Face."""
    return Module("dense", dense), Module("out_proj", outputs, "cd", "c")


# RoBERTa, XLM-R and CamemBERT are one architecture, and have one set of names.
ROBERTA = Family(
    name="RoBERTa",
    model="minimodel_roberta",
    settings={},
    prefix_there="roberta.",
    embeddings=(
        Module(f"{ENCODER}embed_tokens", "roberta.embeddings.word_embeddings", "Vd", ""),
        Module(f"{ENCODER}embed_positions", "roberta.embeddings.position_embeddings", "Pd", ""),
        Module(f"{ENCODER}layernorm_embedding", "roberta.embeddings.LayerNorm", "d"),
    ),
    layer=_layer(
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
    ),  # fmt: skip
    first_lacks=(),
    joined_there={},
    layers_there="roberta.encoder.layer.{}.",
    head=(Module("dense", "lm_head.dense"), Module("layer_norm", "lm_head.layer_norm", "d")),
    bias_there="lm_head.bias",
    projection_there="",
    classifier=_classifier("classifier.dense", "classifier.out_proj"),
    spans=(Module("", "qa_outputs", "cd", "c"),),
    tags=(Module("", "classifier", "cd", "c"),),
    head_settings={"pooler_activation_fn": "tanh"},
    poolings={},
    tied_there={
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    token_types_there="roberta.embeddings.token_type_embeddings.weight",
    has_second_text=False,
    ignored_there="position_ids",
    model_types={
        "roberta": ModelType("Roberta"),
        "xlm-roberta": ModelType("XLMRoberta"),
        # its dict.txt holds SentencePiece's three symbols besides, and they are the ones that are used
        "camembert": ModelType(
            "Camembert", ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"), 1
        ),
    },
    byte_level_type="roberta",
    pieces_type="xlm-roberta",
    sizes={
        "encoder_layers": "num_hidden_layers",
        "encoder_embed_dim": "hidden_size",
        "encoder_ffn_embed_dim": "intermediate_size",
        "encoder_attention_heads": "num_attention_heads",
    },
    dimensions={
        "V": "vocab_size",
        "P": "max_position_embeddings",
        "d": "hidden_size",
        "f": "intermediate_size",
    },
    rates={
        "dropout": ("hidden_dropout_prob", 0.1),
        "attention_dropout": ("attention_probs_dropout_prob", 0.1),
        "pooler_dropout": ("classifier_dropout", 0.0),
    },
    layer_norm_eps=("layer_norm_eps", 1e-12),
    fixed={
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
        "pad_token_id": 1,
    },
    activation_there="hidden_act",
    embedding_size_there="",
    pooler_activation="tanh",
    position_offset=POSITION_OFFSET,
    special_tokens={
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    },
    special_there={},
    pair_separators=2,
    unsupported=("encoder_normalize_before", "untie_weights_roberta", "encoder_layers_to_keep"),
    # fairseq before its 0.10, when roberta.* and xlmr.* were released
    former_names=(
        (re.compile(r"^decoder\."), BODY),
        (re.compile(r"\.emb_layer_norm\."), ".layernorm_embedding."),
        (re.compile(r"\.layer_norms\.0\."), ".self_attn_layer_norm."),
        (re.compile(r"\.layer_norms\.1\."), ".final_layer_norm."),
    ),
    joined=(re.compile(r"(.+\.)in_proj_(weight|bias)$"), ("q_proj", "k_proj", "v_proj")),
)


def _renamed(modules: Iterable[Module], former: str, new: str) -> tuple[Module, ...]:
    return tuple(one._replace(there=one.there.replace(former, new, 1)) for one in modules)


BERT = replace(
    ROBERTA,
    name="BERT",
    prefix_there="bert.",
    embeddings=_renamed(ROBERTA.embeddings, "roberta.", "bert."),
    layers_there="bert.encoder.layer.{}.",
    head=(
        Module("dense", "cls.predictions.transform.dense"),
        Module("layer_norm", "cls.predictions.transform.LayerNorm", "d"),
    ),
    bias_there="cls.predictions.bias",
    classifier=_classifier("bert.pooler.dense", "classifier"),
    tied_there={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    token_types_there="bert.embeddings.token_type_embeddings.weight",
    has_second_text=True,
    model_types={"bert": ModelType("Bert")},
    byte_level_type="bert",
    pieces_type="bert",
    fixed={name: value for name, value in ROBERTA.fixed.items() if name != "pad_token_id"},
    position_offset=0,
    special_there={
        "cls_token": "[CLS]",
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
    },
    pair_separators=1,
)
DISTILBERT = replace(
    BERT,
    name="DistilBERT",
    prefix_there="distilbert.",
    embeddings=_renamed(BERT.embeddings, "bert.", "distilbert."),
    layer=_layer(
        "attention.q_lin",
        "attention.k_lin",
        "attention.v_lin",
        "attention.out_lin",
        "sa_layer_norm",
        "ffn.lin1",
        "ffn.lin2",
        "output_layer_norm",
    ),  # fmt: skip
    layers_there="distilbert.transformer.layer.{}.",
    head=(Module("dense", "vocab_transform"), Module("layer_norm", "vocab_layer_norm", "d")),
    bias_there="vocab_projector.bias",
    classifier=_classifier("pre_classifier", "classifier"),
    tied_there={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
    token_types_there="",
    has_second_text=False,
    model_types={"distilbert": ModelType("DistilBert")},
    byte_level_type="distilbert",
    pieces_type="distilbert",
    sizes={
        "encoder_layers": "n_layers",
        "encoder_embed_dim": "dim",
        "encoder_ffn_embed_dim": "hidden_dim",
        "encoder_attention_heads": "n_heads",
    },
    dimensions={
        "V": "vocab_size",
        "P": "max_position_embeddings",
        "d": "dim",
        "f": "hidden_dim",
    },
    rates={
        "dropout": ("dropout", 0.1),
        "attention_dropout": ("attention_dropout", 0.1),
        "pooler_dropout": ("seq_classif_dropout", 0.2),
    },
    layer_norm_eps=("", 1e-12),
    fixed={"activation": "gelu", "tie_word_embeddings": True},
    activation_there="activation",
    pooler_activation="relu",
)
ELECTRA = replace(
    BERT,
    name="ELECTRA",
    prefix_there="electra.",
    embeddings=_renamed(BERT.embeddings, "bert.", "electra."),
    layers_there="electra.encoder.layer.{}.",
    head=(
        Module("dense", "generator_predictions.dense"),
        Module("layer_norm", "generator_predictions.LayerNorm", "d"),
    ),
    bias_there="generator_lm_head.bias",
    classifier=_classifier("classifier.dense", "classifier.out_proj"),
    tied_there={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
    token_types_there="electra.embeddings.token_type_embeddings.weight",
    model_types={"electra": ModelType("Electra")},
    byte_level_type="electra",
    pieces_type="electra",
    embedding_size_there="embedding_size",
    pooler_activation="gelu",
)
# One form for all tasks. In Hugging Face's files it stands where the MLM head does, which a model with
# the head of a task lacks.
MODERN_HEAD = (
    Module("dense", "head.dense", "dd", ""),
    Module("layer_norm", "head.norm", "d", ""),
    Module("out_proj", "classifier", "cd", "c"),
)
# Warner et al. 2024 (arXiv 2412.13663); mmBERT is the same architecture
MODERNBERT = replace(
    BERT,
    name="ModernBERT",
    model="minimodel_modernbert",
    settings={
        "global_rope_theta": 160_000.0,
        "local_rope_theta": 10_000.0,
        "local_attention": 128,
        "global_every": 3,
    },
    prefix_there="model.",
    embeddings=(
        Module(f"{ENCODER}embed_tokens", "model.embeddings.tok_embeddings", "Vd", ""),
        Module(f"{ENCODER}layernorm_embedding", "model.embeddings.norm", "d", ""),
        Module(f"{ENCODER}layer_norm", "model.final_norm", "d", ""),
    ),
    layer=(
        Module("self_attn.q_proj", "attn.Wqkv.query", "dd", ""),
        Module("self_attn.k_proj", "attn.Wqkv.key", "dd", ""),
        Module("self_attn.v_proj", "attn.Wqkv.value", "dd", ""),
        Module("self_attn.out_proj", "attn.Wo", "dd", ""),
        Module("self_attn_layer_norm", "attn_norm", "d", ""),
        Module("fc1", "mlp.Wi.input", "fd", ""),
        Module("gate", "mlp.Wi.gate", "fd", ""),
        Module("fc2", "mlp.Wo", "df", ""),
        Module("final_layer_norm", "mlp_norm", "d", ""),
    ),
    first_lacks=("self_attn_layer_norm",),
    joined_there={
        "attn.Wqkv": ("attn.Wqkv.query", "attn.Wqkv.key", "attn.Wqkv.value"),
        "mlp.Wi": ("mlp.Wi.input", "mlp.Wi.gate"),
    },
    layers_there="model.layers.{}.",
    head=(Module("dense", "head.dense", "dd", ""), Module("layer_norm", "head.norm", "d", "")),
    bias_there="decoder.bias",
    classifier=MODERN_HEAD,
    spans=MODERN_HEAD,
    tags=MODERN_HEAD,
    head_settings={"pooler_activation_fn": "gelu", "classifier_pooling": "cls"},
    poolings={"cls": "cls", "mean": "mean"},
    tied_there={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
    token_types_there="",
    has_second_text=False,
    model_types={"modernbert": ModelType("ModernBert")},
    byte_level_type="modernbert",
    pieces_type="modernbert",
    rates={
        "dropout": ("embedding_dropout", 0.0),
        "attention_dropout": ("attention_dropout", 0.0),
        "activation_dropout": ("mlp_dropout", 0.0),
        "pooler_dropout": ("classifier_dropout", 0.0),
    },
    layer_norm_eps=("norm_eps", 1e-5),
    fixed={
        "hidden_activation": "gelu",
        "classifier_activation": "gelu",
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "classifier_bias": False,
        "decoder_bias": True,
        "tie_word_embeddings": True,
    },
    activation_there="hidden_activation",
    pooler_activation="gelu",
)
# Boizard et al. 2025 (arXiv 2503.05500): the layers are Llama's, without its mask
EUROBERT = replace(
    MODERNBERT,
    name="EuroBERT",
    model="minimodel_eurobert",
    settings={"rope_theta": 250_000.0},
    embeddings=(
        Module(f"{ENCODER}embed_tokens", "model.embed_tokens", "Vd", ""),
        Module(f"{ENCODER}layer_norm", "model.norm", "d", ""),
    ),
    layer=(
        Module("self_attn.q_proj", "self_attn.q_proj", "dd", ""),
        Module("self_attn.k_proj", "self_attn.k_proj", "kd", ""),
        Module("self_attn.v_proj", "self_attn.v_proj", "kd", ""),
        Module("self_attn.out_proj", "self_attn.o_proj", "dd", ""),
        Module("self_attn_layer_norm", "input_layernorm", "d", ""),
        Module("fc1", "mlp.gate_proj", "fd", ""),
        Module("gate", "mlp.up_proj", "fd", ""),
        Module("fc2", "mlp.down_proj", "df", ""),
        Module("final_layer_norm", "post_attention_layernorm", "d", ""),
    ),
    first_lacks=(),
    joined_there={},
    head=(),
    bias_there="",
    projection_there="lm_head.weight",
    classifier=_classifier("dense", "classifier"),
    spans=(Module("", "", "cd", "c"),),  # the library has none
    tags=(Module("", "classifier", "cd", "c"),),
    head_settings={"pooler_activation_fn": "gelu", "classifier_pooling": "late"},
    poolings={"late": "late", "cls": "bos", "mean": "mean"},
    tied_there={},
    ignored_there="rotary_emb.",
    model_types={"eurobert": ModelType("EuroBert")},
    byte_level_type="eurobert",
    pieces_type="eurobert",
    sizes={**MODERNBERT.sizes, "encoder_key_value_heads": "num_key_value_heads"},
    rates={"attention_dropout": ("attention_dropout", 0.0)},
    layer_norm_eps=("rms_norm_eps", 1e-5),
    fixed={
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
    },
    activation_there="hidden_act",
    special_there={
        "cls_token": "<|begin_of_text|>",
        "sep_token": "<|end_of_text|>",
        "mask_token": "<|mask|>",
        "pad_token": "<|pad|>",
        "unk_token": "<|unk|>",
    },
)
FAMILIES = (ROBERTA, BERT, DISTILBERT, ELECTRA, MODERNBERT, EUROBERT)


def family_of(model_type: object) -> Family | None:
    """The family of a model by the `model_type` of its config.json; None: it is not known here."""
    if not isinstance(model_type, str):
        return None
    return next((one for one in FAMILIES if model_type in one.model_types), None)
