"""From a raw document to clean text and its place in the shuffled corpus."""

import hashlib
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from sacremoses import MosesPunctNormalizer

from ..files.rows import json_text
from ..files.text import LARGEST_DOCUMENT, cut_position, decode
from .options import PrepareOptions
from .record import RECORD_NAME, read_prepared

KEY_BYTES = 16


def cleaning_of(folder: Path) -> Callable[[str], str]:
    """What `prepare` did to the text of the data in a folder, before the vocabulary's normalisation.

    Raises InputError if the folder's prepare.json is damaged. Where there is none, nothing was done.
    """
    if not (folder / RECORD_NAME).is_file():
        return str
    done = read_prepared(folder / RECORD_NAME)["options"]
    names = ("unicode_normalisation", "moses_punctuation")
    return Cleaner(PrepareOptions(**{name: done[name] for name in names if name in done})).clean


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
            yield self.clean(decode(raw, path, line))
            return
        data = json_text(raw, self._options.field, path, line).encode()
        while len(data) > LARGEST_DOCUMENT:
            end = cut_position(data, LARGEST_DOCUMENT)
            yield self.clean(data[:end].decode("utf-8"))
            data = data[end:]
        yield self.clean(data.decode("utf-8"))

    def key(self, text: bytes) -> bytes:
        """The document's place in the shuffled corpus: BLAKE2b of the seed and the clean text.

        Sorted by key, documents are in a uniformly random order that depends on nothing but their
        texts and the seed, and exact duplicates stand side by side.
        """
        return hashlib.blake2b(text, digest_size=KEY_BYTES, key=self._key).digest()

    def clean(self, text: str) -> str:
        """The lines of a text, stripped and normalised; what is empty then is left out."""
        if self._options.unicode_normalisation != "none":
            text = unicodedata.normalize(self._options.unicode_normalisation, text)
        lines = [stripped for line in text.split("\n") if (stripped := line.strip())]
        if self._punctuation is not None:
            lines = [self._punctuation.normalize(line) for line in lines]
            lines = [stripped for line in lines if (stripped := line.strip())]
        return "\n".join(lines)
