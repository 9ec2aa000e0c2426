"""Small random models of ModernBERT's architecture in Hugging Face's form."""

import pytest

from .bert_models import torch  # with the library quiet
from .huggingface_models import randomise

SPECIAL = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
ROLES = dict(zip(("unk", "cls", "sep", "pad", "mask"), SPECIAL, strict=True))
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 5, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 96, "local_attention": 8,
}  # fmt: skip


def make_modern(folder, texts, head="ForMaskedLM", size=330, **settings):
    """Write a model with its tokenizer, bytes joined as ModernBERT's; returns both as the library's.

    Args:
        head: the end of the class's name.
        settings: other ones of the configuration than those of `SIZES`.
    """
    transformers = pytest.importorskip("transformers")
    tokenizer = _tokenizer(transformers, texts, size)
    tokenizer.save_pretrained(folder)
    rows = {
        f"{role}_token_id": tokenizer.convert_tokens_to_ids(name) for role, name in ROLES.items()
    }
    ends = {"bos_token_id": rows["cls_token_id"], "eos_token_id": rows["sep_token_id"]}
    del rows["unk_token_id"], rows["mask_token_id"]
    settings = {"vocab_size": len(tokenizer), **SIZES, **rows, **ends} | settings
    config = transformers.ModernBertConfig(**settings)
    torch.manual_seed(3)
    model = randomise(getattr(transformers, f"ModernBert{head}")(config))
    model.save_pretrained(folder)
    return model, tokenizer


def _tokenizer(transformers, texts, size):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    rows = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=rows
    )
    names = {f"{role}_token": name for role, name in ROLES.items()}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
