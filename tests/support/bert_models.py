"""Small random models of the BERT family in Hugging Face's form."""

import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import pytest
import torch

SPECIAL = ("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SIZES = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
             "intermediate_size": 48},
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48},
}  # fmt: skip
SIZES["electra"] = {**SIZES["bert"], "embedding_size": 32}
CLASSES = {"bert": "Bert", "distilbert": "DistilBert", "electra": "Electra"}


def make_bert(folder, kind, texts, head="ForMaskedLM", lowercase=True, size=200, **sizes):
    """Write a model with its tokenizer; returns both as transformers has them.

    The tokenizer's files are those of the library: tokenizer.json, no vocab.txt.

    Args:
        kind: the `model_type`.
        head: the end of the class's name.
        sizes: other settings of the configuration than those of `SIZES`.
    """
    transformers = pytest.importorskip("transformers")
    from tokenizers import BertWordPieceTokenizer

    folder.mkdir(parents=True)
    trained = BertWordPieceTokenizer(lowercase=lowercase)
    trained.train_from_iterator(
        texts, size, special_tokens=list(SPECIAL), show_progress=False, min_frequency=1
    )
    trained.save_model(str(folder))
    tokenizer = transformers.BertTokenizerFast.from_pretrained(str(folder), do_lower_case=lowercase)
    (folder / "vocab.txt").unlink()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    settings = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, **SIZES[kind]} | sizes
    config = getattr(transformers, f"{CLASSES[kind]}Config")(**settings)
    model = getattr(transformers, f"{CLASSES[kind]}{head}")(config)
    with torch.no_grad():  # weights of a size that gives logits apart
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.eval().save_pretrained(folder)
    return model, tokenizer


def write_vocabulary(folder, tokenizer, **settings):
    """The files of a tokenizer as they were before tokenizer.json: vocab.txt and settings."""
    import json

    rows = tokenizer.get_vocab()
    for path in folder.glob("*token*"):
        path.unlink()
    lines = sorted(rows, key=rows.__getitem__)
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
