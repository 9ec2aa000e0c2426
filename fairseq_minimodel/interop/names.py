"""What tensors and settings of a RoBERTa are called in fairseq and in Hugging Face's library."""

from ..bodies.checkpoint import ENCODER
from ..bodies.language_side import EMBEDDING, OUTPUT_BIAS
from ..bodies.parts import HEAD, SPAN_HEAD

# RoBERTa, XLM-R and CamemBERT are one architecture, and have one set of names.
MODEL_TYPES = ("roberta", "xlm-roberta", "camembert")
# Rows of CamemBERT's vocabulary for symbols that it has twice; no text becomes them.
NOT_USED = ("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED")
BODY = "roberta."
WORDS = f"{BODY}embeddings.word_embeddings.weight"
TOKEN_TYPES = f"{BODY}embeddings.token_type_embeddings.weight"
TIED_NAMES = ("lm_head.decoder.weight", "lm_head.decoder.bias")  # stored twice by some versions

EMBEDDINGS = {
    EMBEDDING: WORDS,
    f"{ENCODER}embed_positions.weight": f"{BODY}embeddings.position_embeddings.weight",
}
OUTSIDE_LAYERS = {
    f"{ENCODER}layernorm_embedding": f"{BODY}embeddings.LayerNorm",
    f"{HEAD}dense": "lm_head.dense",
    f"{HEAD}layer_norm": "lm_head.layer_norm",
}
IN_A_LAYER = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.output.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "output.LayerNorm",
}

# Settings that both have, by their names in fairseq's model configuration.
SIZES = {
    "encoder_layers": "num_hidden_layers",
    "encoder_embed_dim": "hidden_size",
    "encoder_ffn_embed_dim": "intermediate_size",
    "encoder_attention_heads": "num_attention_heads",
}
PROBABILITIES = {
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
# fairseq's model has these values and no others. (Hugging Face's MLM head has GELU whatever the
# setting says, and its classification head has tanh.)
FIXED = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
    "pad_token_id": 1,
}


def tensor_names(layers: int, first: int = 0) -> dict[str, str]:
    """The names of the tensors of a masked language model: fairseq's to Hugging Face's.

    Args:
        layers: how many, from the one with the index `first` on.
    """
    modules = dict(OUTSIDE_LAYERS)
    for index in range(first, first + layers):
        for ours, theirs in IN_A_LAYER.items():
            modules[f"{ENCODER}layers.{index}.{ours}"] = f"{BODY}encoder.layer.{index}.{theirs}"
    return EMBEDDINGS | {OUTPUT_BIAS: "lm_head.bias"} | _with_parts(modules)


def task_names(head: str) -> dict[str, str]:
    """The same of the tasks' heads.

    Args:
        head: name of fairseq's classification head.
    """
    prefix = f"classification_heads.{head}."
    modules = {f"{prefix}{part}": f"classifier.{part}" for part in ("dense", "out_proj")}
    return _with_parts(modules | {SPAN_HEAD: "qa_outputs"})


def _with_parts(modules: dict[str, str]) -> dict[str, str]:
    return {
        f"{ours}.{part}": f"{theirs}.{part}"
        for ours, theirs in modules.items()
        for part in ("weight", "bias")
    }
