"""Entities in tags, and how often what a model tags is right, with intervals."""

import re
from collections.abc import Callable, Hashable, Sequence

import numpy

OUTSIDE = "O"
RESAMPLES = 1000
_ENTITY_TAG = re.compile(r"[BIES]-\S+")
_BEGINS, _ENDS = ("B", "S"), ("E", "S")  # alone, whatever stands beside them

Unit = tuple[str, Hashable]  # what is right or wrong as a whole: its label, its place
Entity = tuple[str, tuple[int, int]]  # its type; its first and its last word


def are_entities(labels: Sequence[str]) -> bool:
    """Whether labels say where entities begin and go on: O, B-PER, I-PER, perhaps E-PER and S-PER."""
    others = [label for label in labels if label != OUTSIDE]
    return bool(others) and all(map(_ENTITY_TAG.fullmatch, others))


def type_of(tag: str) -> str:
    """PER of B-PER; O of O."""
    return tag.partition("-")[2] or tag


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a sentence, in order.

    A sequence that is not well formed is read by the rules of conlleval (Tjong Kim Sang & De Meulder
    2003, the script of CoNLL-2003): an entity begins at B and S, and also where the word before is in
    none or in one of another type.
    """
    found: list[Entity] = []
    open_type, first = None, 0
    for place, tag in enumerate([*tags, OUTSIDE]):
        position, kind = tag[0], None if tag == OUTSIDE else type_of(tag)
        if open_type is not None and (kind != open_type or position in _BEGINS):
            found.append((open_type, (first, place - 1)))
            open_type = None
        if kind is not None:
            if open_type is None:
                open_type, first = kind, place
            if position in _ENDS:
                found.append((open_type, (first, place)))
                open_type = None
    return found


def count_units(
    right: Sequence[Sequence[Unit]], found: Sequence[Sequence[Unit]], labels: Sequence[str]
) -> numpy.ndarray:
    """For each sentence and label: units that are right and found, all found, all right ones.

    Returns: (sentences, labels, 3).
    """
    place = {label: number for number, label in enumerate(labels)}
    counts = numpy.zeros((len(right), len(labels), 3), numpy.int64)
    for row, *sides in zip(counts, right, found, strict=True):
        true, own = map(set, sides)
        for column, units in enumerate((true & own, own, true)):
            for label, _ in units:
                row[place[label], column] += 1
    return counts


def f1(counts: numpy.ndarray) -> numpy.ndarray:
    """F1 of counts (..., 3): 2 x both / (found + right); 0 where there is nothing."""
    both, found, right = numpy.moveaxis(numpy.asarray(counts, float), -1, 0)
    return 2 * both / numpy.maximum(found + right, 1)


def precision(counts: numpy.ndarray) -> numpy.ndarray:
    return counts[..., 0] / numpy.maximum(counts[..., 1], 1)


def recall(counts: numpy.ndarray) -> numpy.ndarray:
    """Of units that each word has, such as parts of speech, it is the accuracy."""
    return counts[..., 0] / numpy.maximum(counts[..., 2], 1)


def micro(measure: Callable, counts: numpy.ndarray) -> numpy.ndarray:
    """A measure of all labels together, of counts (..., labels, 3)."""
    return measure(counts.sum(axis=-2))


def macro_f1(counts: numpy.ndarray) -> numpy.ndarray:
    """The mean F1 of the labels that the data or the model has, of counts (..., labels, 3)."""
    there = counts[..., 1:].sum(axis=-1) > 0
    return (f1(counts) * there).sum(axis=-1) / numpy.maximum(there.sum(axis=-1), 1)


def with_interval(
    measure: Callable[[numpy.ndarray], numpy.ndarray], counts: numpy.ndarray
) -> tuple[float, float, float]:
    """A measure, 0 to 1, and its 95 % interval by the percentile bootstrap (Efron 1979).

    Sentences are drawn with replacement, as the words of one are not independent; `RESAMPLES` times,
    always the same draws.

    Args:
        measure: from counts (..., labels, 3) to (...).
        counts: (sentences, labels, 3).
    """
    sentences, *shape = counts.shape
    generator = numpy.random.default_rng(1)
    drawn = generator.multinomial(sentences, [1 / sentences] * sentences, size=RESAMPLES)
    resampled = measure((drawn @ counts.reshape(sentences, -1)).reshape(RESAMPLES, *shape))
    low, high = numpy.percentile(resampled, [2.5, 97.5])
    return float(measure(counts.sum(axis=0))), float(low), float(high)
