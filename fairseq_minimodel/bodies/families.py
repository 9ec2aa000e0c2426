"""The families of models that are known here, as one `Family` each. Imports no PyTorch."""

import re
from collections.abc import Iterable
from dataclasses import replace

from .family import Family, ModelType, Module
from .tensors import BODY, ENCODER, POSITION_OFFSET


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


def _modern_layer(*there: str, keys: str = "d") -> tuple[Module, ...]:
    """The same of a layer with a gate and without biases; `keys`: the letter of the width of keys."""
    here = (
        ("self_attn.q_proj", "dd"), ("self_attn.k_proj", f"{keys}d"), ("self_attn.v_proj", f"{keys}d"),
        ("self_attn.out_proj", "dd"), ("self_attn_layer_norm", "d"),
        ("fc1", "fd"), ("gate", "fd"), ("fc2", "df"), ("final_layer_norm", "d"),
    )  # fmt: skip
    return tuple(
        Module(name, other, shape, "") for (name, shape), other in zip(here, there, strict=True)
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
    ),
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
    ),
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
    layer=_modern_layer(
        "attn.Wqkv.query",
        "attn.Wqkv.key",
        "attn.Wqkv.value",
        "attn.Wo",
        "attn_norm",
        "mlp.Wi.input",
        "mlp.Wi.gate",
        "mlp.Wo",
        "mlp_norm",
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
    layer=_modern_layer(
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "input_layernorm",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
        "post_attention_layernorm",
        keys="k",
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
