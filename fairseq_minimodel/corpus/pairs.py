"""Sentences and their translations: two files whose lines of the same number belong together."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from ..errors import InputError
from ..files.atomic import atomic_folder
from ..files.formats import refuse_structure
from ..files.outputs import FolderForm, check_folder
from ..files.rows import read_rows
from ..files.text import LONGEST_LINE, TextFile, decode, shown

TRAIN, TEST = ("train.source", "train.target"), ("test.source", "test.target")
PAIRS = FolderForm("sentence pairs in two parts", (*TRAIN, *TEST))


def split_pairs(parallel: Sequence[tuple[str | Path, str | Path]], test: int, output: Path) -> None:
    """Write the folder `output`: the last `test` pairs, and the others.

    train.source and train.target, test.source and test.target are line-aligned. Of the last pairs
    those stay out whose source or target is that of a later one: which of two equal sentences was
    meant, no search for translations can tell. The training part has no pair whose source or target
    stands in the test.

    Args:
        parallel: files of sentences and of their translations, each perhaps compressed.

    Raises:
        InputError: `output` holds something else, the files are not line-aligned, or there are not
            more pairs than `test`.
    """
    check_folder(output, PAIRS, *(path for paths in parallel for path in paths))
    pairs = [pair for source, target in parallel for pair in read_pairs(source, target)]
    held_out: list[tuple[str, str]] = []
    sources, targets = set(), set()
    for pair in reversed(pairs):
        if len(held_out) == test:
            break
        if pair[0] not in sources and pair[1] not in targets:
            held_out.insert(0, pair)
            sources.add(pair[0])
            targets.add(pair[1])
    train = [pair for pair in pairs if pair[0] not in sources and pair[1] not in targets]
    if len(held_out) < test or not train:
        raise InputError(
            f"{parallel[0][0]} and {parallel[0][1]} have {len(pairs):,} pairs, and --test {test} of "
            "them, all different, leave none: give more pairs or a smaller --test"
        )
    with atomic_folder(output, PAIRS) as folder:
        for names, part in ((TRAIN, train), (TEST, held_out)):
            for name, lines in zip(names, zip(*part, strict=True), strict=True):
                (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{output}: {len(train):,} pairs to train on, {len(held_out):,} to test on")


def read_pairs(source: str | Path, target: str | Path) -> Iterator[tuple[str, str]]:
    """Yield the pairs of two line-aligned files; those with a blank side are left out.

    Raises:
        InputError: a file is missing, damaged, not UTF-8 or not plain text, or one has more lines than
            the other.
    """
    with TextFile(source) as first, TextFile(target) as second:
        for file in (first, second):
            refuse_structure(
                file.head, file.path, ": give plain text, a sentence on each line", json_lines=False
            )
        lines = shown(first, first.lines(cut=False)), second.lines(cut=False)
        otherwise = ": give two files that are line-aligned"
        for _, *sides in side_by_side((source, target), lines, otherwise):
            ours, theirs = (" ".join(side.split()) for side in sides)
            if ours and theirs:
                yield ours, theirs


def read_entries(dictionary: str | Path) -> Iterator[tuple[str, str]]:
    """Yield the entries of a word list: a word of the source language and a translation.

    Raises:
        InputError: the file cannot be read, has other columns, or no entries.
    """
    otherwise = "write a word of the source language, a tab, and its translation on each line"
    with TextFile(dictionary) as file:
        lines = shown(file, file.lines(LONGEST_LINE, cut=False))
        rows = [values for _, values in read_rows(
            lines, dictionary, (1, 2), otherwise, json_lines=False
        )]  # fmt: skip
    if not rows:
        raise InputError(f"{dictionary} has no entries: {otherwise}")
    yield from map(tuple, rows)


def side_by_side(
    paths: Sequence[str | Path],
    lines: Sequence[Iterable[tuple[int, bytes]]],
    otherwise: str,
) -> Iterator[tuple[int, str, str]]:
    """Yield the numbered lines of two files together.

    Args:
        lines: of each file, with their numbers, as `TextFile.lines` gives them.
        otherwise: what ends the sentence that one has more lines, the way out.

    Raises:
        InputError: one has more lines than the other, or a line is not UTF-8.
    """
    for pair in zip_longest(*lines):
        if None in pair:
            longer, shorter = paths if pair[1] is None else reversed(paths)
            raise InputError(
                f"{longer} has more lines than {shorter}, of which each must be the translation of "
                f"one{otherwise}"
            )
        (number, ours), (_, theirs) = pair
        yield number, decode(ours, paths[0], number), decode(theirs, paths[1], number)
