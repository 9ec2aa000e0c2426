"""From a raw document to clean text and its place in the shuffled corpus."""

import hashlib
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from sacremoses import MosesPunctNormalizer

from ..files.rows import json_text
from ..files.text import LARGEST_DOCUMENT, cut_position, decode
from .options import PrepareOptions

KEY_BYTES = 16


class Cleaner:
    """Turns raw documents into clean text: stripped, non-empty lines joined by line breaks."""

    def __init__(self, options: PrepareOptions) -> None:
        self._options = options
        self._key = options.seed.to_bytes(8, "little")
        self._punctuation = None
        if options.moses_punctuation is not None:
            self._punctuation = MosesPunctNormalizer(options.moses_punctuation)

    def texts(self, raw: bytes, json_lines: bool, path: str | Path, line: int) -> Iterator[str]:
        """Yield the clean text of a raw document: one, or more if it is JSON Lines and too large.

        `path` and `line` (of the document's first line) name it in errors.

        Raises:
            InputError: broken UTF-8, broken JSON, or an object without the field.
        """
        if not json_lines:
            yield self._clean(decode(raw, path, line))
            return
        data = json_text(raw, self._options.field, path, line).encode()
        while len(data) > LARGEST_DOCUMENT:
            end = cut_position(data, LARGEST_DOCUMENT)
            yield self._clean(data[:end].decode("utf-8"))
            data = data[end:]
        yield self._clean(data.decode("utf-8"))

    def key(self, text: bytes) -> bytes:
        """The document's place in the shuffled corpus: BLAKE2b of the seed and the clean text.

        Sorted by key, documents are in a uniformly random order that depends on nothing but their
        texts and the seed, and exact duplicates stand side by side.
        """
        return hashlib.blake2b(text, digest_size=KEY_BYTES, key=self._key).digest()

    def _clean(self, text: str) -> str:
        if self._options.unicode_normalisation != "none":
            text = unicodedata.normalize(self._options.unicode_normalisation, text)
        lines = [stripped for line in text.split("\n") if (stripped := line.strip())]
        if self._punctuation is not None:
            lines = [self._punctuation.normalize(line) for line in lines]
            lines = [stripped for line in lines if (stripped := line.strip())]
        return "\n".join(lines)
