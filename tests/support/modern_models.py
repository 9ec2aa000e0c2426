"""Small random models of ModernBERT's and EuroBERT's architecture in Hugging Face's form."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from fairseq_minimodel.bodies.families import EUROBERT, MODERNBERT
from fairseq_minimodel.bodies.family import Family

from .bert_models import torch  # with the library quiet
from .huggingface_models import randomise

SPECIAL = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
NAMES = dict(zip(("unk", "cls", "sep", "pad", "mask"), SPECIAL, strict=True))  # by their roles
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 5, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 96, "local_attention": 8,
}  # fmt: skip
# As in the published EuroBERTs: no token for what is unknown, padding is the end of a text, and some
# special tokens stand for nothing yet.
EURO_NAMES = {
    "bos": "<|begin_of_text|>", "eos": "<|end_of_text|>", "pad": "<|end_of_text|>", "mask": "<|mask|>",
}  # fmt: skip
RESERVED = tuple(f"<|reserved_special_token_{number}|>" for number in range(3))
EURO_SIZES = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 40, "max_position_embeddings": 96, "rope_theta": 250_000.0,
}  # fmt: skip


def make_modern(folder, texts, head="ForMaskedLM", size=330, names=NAMES, **settings):
    """Write a model with its tokenizer, bytes joined as ModernBERT's; returns both as the library's.

    Args:
        head: the end of the class's name.
        names: of the special tokens, by their roles, in the order of `NAMES`.
        settings: other ones of the configuration than those of `SIZES`.
    """
    transformers = pytest.importorskip("transformers")
    _, first, last, *_ = names.values()
    tokenizer = _tokenizer(transformers, texts, size, names, names.values(), first, last)
    tokenizer.save_pretrained(folder)
    _, first, last, pad, _ = tokenizer.convert_tokens_to_ids(list(names.values()))
    rows = {"bos_token_id": first, "eos_token_id": last, "pad_token_id": pad}
    rows |= {"cls_token_id": first, "sep_token_id": last}
    settings = {"vocab_size": len(tokenizer), **SIZES, **rows} | settings
    return _model(transformers, "ModernBert", head, settings, folder), tokenizer


def make_euro(
    folder, texts, head="ForMaskedLM", size=330, names=EURO_NAMES, more=RESERVED, **settings
):
    """The same of EuroBERT's architecture; `more`: special tokens besides those that are named."""
    transformers = pytest.importorskip("transformers")
    first, last = names["bos"], names["eos"]
    special = list(dict.fromkeys([*names.values(), *more]))
    tokenizer = _tokenizer(transformers, texts, size, names, special, first, last)
    tokenizer.save_pretrained(folder)
    rows = {f"{role}_token_id": tokenizer.convert_tokens_to_ids(one) for role, one in names.items()}
    settings = {"vocab_size": len(tokenizer), **EURO_SIZES, **rows} | settings
    return _model(transformers, "EuroBert", head, settings, folder), tokenizer


@dataclass(frozen=True, eq=False)
class Kind:
    """A family, and what tests build its models of.

    Attributes:
        sizes: of a small model of this package, by the names of its settings.
        make: writes a small model in Hugging Face's form.
        names: of the special tokens that it has by default, as `make` takes them.
        classes: what Hugging Face's classes begin with.
    """

    family: Family
    sizes: Mapping[str, int]
    make: Callable
    names: Mapping[str, str]
    classes: str

    def __str__(self) -> str:
        return self.family.name

    def options(self, **changes: int) -> list[str]:
        """Of fairseq-train, for a model of these sizes."""
        named = (self.sizes | changes).items()
        sizes = [
            word for name, size in named for word in (f"--{name.replace('_', '-')}", f"{size}")
        ]
        return ["--arch", self.family.model, *sizes]


_SIZES = {"encoder_layers": 5, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 24}
MODERN = Kind(
    MODERNBERT,
    {**_SIZES, "encoder_attention_heads": 2, "max_positions": 48, "local_attention": 8},
    make_modern, NAMES, "ModernBert",
)  # fmt: skip
EURO = Kind(
    EUROBERT,
    {**_SIZES, "encoder_attention_heads": 4, "max_positions": 48, "encoder_key_value_heads": 2},
    make_euro, EURO_NAMES, "EuroBert",
)  # fmt: skip
KINDS = (MODERN, EURO)
of_each_kind, of_modernbert, of_eurobert = (
    pytest.mark.parametrize("kind", kinds, ids=str) for kinds in (KINDS, [MODERN], [EURO])
)


def _model(transformers, kind, head, settings, folder):
    config = getattr(transformers, f"{kind}Config")(**settings)
    torch.manual_seed(3)
    model = randomise(getattr(transformers, f"{kind}{head}")(config))
    model.save_pretrained(folder)
    return model


def _tokenizer(transformers, texts, size, names, special, first, last):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(special), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B {last}",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in (first, last)],
    )
    tokens = {f"{role}_token": name for role, name in names.items()}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)
