"""From a raw document to clean text and its place in the shuffled corpus."""

import hashlib
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from sacremoses import MosesPunctNormalizer

from ..errors import InputError
from .options import PrepareOptions
from .reading import LARGEST_DOCUMENT, cut_position, decode, is_json_lines

KEY_BYTES = 16


class Cleaner:
    """Turns raw documents into clean text: stripped, non-empty lines joined by line breaks."""

    def __init__(self, options: PrepareOptions) -> None:
        self._options = options
        self._key = options.seed.to_bytes(8, "little")
        self._punctuation = None
        if options.moses_punctuation is not None:
            self._punctuation = MosesPunctNormalizer(options.moses_punctuation)

    def texts(self, raw: bytes, path: str | Path, line: int) -> Iterator[str]:
        """Yield the clean text of a raw document: one, or more if it is JSON Lines and too large.

        `path` and `line` (of the document's first line) say what kind it is and name it in errors.

        Raises:
            InputError: broken UTF-8, broken JSON, or an object without the field.
        """
        text = decode(raw, path, line)
        if not is_json_lines(path):
            yield self._clean(text)
            return
        data = _json_text(text, self._options.field, path, line)
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


def _json_text(line_text: str, field: str, path: str | Path, line: int) -> bytes:
    try:
        record = json.loads(line_text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}, line {line}: not JSON ({error}); mend this line.") from None
    text = record.get(field) if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise InputError(
            f"{path}, line {line}: no text under the key {field!r}; "
            "each line must be a JSON object; name the key with --field."
        )
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"{path}, line {line}: the text holds half a surrogate pair (\\ud800 to \\udfff), "
            "which is no character; remove it."
        ) from None
