"""Draw texts and a classification task from the grammar, the same bytes for the same seed."""

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ..atomic import atomic_folder
from ..errors import InputError
from .grammar import LANGUAGES, TOPICS

TASK_SIZES = {"train": 2000, "dev": 400, "test": 1000}
_SLOT = re.compile(r"\{(\w+)\}")
_SHARED_SLOTS = {"name": "names", "city": "cities", "number": "numbers"}


def zipf_choice(items: Sequence, rng: random.Random) -> object:
    """Draw the item of rank r (from 1) with a probability proportional to 1/r."""
    return rng.choices(items, weights=[1 / rank for rank in range(1, len(items) + 1)])[0]


def _uniform_choice(items: Sequence, rng: random.Random) -> object:
    return rng.choice(items)


def _fill(
    template: str, topic: str, language: str, rng: random.Random, shared_choice: Callable
) -> str:
    """Replace every slot of a template, each draw on its own."""
    side = LANGUAGES.index(language)

    def word(match: re.Match) -> str:
        slot = match[1]
        if slot in _SHARED_SLOTS:
            return shared_choice(getattr(TOPICS[topic], _SHARED_SLOTS[slot]), rng)
        return zipf_choice(TOPICS[topic].words[slot], rng)[side]

    return _SLOT.sub(word, template)


def draw_document(language: str, rng: random.Random) -> tuple[str, list[str]]:
    """One document: its topic and its sentences."""
    name = rng.choices(list(TOPICS), weights=[topic.share for topic in TOPICS.values()])[0]
    sentences = []
    for _ in range(rng.randint(*TOPICS[name].sentences)):
        asides = TOPICS[name].asides
        own = 1 - sum(asides.values())
        subject = rng.choices([name, *asides], weights=[own, *asides.values()])[0]
        topic = TOPICS[subject]
        templates = topic.marked if rng.random() < topic.marked_share else topic.plain
        template = zipf_choice(templates, rng)[LANGUAGES.index(language)]
        sentences.append(_fill(template, subject, language, rng, zipf_choice))
    return name, sentences


def draw_task(language: str, size: int, rng: random.Random) -> list[tuple[str, str]]:
    """`size` pairs (sentence, topic), as many of each topic, in random order.

    The sentences say their topic by their words alone: they are plain ones, each template as often
    as the next, and names, cities and numbers are drawn evenly from those that all topics use.
    """
    side = LANGUAGES.index(language)
    rows = []
    for row in range(size):
        name = list(TOPICS)[row % len(TOPICS)]
        template = rng.choice(TOPICS[name].plain)[side]
        rows.append((_fill(template, name, language, rng, _uniform_choice), name))
    rng.shuffle(rows)
    return rows


def write_toy(output: str | Path, seed: int = 1, sentences: int = 30000) -> None:
    """Write the language pair and its task.

    OUTPUT/source/mono.txt and OUTPUT/target/mono.txt hold at least `sentences` sentences each, one
    a line, documents apart by a blank line. OUTPUT/source/{train,dev,test}.tsv and
    OUTPUT/target/test.tsv hold the task: header "text<TAB>label", the label is the topic.

    Raises:
        InputError: for fewer than 100 sentences.
    """
    if sentences < 100:
        raise InputError(f"--sentences {sentences} is too few to train on: give 100 or more.")
    with atomic_folder(output) as folder:
        for language in LANGUAGES:
            (folder / language).mkdir()
            # Each file has a generator of its own: nothing is parallel between the languages.
            rng = random.Random(f"{seed} {language} mono")
            with open(folder / language / "mono.txt", "w", encoding="utf-8") as file:
                written = 0
                while written < sentences:
                    _, document = draw_document(language, rng)
                    file.write("\n".join(document) + "\n\n")
                    written += len(document)
            for split, size in TASK_SIZES.items():
                if language == "target" and split != "test":
                    continue
                rows = draw_task(language, size, random.Random(f"{seed} {language} {split}"))
                lines = ["text\tlabel", *("\t".join(row) for row in rows)]
                text = "\n".join(lines) + "\n"
                (folder / language / f"{split}.tsv").write_text(text, encoding="utf-8")
    print(f"{output}: two languages of {sentences} sentences, {len(TOPICS)} topics, seed {seed}")
