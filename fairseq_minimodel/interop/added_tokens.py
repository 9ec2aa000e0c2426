"""Tokens added to a tokenizer of Hugging Face's library, which looks for them before all else."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..bodies.weights import AGAIN
from ..errors import InputError
from ..files.records import read_record
from ..vocabulary.tokenizers import MASK_SYMBOL, SPECIAL_SYMBOLS

MOST_UNNAMED = 1_000_000  # ids between the vocabulary and an added token
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
Token = dict[str, object]


def read_added_tokens(model: Path) -> list[Token]:
    """The tokens that the files beside the vocabulary add, in order of their ids, in the form of
    tokenizer.json; without those that fairseq has itself (<s>, <mask>, ...).

    The id is None where no file says it: the token is in the vocabulary, or comes after all others.
    With their settings they stand in tokenizer_config.json. Before version 4.34 the library wrote
    names and ids to added_tokens.json, and which ones are special to special_tokens_map.json.

    Raises:
        InputError: one of the files is not JSON.
        KeyError, TypeError, ValueError, AttributeError: something is missing in it.
    """
    settings = read_settings(model / "tokenizer_config.json")
    named = {**settings, **read_settings(model / "special_tokens_map.json")}
    special = {token["content"]: token for value in named.items() for token in _special(*value)}
    found = {
        token["content"]: {**FLAGS, "special": False, **token, "id": int(row)}
        for row, token in settings.get("added_tokens_decoder", {}).items()
    }
    for content, row in read_settings(model / "added_tokens.json").items():
        known = {"content": content, "special": content in special, **special.get(content, {})}
        found.setdefault(content, {**FLAGS, **known, "id": int(row)})
    for content, token in special.items():
        found.setdefault(content, {**FLAGS, **token, "special": True, "id": None})
    tokens = [
        {name: token[name] for name in ("id", "content", *FLAGS, "special")}
        for content, token in found.items()
        if content not in (*SPECIAL_SYMBOLS, MASK_SYMBOL)
    ]
    return sorted(tokens, key=lambda token: (token["id"] is None, token["id"]))


def _special(name: str, value: object) -> list[Token]:
    """The tokens in one entry of a file of settings, where it names special tokens."""
    if name in ("additional_special_tokens", "extra_special_tokens"):
        values = list(value.values()) if isinstance(value, dict) else list(value or [])
    else:
        values = [value] if name.endswith("_token") else []
    plain = [
        {"content": one, "normalized": False} if isinstance(one, str) else one for one in values
    ]
    return [one for one in plain if isinstance(one, dict)]


def add_tokens(content: Mapping[str, object], added: Iterable[Token]) -> dict[str, object]:
    """The content of a tokenizer.json with more added tokens; those that it has already stay.

    The library gives added tokens the ids behind the vocabulary, without gaps, whatever the file
    says. So if there is a gap, the vocabulary is filled up to it.
    """
    model = dict(content["model"])
    pieces = model["vocab"]
    ordered = isinstance(pieces, list)  # unigram: (piece, score), its place is its id
    rows = {piece: row for row, (piece, _) in enumerate(pieces)} if ordered else dict(pieces)
    size = 1 + max(rows.values())
    tokens = {token["content"]: token for token in content["added_tokens"]}
    for token in added:
        row = token["id"]
        if token["content"] not in tokens:
            taken = {**rows, **{name: one["id"] for name, one in tokens.items()}}
            if row is None:
                row = taken.get(token["content"], 1 + max(taken.values()))
            tokens[token["content"]] = {**token, "id": row}
    names = {token["id"]: name for name, token in tokens.items()}
    names |= {row: piece for piece, row in rows.items()}
    filled = 1 + max(names)
    while filled > size and filled - 1 in names:
        filled -= 1
    if filled - size > MOST_UNNAMED:
        raise InputError(
            f"the added token {names[max(names)]!r} has the id {max(names)}, and there are "
            f"{len(names)} tokens: the files of the tokenizer do not belong together"
        )
    more = [names.get(row, f"madeupword{row}") for row in range(size, filled)]
    if ordered:
        lowest = min(score for _, score in pieces)
        model["vocab"] = [*pieces, *((name, lowest) for name in more)]
    else:
        model["vocab"] = {**pieces, **{name: size + place for place, name in enumerate(more)}}
    return {
        **content,
        "model": model,
        "added_tokens": sorted(tokens.values(), key=lambda token: token["id"]),
    }


def read_settings(path: Path) -> dict:
    """A JSON object; empty where there is no such file."""
    return read_record(path, dict[str, object], AGAIN) if path.exists() else {}
