"""The vocabulary of a model in Hugging Face's form, whatever files it is in, in fairseq's order."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..bodies.family import Family, ModelType
from ..bodies.weights import AGAIN
from ..errors import InputError
from ..files.records import read_record, shown
from ..packs.pack import DICTIONARY
from ..vocabulary.sentencepiece_model import read_pieces
from ..vocabulary.tokenizers import (
    BOS,
    EOS,
    FAST_TOKENIZER_FILE,
    MASK_SYMBOL,
    SENTENCEPIECE_FILE,
    SPECIAL_SYMBOLS,
    write_dictionary,
)
from .added_tokens import add_tokens, read_added_tokens
from .tokenizer import of_sentencepiece, renumbered, special_added_tokens, tokens_of
from .wordpiece import VOCABULARY_FILE, of_vocabulary, special_names, with_symbols

BPE_CODES = "bpe.codes"
JSON = dict[str, object]


@dataclass(frozen=True)
class Tokens:
    """The vocabulary of a model.

    Attributes:
        rows: token to row of the embedding.
        tokenizer: a SentencePiece model as it is, or the content of a tokenizer.json.
        file: where they come from.
    """

    rows: dict[str, int]
    tokenizer: Path | dict
    file: Path


def read_tokens(model: Path, kind: str, family: Family) -> Tokens:
    """The vocabulary, with the tokens that were added to it.

    A SentencePiece model is the pack's tokenizer where it has all tokens. Otherwise that is a
    tokenizer.json: the one in the folder, or one that is made of the other files.

    Args:
        kind: the `model_type` of config.json.

    Raises:
        InputError: there is none, it is damaged, or no tokenizer.json can say what it does.
    """
    pieces, fast = model / SENTENCEPIECE_FILE, model / FAST_TOKENIZER_FILE
    try:
        added = read_added_tokens(model)
        special = special_names(model, family.special_there)
        rows, content, file, tokenizer = {}, None, pieces, pieces
        if pieces.is_file():
            rows = _rows_of_pieces(pieces, family.model_types[kind])
            if added and not fast.is_file():
                symbols = sorted(rows, key=rows.__getitem__)
                content = of_sentencepiece(pieces, symbols)
                # slow tokenizers look for all of them in the text as it is
                added = [{**token, "normalized": False} for token in added]
        if fast.is_file():
            file, content = fast, read_record(fast, JSON, AGAIN)
        elif (model / BPE_CODES).is_file() and not pieces.is_file():
            raise InputError(
                f"{model} has the tokenizer of PhoBERT and BERTweet ({BPE_CODES}), which reads what "
                "its merges make and vocab.txt lacks as <unk>; a tokenizer.json cannot say that, and "
                "the text would need their own programs first: take another model"
            )
        elif (model / VOCABULARY_FILE).is_file() and special:
            file, content = model / VOCABULARY_FILE, of_vocabulary(model, special)
        elif not pieces.is_file():
            file, content = model / "vocab.json", _byte_level(model)
        if content is not None:
            content = add_tokens(content, added)
            if special:
                special = _with_reserved(special, content, model)
                symbols = {name: family.special_tokens[role] for role, name in special.items()}
                content = with_symbols(content, symbols, model)
            tokenizer = pieces if _has_all(rows, content, family) else content
            rows = tokens_of(content)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the tokenizer of {model} is damaged ({error!r})") from None
    wrong = [
        token
        for token, row in rows.items()
        if type(token) is not str or type(row) is not int or row < 0
    ]
    if wrong or not rows:
        raise InputError(
            f"the tokenizer of {model} is damaged "
            f"({shown(wrong[0]) if wrong else 'no token'} has no id from 0 on)"
        )
    return Tokens(rows, tokenizer, file)


def _with_reserved(special: Mapping[str, str], content: dict, model: Path) -> dict[str, str]:
    """Special tokens by their roles, each another one: reserved ones for those that are not there.

    Tokenizers as Llama's know every byte, and have no unknown token; padding is often the end of a
    text. They have special tokens that stand for nothing yet, and no text leads to them.

    Args:
        special: the roles with the names that the model's files have for them.
        content: of a tokenizer.json.

    Raises:
        InputError: two roles have one token, and none is reserved.
    """
    rows = tokens_of(content)
    names = (token["content"] for token in content["added_tokens"])
    reserved = (name for name in names if "reserved" in name and name not in special.values())
    found: dict[str, str] = {}
    for role in sorted(special, key=["pad_token", "unk_token"].__contains__):
        name = special[role]
        is_free = name in rows and name not in found.values()
        found[role] = name if is_free else next(reserved, name)
        if list(found.values()).count(found[role]) > 1:
            raise InputError(
                f"the tokenizer of {model} has {name} for several roles ({role} among them), and no "
                "reserved token that could stand for one: give the pad_token a token of its own"
            )
    return found


def _has_all(rows: dict[str, int], content: dict, family: Family) -> bool:
    """Whether a SentencePiece model with these tokens can stand for a tokenizer.json."""
    special = {MASK_SYMBOL, *SPECIAL_SYMBOLS}
    special = special.union(*(kind.first_tokens for kind in family.model_types.values()))
    added = {token["content"] for token in content["added_tokens"]}
    return rows.keys() - special == tokens_of(content).keys() - special and added <= special


def _rows_of_pieces(path: Path, kind: ModelType) -> dict[str, int]:
    """Token to row where there is a SentencePiece model alone: as the model's own tokenizer has it."""
    return {token: row for row, token in enumerate(kind.tokens(read_pieces(path)))}


