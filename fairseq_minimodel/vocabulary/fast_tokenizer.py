"""Tokenizers of the library `tokenizers`, by their file tokenizer.json."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from ..errors import InputError
from ..files.records import read_json

UNKNOWN = "<unk>"


class FastTokenizer:
    """A tokenizer.json, with those methods of a `SentencePieceProcessor` that this package calls.

    Args:
        special: tokens that no text becomes: of "<s>" come the pieces that spell it. Tokens that were
            added to the tokenizer stand in text, whether Hugging Face's library calls them special
            or not.

    Raises:
        InputError: the library is not installed, or the file is missing or damaged.
    """

    def __init__(self, path: str | Path, special: Collection[str]) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise InputError(
                f"{path} is a tokenizer of the library tokenizers, which is not installed: "
                "pip install 'fairseq-minimodel[hf]'"
            ) from None
        content = read_json(path, "copy the tokenizer again")
        try:
            for token in content["added_tokens"]:
                token["special"] = token["content"] in special
            self._tokenizer = Tokenizer.from_str(json.dumps(content))
        except Exception as error:  # the library raises nothing narrower
            raise InputError(
                f"{path} is not a tokenizer.json, or is damaged ({error}); copy it again"
            ) from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        pieces = self._tokenizer.get_vocab(with_added_tokens=True)
        self._pieces = {index: piece for piece, index in pieces.items()}
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = {index for index, token in added.items() if token.special}

    def __len__(self) -> int:
        return 1 + max(self._pieces, default=-1)

    def id_to_piece(self, index: int) -> str:
        return self._pieces.get(index, "")

    def unk_id(self) -> int:
        """-1: it has none, as it knows every byte."""
        found = self._tokenizer.token_to_id(UNKNOWN)
        return -1 if found is None else found

    def is_unknown(self, index: int) -> bool:
        return index == self.unk_id()

    def is_control(self, index: int) -> bool:
        return index in self._special

    def is_unused(self, index: int) -> bool:
        return index not in self._pieces

    def encode(
        self, text: str | Sequence[str], num_threads: int = 1, return_type: str | None = None
    ) -> list[list[int]] | dict[str, list]:
        """Ids of each text; of a single one, with the "offset_mapping", its ids and offsets."""
        if return_type is None:
            return [self._tokenizer.encode(one, add_special_tokens=False).ids for one in text]
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return {"ids": encoded.ids, "offsets": encoded.offsets}

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def normalize(self, text: str) -> str:
        normaliser = self._tokenizer.normalizer
        return text if normaliser is None else normaliser.normalize_str(text)
