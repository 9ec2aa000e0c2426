"""Sentences of the source language and what a word list makes of them, word by word.

Where there is a word list and no translated sentence, such pairs stand in for some: the words of the
list then count as often as they are used, and stand among others. Wang, Ruder and Neubig 2022 train on
such text with masked words (*Expanding Pretrained Models to Thousands More Languages via Lexicon-based
Adaptation*, arXiv 2203.09435, section 3).
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

from ..errors import InputError
from ..files.atomic import atomic_folder
from ..files.outputs import FolderForm, check_folder
from ..files.rows import lines_of_text
from ..files.text import TextFile
from .pairs import read_entries

SOURCE, TARGET = "sentences.source", "sentences.target"
TRANSLATED = FolderForm("sentences that were translated word by word", (SOURCE, TARGET))
FEWEST_WORDS, MOST_WORDS = 4, 40  # of a sentence, cut at blanks
TRIED = 10  # sentences for each one that is wanted
MOST_KNOWN = 3  # words of an entry of the list, at most
ENDING, STEM = 3, 4  # letters that a word may have more than its entry, and that must be left
UNSEEN = 0.01  # what a word that the text lacks counts
END_OF_SENTENCE = re.compile(r"(?<=[.!?])\s+")
PART = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+|[^\w\s]|_")


def translate_words(
    *,
    dictionary: Path,
    text: Sequence[Path],
    target_text: Sequence[Path] = (),
    output: Path,
    sentences: int = 10_000,
    known: float = 0.7,
    seed: int = 1,
) -> None:
    """Write the folder `output`: sentences.source and sentences.target, which are line-aligned.

    Of the words in a row that the list has, the most are translated at once. Of several translations
    one is drawn: where there is text in the target language, by how often it has the rarest word of
    each. A word that the list lacks is looked for without its last letters (at most three; four are
    left), is kept if it is written as a name, and is left out else. Numbers and punctuation are kept.

    Args:
        dictionary: the word list.
        text: of the source language.
        target_text: of the language of the translations.
        sentences: how many are wanted, of 4 to 40 words each; they are drawn from all of the text.
        known: the share of a sentence's words that must be translated.
        seed: of what is drawn.

    Raises:
        InputError: `output` holds something else, a file cannot be read, or no sentence will do.
    """
    check_folder(output, TRANSLATED, dictionary, *text, *target_text)
    draw = random.Random(seed)
    words = WordList(read_entries(dictionary), count_words(target_text), draw)
    found = (
        (sentence, translated)
        for sentence in sample(_sentences(text), TRIED * sentences, draw)
        if (translated := words.translate(sentence, known))
    )
    pairs = list(islice(found, sentences))
    if not pairs:
        raise InputError(
            f"{', '.join(map(str, text))}: no sentence has {100 * known:.0f} % of its words in "
            f"{dictionary}: is it text in the language of the list's first column? Or give a lower "
            "--known"
        )
    with atomic_folder(output, TRANSLATED) as folder:
        for name, lines in zip((SOURCE, TARGET), zip(*pairs, strict=True), strict=True):
            (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{output}: {len(pairs):,} sentences, translated by {words.count:,} words")


def sample(items: Iterable[str], size: int, draw: random.Random) -> list[str]:
    """At most so many of the items, in random order, each with the same probability.

    Vitter 1985, *Random Sampling with a Reservoir*, algorithm R.
    """
    chosen: list[str] = []
    for number, item in enumerate(items):
        if number < size:
            chosen.append(item)
        elif (place := draw.randrange(number + 1)) < size:
            chosen[place] = item
    draw.shuffle(chosen)
    return chosen


def _sentences(paths: Sequence[Path]) -> Iterator[str]:
    """The sentences of a usual length."""
    for text in chain.from_iterable(map(_lines, paths)):
        for line in text.splitlines():
            for words in map(str.split, END_OF_SENTENCE.split(line)):
                if FEWEST_WORDS <= len(words) <= MOST_WORDS:
                    yield " ".join(words)


def count_words(paths: Sequence[Path]) -> Counter[str]:
    """How often files of text have each word, in lower case."""
    words = Counter()
    for line in chain.from_iterable(map(_lines, paths)):
        words.update(_words(line))
    return words


def _words(text: str) -> list[str]:
    return [part for part in PART.findall(text.lower()) if part[0].isalpha()]


def _lines(path: Path) -> Iterator[str]:
    with TextFile(path) as file:
        yield from (text for text, _ in lines_of_text(file))


class WordList:
    """Translations of words, and of a few words in a row.

    Args:
        entries: words of the source language and a translation of them each.
        counts: of words of the target language.
        draw: chooses among several translations.
    """

    def __init__(
        self, entries: Iterable[tuple[str, str]], counts: Mapping[str, int], draw: random.Random
    ) -> None:
        translations = defaultdict(dict)
        for source, target in entries:
            parts, words = tuple(PART.findall(source.lower())), _words(target)
            if parts and words:
                rarest = min(counts.get(word, 0) for word in words)
                translations[parts][target] = (rarest + UNSEEN) / len(words) ** 2
        self.translations, self.draw = dict(translations), draw

    @property
    def count(self) -> int:
        """How many words and rows of words are known."""
        return len(self.translations)

    def translate(self, sentence: str, known: float) -> str | None:
        """A sentence word by word; None: too few of its words are known."""
        parts = PART.findall(sentence)
        words = sum(part[0].isalpha() for part in parts)
        target, translated, place = [], 0, 0
        while place < len(parts):
            length, found = self._longest(parts[place : place + MOST_KNOWN])
            if found:
                (one,) = self.draw.choices(list(found), list(found.values()))
                target.append(one)
                translated += sum(part[0].isalpha() for part in parts[place : place + length])
            elif not parts[place][0].isalpha() or (place and parts[place][0].isupper()):
                target.append(parts[place])
            place += length
        return " ".join(target) if words and translated >= known * words else None

    def _longest(self, parts: Sequence[str]) -> tuple[int, dict[str, float]]:
        """How many of the first parts are taken together, and the weights of their translations."""
        lower = [part.lower() for part in parts]
        for length in range(len(parts), 0, -1):
            if found := self.translations.get(tuple(lower[:length])):
                return length, found
        stems = (lower[0][:-ending] for ending in range(1, ENDING + 1))
        entries = (self.translations.get((one,)) for one in stems if len(one) >= STEM)
        return 1, next(filter(None, entries), {})
