"""Small random models in Hugging Face's form, one of each style, and real text to read with them."""

import json
import lzma
import os
import re

import pytest

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import sentencepiece
import torch

from fairseq_minimodel.bodies.tensors import EMBEDDING

LANGUAGES = ("ar", "de", "el", "en", "hi", "ru", "sw", "tr", "vi")
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 66, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1,
}  # fmt: skip
# What tokenizers get wrong: NFKC, several spaces, unknown characters, joined emoji, letters in parts.
HARD = [
    "", "   ", "  two  spaces ", "\u2581x", "Hello\u2581world", "tab\tnew\u00a0\u3000wide\u200bzero",
    "\u00bd cup of \ufb01ne \u2167 \u338f", "na\u00efve \U0001f44d\U0001f3fd \u2603",
    "\u6f22\u5b57 x \u6f22", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "e\u0301a\u0308",
    "Vie\u0323\u0302t Vi\u00ea\u0323t e\u0302\u0323", "\ufeffmark", "a\u0085b\u2028c", "control\x07s",
    "\u2460\ufdfa", "\ud55c\uad6d \u1112\u1161\u11ab", "\u0928\u093c\u0947 \u0929\u0947",
    "\u0651\u064e", "\u0623\u064e\ufefb\u0651 \u062e\u0650\ufefb\u0644\u064e",
    "<unused>", "n't 's", "...", "0000 5,000",
]  # fmt: skip


def lines(shared_data, language):
    """The lines of the real text in a language."""
    for path in sorted((shared_data / "mono" / language).iterdir()):
        with lzma.open(path, "rt", encoding="utf-8") as file:
            if path.name.endswith(".jsonl.xz"):
                for row in file:
                    yield from json.loads(row)["text"].split("\n")
            elif path.name.endswith(".xml.xz"):
                yield from re.findall(r'<seg[^>]*type="verse"[^>]*>([^<]*)<', file.read())
            else:
                for line in file:
                    yield line.rstrip("\n")


def sampled(shared_data, language, count):
    found = list(lines(shared_data, language))
    return found[:: max(1, len(found) // count)]


def train_sentencepiece(path, texts, size, **options):
    """A unigram model, as `prepare` trains it; or one of another kind, by the trainer's options."""
    settings = {"model_type": "unigram", "hard_vocab_limit": False, "character_coverage": 0.9995}
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=file, vocab_size=size, num_threads=1,
            minloglevel=2, **settings | options,
        )  # fmt: skip


def is_a_tie(ids, own, processor):
    """Whether two ways to cut a text have sums of scores that 32-bit numbers do not tell apart.

    Our ids are SentencePiece's plus one; an unknown character is the same in both.
    """
    sums = [sum(processor.get_score(i - 1) for i in way if i != 3) for way in (ids, own)]
    return sums[0] == pytest.approx(sums[1], rel=1e-6, abs=1e-4)


def generated_texts(count=400):
    """Lines of words made of syllables."""
    generator = torch.Generator().manual_seed(5)
    parts = [a + b for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u", "\u00e9")]

    def word():
        return "".join(parts[index] for index in torch.randint(72, (2,), generator=generator))

    return [" ".join(word() for _ in range(6)) + "." for _ in range(count)]


def randomise(model):
    """Weights of a size that gives logits apart; what transformers makes is nearly zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
            if "token_type" in name:
                parameter.zero_()
    return model.eval()


def make_model(folder, style, texts, size=300):
    """Write a model of a style; returns it, with the tokenizer that transformers reads with it."""
    transformers = pytest.importorskip("transformers")
    folder.mkdir(parents=True, exist_ok=True)
    if style.startswith("roberta"):
        tokenizer = _byte_level(folder, texts, size, fast=style == "roberta fast")
        kind = "Roberta"
    else:
        path = folder / "sentencepiece.bpe.model"
        train_sentencepiece(path, texts, size)
        kind = "Camembert" if style.startswith("camembert") else "XLMRoberta"
        tokenizer = _of_pieces(transformers, kind, path)
        if style.endswith("fast"):
            path.unlink()
            tokenizer.save_pretrained(folder)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    configuration = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer), **SIZES, **ends
    )
    model = randomise(getattr(transformers, f"{kind}ForMaskedLM")(configuration))
    model.save_pretrained(folder)
    return model, tokenizer


def _of_pieces(transformers, kind, path):
    """As the model's own tokenizer has them (the ids in the documents of XLM-R and CamemBERT)."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = [(model.id_to_piece(index), model.get_score(index)) for index in range(len(model))]
    if kind == "Camembert":
        first = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"]
        pieces = pieces[1:]
    else:
        first = ["<s>", "<pad>", "</s>", "<unk>"]
        pieces = pieces[3:]
    vocabulary = [(token, 0.0) for token in first] + pieces + [("<mask>", 0.0)]
    return getattr(transformers, f"{kind}Tokenizer")(vocab=vocabulary)


def _byte_level(folder, texts, size, fast):
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizer

    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(texts, size, special_tokens=special, show_progress=False)
    trained.save_model(str(folder))
    tokenizer = RobertaTokenizer.from_pretrained(str(folder))
    if fast:
        tokenizer.save_pretrained(folder)
        (folder / "vocab.json").unlink(missing_ok=True)
        (folder / "merges.txt").unlink(missing_ok=True)
    return tokenizer


def check_symbols(imported):
    """The symbols of an imported model are fairseq's, and each is a row of the model.

    Args:
        imported: with model and tokenizer, as the library has them; pack and checkpoint, ours; rows,
            theirs of ours.
    """
    symbols = imported.pack.symbols
    assert symbols[:4] == ["<s>", "<pad>", "</s>", "<unk>"] and symbols[-1] == "<mask>"
    assert sorted(imported.rows.tolist()) == list(range(len(imported.tokenizer)))
    embedding = imported.model.get_input_embeddings().weight
    assert torch.equal(imported.checkpoint.state[EMBEDDING], embedding[imported.rows])
