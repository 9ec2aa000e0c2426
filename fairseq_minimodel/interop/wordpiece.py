"""BERT's tokenizer: WordPiece, and special tokens under other names than fairseq's."""

from collections.abc import Mapping
from pathlib import Path

from ..bodies.weights import AGAIN
from ..errors import InputError
from .added_tokens import read_settings
from .tokenizer import UNUSED, tokens_of

VOCABULARY_FILE = "vocab.txt"
# The tokenizers that are made of vocab.txt alone; others cut words in a way of their own.
CLASSES = tuple(f"{name}Tokenizer" for name in ("Bert", "DistilBert", "Electra"))
OF_A_TEXT = {"cls_token": "bos_token", "sep_token": "eos_token"}
LONGEST_WORD = 100  # characters; a longer one is unknown


def of_vocabulary(model: Path, special: Mapping[str, str]) -> dict[str, object]:
    """BERT's tokenizer, of vocab.txt and tokenizer_config.json, as the content of a tokenizer.json.

    Args:
        special: the special tokens in vocab.txt, by their roles.

    Raises:
        InputError: vocab.txt is not UTF-8, or belongs to a tokenizer of another kind.
    """
    settings = read_settings(model / "tokenizer_config.json")
    kind = str(settings.get("tokenizer_class") or CLASSES[0]).removesuffix("Fast")
    if kind not in CLASSES:
        raise InputError(
            f"{model} has a {kind}, and {VOCABULARY_FILE} says only how BERT's own tokenizer cuts "
            "text: have it saved as tokenizer.json (by the class with Fast in its name, if any)"
        )
    path = model / VOCABULARY_FILE
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8; {AGAIN}") from None
    lines = lines[:-1] if lines[-1] == "" else lines
    rows = {line.rstrip("\r"): row for row, line in enumerate(lines)}
    added = [
        {
            "id": rows[token],
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token in special.values()
        if token in rows
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": bool(settings.get("tokenize_chinese_chars", True)),
            "strip_accents": settings.get("strip_accents"),
            "lowercase": bool(settings.get("do_lower_case", True)),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": special["unk_token"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": LONGEST_WORD,
            "vocab": rows,
        },
    }


def special_names(model: Path, there: Mapping[str, str]) -> dict[str, str]:
    """What a model calls its special tokens, by their roles; `there`: those of its family.

    Where none is named for the beginning and the end of its inputs, they are those of a text.
    """
    named = {
        **read_settings(model / "tokenizer_config.json"),
        **read_settings(model / "special_tokens_map.json"),
    }
    found = {
        role: named.get(role) or named.get(OF_A_TEXT.get(role)) or token
        for role, token in there.items()
    }
    return {
        role: token["content"] if isinstance(token, dict) else token
        for role, token in found.items()
    }


def with_symbols(content: dict, names: Mapping[str, str], model: Path) -> dict:
    """The content of a tokenizer.json with other names of its special tokens.

    A token that had one of the new names gets another: no text leads to it, as words are cut at
    punctuation.

    Args:
        names: of the special tokens, to the new ones.

    Raises:
        InputError: the tokenizer lacks one of them.
    """
    rows = tokens_of(content)
    for name in names:
        if name not in rows:
            raise InputError(f"the tokenizer of {model} has no {name}, which fairseq needs")
    taken = {new: f"{new}{UNUSED}" for new in names.values() if new in rows and new not in names}
    names = taken | dict(names)
    pieces = content["model"]["vocab"]
    if isinstance(pieces, list):
        vocabulary = [[names.get(piece, piece), *score] for piece, *score in pieces]
    else:
        vocabulary = {names.get(piece, piece): row for piece, row in pieces.items()}
    changed = {**content["model"], "vocab": vocabulary}
    if unknown := changed.get("unk_token"):
        changed["unk_token"] = names.get(unknown, unknown)
    added = [
        {**token, "content": names.get(token["content"], token["content"])}
        for token in content["added_tokens"]
    ]
    return {**content, "model": changed, "added_tokens": added, "truncation": None, "padding": None}
