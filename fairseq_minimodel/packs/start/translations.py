"""Reading what says which words are translations of which: line-aligned text and word lists."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...corpus.pairs import read_entries
from ...errors import InputError
from ...files.formats import refuse_structure
from ...files.text import LONGEST_LINE, TextFile, decode, shown
from ...vocabulary.tokenizers import SPECIAL_SYMBOLS, Vocabulary
from .alignment import Texts

LONGEST = 200  # tokens; longer texts say little of which token belongs to which, and cost much
MOST_CELLS = 75_000_000  # pairs of tokens within a pair of texts: 1 GB of memory
PORTION = 10_000  # texts that are encoded together


@dataclass(frozen=True)
class Reader:
    """What reads text of a language: its vocabulary, and what its text was cleaned by before."""

    vocabulary: Vocabulary
    clean: Callable[[str], str]

    def read(self, texts: Sequence[str]) -> Texts:
        """The ids of texts, without special symbols and unknown ones."""
        parts = [
            self.vocabulary.encode_flat(list(map(self.clean, texts[start : start + PORTION])))
            for start in range(0, len(texts), PORTION)
        ]
        ids, sizes = (np.concatenate(some) for some in zip(*parts, strict=True))
        known = ids >= len(SPECIAL_SYMBOLS)
        texts_of = np.repeat(np.arange(len(sizes)), sizes)
        return Texts(ids[known], np.bincount(texts_of[known], minlength=len(sizes)))


@dataclass(frozen=True)
class Translations:
    """Texts of the source language and, at the same places, their translations.

    Attributes:
        report: what was read, in a sentence.
    """

    source: Texts
    target: Texts
    report: str


def read_translations(
    parallel: Sequence[str | Path] | None,
    dictionary: str | Path | None,
    source: Reader,
    target: Reader,
) -> Translations:
    """Read line-aligned text and a word list, whose entries are texts of a word.

    Pairs in which a side has no known token, or more than `LONGEST`, are left out, and what comes
    after the first `MOST_CELLS`.

    Args:
        parallel: files, source and target in turn.

    Raises:
        InputError: there is neither text nor word list, a file cannot be read, two have other numbers
            of lines, or no pair is left.
    """
    parallel = list(parallel or ())
    if len(parallel) % 2:
        raise InputError(
            f"--parallel has {len(parallel)} files: give two for each text, the source's and the "
            "target's"
        )
    if not parallel and not dictionary:
        raise InputError(
            "--initialise aligned needs --parallel SOURCE TARGET (line-aligned text), --dictionary "
            "FILE (a word list), or both"
        )
    pairs = list(read_entries(dictionary)) if dictionary else []
    for files in zip(parallel[::2], parallel[1::2], strict=True):
        pairs += read_lines(*files)
    ours = source.read([text for text, _ in pairs])
    theirs = target.read([text for _, text in pairs])
    good = (np.minimum(ours.sizes, theirs.sizes) > 0) & (
        np.maximum(ours.sizes, theirs.sizes) <= LONGEST
    )
    used = good & (np.cumsum(good * ours.sizes * theirs.sizes) <= MOST_CELLS)
    name = " and ".join(str(path) for path in [*parallel, dictionary] if path)
    if not used.any():
        raise InputError(
            f"{name} have no pair in which both sides have 1 to {LONGEST} tokens that are known: is "
            "each file in the language of its side, source before target?"
        )
    report = f"{used.sum():,} of {len(good):,} pairs of {name}"
    if (left := good.sum() - used.sum()) > 0:
        report += f" (the last {left:,} would need too much memory)"
    return Translations(ours.where(used), theirs.where(used), report)


def read_lines(source: str | Path, target: str | Path) -> list[tuple[str, str]]:
    """The lines of two files, side by side. Raises InputError as `read_translations`."""
    sides = [list(_lines(path)) for path in (source, target)]
    for path, lines in zip((source, target), sides, strict=True):
        if not any(map(str.strip, lines)):
            raise InputError(f"{path} has no text: give text of which each line is translated")
    if len(sides[0]) != len(sides[1]):
        raise InputError(
            f"{source} has {len(sides[0]):,} lines and {target} {len(sides[1]):,}: each line of the "
            "one must be a translation of the same line of the other"
        )
    return list(zip(*sides, strict=True))


def _lines(path: str | Path) -> Iterator[str]:
    with TextFile(path) as file:
        refuse_structure(
            file.head, path, ": give plain text, a sentence on each line", json_lines=False
        )
        for number, line in shown(file, file.lines(LONGEST_LINE, cut=False)):
            yield decode(line, path, number)