def _byte_level(model: Path) -> dict:
    """RoBERTa's tokenizer, of vocab.json and merges.txt, as the content of a tokenizer.json."""
    if not ((model / "vocab.json").is_file() and (model / "merges.txt").is_file()):
        raise InputError(
            f"{model} has no tokenizer: neither {SENTENCEPIECE_FILE}, nor {FAST_TOKENIZER_FILE}, "
            "nor vocab.json with merges.txt"
        )
    rows = read_record(model / "vocab.json", JSON, AGAIN)
    lines = (model / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    ends = [[SPECIAL_SYMBOLS[index], rows[SPECIAL_SYMBOLS[index]]] for index in (EOS, BOS)]
    space = {"add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special_added_tokens(rows),
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", **space, "use_regex": True},
        "post_processor": {"type": "RobertaProcessing", "sep": ends[0], "cls": ends[1], **space},
        "decoder": {"type": "ByteLevel", **space, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": rows,
            "merges": merges,
        },
    }


def ordered_symbols(
    tokens: Tokens, count: int, model: Path, family: Family
) -> tuple[list[str], list[int]]:
    """The symbol of each row in fairseq's order, and which row of the model each one is.

    Args:
        count: rows of the embedding.

    Raises:
        InputError: the tokens do not fit the embedding, or fairseq cannot express one.
    """
    rows = tokens.rows
    lost = [token for token in (*SPECIAL_SYMBOLS, MASK_SYMBOL) if token not in rows]
    if lost:
        raise InputError(f"the tokenizer of {model} has no {lost[0]}, which fairseq needs")
    if max(rows.values()) >= count:
        raise InputError(
            f"the tokenizer of {model} has the id {max(rows.values())} and the embedding {count} "
            "rows: they do not belong together"
        )
    if len(rows) < count / 2:
        raise InputError(
            f"the tokenizer of {model} has {len(rows)} tokens and the embedding {count} rows: they do "
            "not belong together"
        )
    broken = next((token for token in rows if not _fits_a_line(token)), None)
    if broken is not None:
        raise InputError(
            f"{tokens.file} has the token {broken!r}, which does not fit into a line of fairseq's "
            "dict.txt: take it out of the tokenizer, or write it without a line break"
        )
    symbols = {row: token for token, row in rows.items()}
    first = [rows[token] for token in SPECIAL_SYMBOLS]
    last = [rows[MASK_SYMBOL]] if family.special_there else []  # where fairseq puts it itself
    placed = {*first, *last}
    order = [*first, *(row for row in range(count) if row not in placed), *last]
    names = [symbols.get(row, f"madeupword{row}") for row in order]  # as fairseq fills gaps
    return names, order


def _fits_a_line(token: str) -> bool:
    lone_surrogate = any("\ud800" <= character <= "\udfff" for character in token)
    return not lone_surrogate and "\n" not in token and "\r" not in token


def write_vocabulary(
    folder: Path, symbols: list[str], tokens: Tokens, moved: bool, family: Family
) -> None:
    """Write dict.txt and the tokenizer.

    Args:
        moved: whether the symbols are in another order than the model's.
    """
    ordinary = symbols[len(SPECIAL_SYMBOLS) :]
    if ordinary[-1] == MASK_SYMBOL:  # where fairseq puts it itself
        ordinary.pop()
    write_dictionary(folder / DICTIONARY, ordinary, [0] * len(ordinary))
    if isinstance(tokens.tokenizer, Path):
        shutil.copyfile(tokens.tokenizer, folder / SENTENCEPIECE_FILE)
        return
    content = renumbered(tokens.tokenizer, symbols, family) if moved else tokens.tokenizer
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / FAST_TOKENIZER_FILE).write_text(text + "\n", encoding="utf-8")
