"""Draw texts and a classification task from the grammar, the same bytes for the same seed."""

import random
import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

from ...errors import InputError
from ...files.atomic import atomic_folder
from ...files.outputs import FolderForm
from ...terminal.progress import SHORT, Progress
from ..options import ToyOptions
from .grammar import ALIKE, COMMON, LANGUAGES, TOPICS

SPLITS = {"source": ("train", "dev", "test"), "target": ("test",)}
SPLIT_SIZES = {"train": 2000, "dev": 400, "test": 1000}
FEWEST_SENTENCES = 100
TOY = FolderForm(
    "the two generated languages",
    [
        "dictionary.tsv",
        *(f"{language}/mono.txt" for language in LANGUAGES),
        *(f"{language}/{split}.tsv" for language, splits in SPLITS.items() for split in splits),
    ],
)

_SLOT = re.compile(r"\{(\w+)\}")

Item = TypeVar("Item")


def zipf_choice(items: Sequence[Item], rng: random.Random) -> Item:
    """Draw the item of rank r (from 1) with a probability proportional to 1/r."""
    return rng.choices(items, weights=[1 / rank for rank in range(1, len(items) + 1)])[0]


def draw_document(language: str, rng: random.Random) -> tuple[str, list[str]]:
    """One document of running text: its topic and its sentences."""
    side = LANGUAGES.index(language)
    topic = rng.choices(list(TOPICS), weights=[topic.share for topic in TOPICS.values()])[0]
    asides = TOPICS[topic].asides
    subjects = {topic: 1 - sum(asides.values())} | asides
    sentences = []
    for _ in range(rng.randint(*TOPICS[topic].sentences)):
        subject = TOPICS[rng.choices(list(subjects), weights=subjects.values())[0]]
        marked = rng.random() < subject.marked_share
        rule = zipf_choice(subject.marked if marked else subject.plain, rng)
        sentences.append(_fill(rule[side], subject.words, side, rng))
    return topic, sentences


def draw_task(language: str, size: int, rng: random.Random) -> list[tuple[str, str]]:
    """`size` pairs (sentence, topic), as many of each topic, in random order.

    What both languages write alike shall not give the topic away. So the sentences are plain ones,
    every rule as often as the next, and names, cities and numbers are drawn evenly from those that
    all topics use.
    """
    side = LANGUAGES.index(language)
    rows = []
    for row in range(size):
        topic = list(TOPICS)[row % len(TOPICS)]
        alike = {slot: [rng.choice(_used_by_all_topics(slot))] for slot in COMMON}
        rule = rng.choice(TOPICS[topic].plain)
        rows.append((_fill(rule[side], TOPICS[topic].words | alike, side, rng), topic))
    rng.shuffle(rows)
    return rows


def list_translations() -> list[tuple[str, str]]:
    """Pairs (source word, target word) of all words that the languages write differently.

    The first word of each list of the grammar, which is its most frequent one, then the second ones,
    and so on. Adjectives and verbs stand as the grammar has them, in the target language as stems.
    """
    lists = [
        words
        for topic in TOPICS.values()
        for slot, words in topic.words.items()
        if slot not in ALIKE
    ]
    ranked = [pair for rank in zip_longest(*lists) for pair in rank if pair is not None]
    return list(dict.fromkeys(ranked))


def _used_by_all_topics(slot: str) -> list[tuple[str, str]]:
    first, *others = (topic.words[slot] for topic in TOPICS.values())
    return [pair for pair in first if all(pair in pairs for pairs in others)]


def _fill(
    sentence: str, words: dict[str, list[tuple[str, str]]], side: int, rng: random.Random
) -> str:
    """Replace every slot by a word of its list in one language, each draw on its own."""
    return _SLOT.sub(lambda slot: zipf_choice(words[slot[1]], rng)[side], sentence)


def write_toy(
    output: str | Path, seed: int = ToyOptions.seed, sentences: int = ToyOptions.sentences
) -> None:
    """Write the two languages and the task.

    OUTPUT/source/mono.txt and OUTPUT/target/mono.txt hold running text, one sentence per line and
    documents apart by a blank line, until a document ends at or after `sentences` sentences.
    OUTPUT/source/{train,dev,test}.tsv and OUTPUT/target/test.tsv hold the task, with the header
    "text<TAB>label"; the label is the topic. OUTPUT/dictionary.tsv is what
    `list_translations` gives. Every other file has a random generator of its own, so that
    nothing in the two languages is parallel.

    Raises:
        InputError: for fewer sentences than FEWEST_SENTENCES, or if something else stands there.
    """
    if sentences < FEWEST_SENTENCES:
        raise InputError(
            f"--sentences {sentences} is too little text to train on; "
            f"give at least {FEWEST_SENTENCES}."
        )
    with atomic_folder(output, TOY) as folder:
        written = {
            language: _write_language(folder / language, language, seed, sentences)
            for language in LANGUAGES
        }
        lines = ["\t".join(pair) for pair in list_translations()]
        (folder / "dictionary.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for language, count in written.items():
        print(f"{Path(output, language)}: {count} sentences on {len(TOPICS)} topics, seed {seed}")


def _write_language(folder: Path, language: str, seed: int, sentences: int) -> int:
    """Write the text and the task of one language. Returns the number of sentences of the text."""
    folder.mkdir()
    rng = random.Random(f"{seed} {language} mono")
    with (
        open(folder / "mono.txt", "w", encoding="utf-8") as file,
        Progress(language, sentences, "sentence", after=SHORT) as progress,
    ):
        written = 0
        while written < sentences:
            _, document = draw_document(language, rng)
            file.write("\n".join(document) + "\n\n")
            progress.update(min(len(document), sentences - written))
            written += len(document)
    for split in SPLITS[language]:
        rng = random.Random(f"{seed} {language} {split}")
        rows = draw_task(language, SPLIT_SIZES[split], rng)
        lines = ["\t".join(row) for row in [("text", "label"), *rows]]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return written
