"""The named sizes of models: what `--arch` stands for.

In a configuration a size is `None` until the model is built, so that `--arch` and hydra's
`model._name` mean the same thing.
"""

ROBERTA_SIZES = {
    # small enough for tests
    "minimodel_roberta": {
        "encoder_layers": 4,
        "encoder_embed_dim": 64,
        "encoder_ffn_embed_dim": 256,
        "encoder_attention_heads": 4,
    },
    "minimodel_roberta_base": {
        "encoder_layers": 12,
        "encoder_embed_dim": 768,
        "encoder_ffn_embed_dim": 3072,
        "encoder_attention_heads": 12,
    },
    "minimodel_roberta_large": {
        "encoder_layers": 24,
        "encoder_embed_dim": 1024,
        "encoder_ffn_embed_dim": 4096,
        "encoder_attention_heads": 16,
    },
}
# those of Warner et al. 2024 (arXiv 2412.13663, table 4), but for the first
MODERNBERT_SIZES = {
    "minimodel_modernbert": {
        "encoder_layers": 4,
        "encoder_embed_dim": 64,
        "encoder_ffn_embed_dim": 96,
        "encoder_attention_heads": 4,
    },
    "minimodel_modernbert_base": {
        "encoder_layers": 22,
        "encoder_embed_dim": 768,
        "encoder_ffn_embed_dim": 1152,
        "encoder_attention_heads": 12,
    },
    "minimodel_modernbert_large": {
        "encoder_layers": 28,
        "encoder_embed_dim": 1024,
        "encoder_ffn_embed_dim": 2624,
        "encoder_attention_heads": 16,
    },
}
# those of Boizard et al. 2025 (arXiv 2503.05500), but for the first
EUROBERT_SIZES = {
    "minimodel_eurobert": {
        "encoder_layers": 4,
        "encoder_embed_dim": 64,
        "encoder_ffn_embed_dim": 96,
        "encoder_attention_heads": 4,
        "encoder_key_value_heads": 2,
    },
    "minimodel_eurobert_210m": {
        "encoder_layers": 12,
        "encoder_embed_dim": 768,
        "encoder_ffn_embed_dim": 3072,
        "encoder_attention_heads": 12,
        "encoder_key_value_heads": 12,
    },
    "minimodel_eurobert_610m": {
        "encoder_layers": 26,
        "encoder_embed_dim": 1152,
        "encoder_ffn_embed_dim": 4096,
        "encoder_attention_heads": 18,
        "encoder_key_value_heads": 6,
    },
    "minimodel_eurobert_2b": {
        "encoder_layers": 32,
        "encoder_embed_dim": 2304,
        "encoder_ffn_embed_dim": 6144,
        "encoder_attention_heads": 18,
        "encoder_key_value_heads": 6,
    },
}
MODELS = (ROBERTA_SIZES, MODERNBERT_SIZES, EUROBERT_SIZES)
ARCHITECTURES = {name: sizes for model in MODELS for name, sizes in model.items()}


def complete_sizes(config: object, architecture: str) -> None:
    """Fill the sizes that `config` leaves open (absent or None) with those of an architecture."""
    for name, size in ARCHITECTURES[architecture].items():
        if getattr(config, name, None) is None:
            setattr(config, name, size)


def model_of(architecture: str) -> str:
    """The model that an architecture is of."""
    return next(next(iter(sizes)) for sizes in MODELS if architecture in sizes)
