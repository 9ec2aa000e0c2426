"""Entities and scores against seqeval and scikit-learn."""

import random

import numpy
import pytest

from fairseq_minimodel.kinds.tag_metrics import (
    are_entities,
    count_units,
    entities,
    f1,
    macro_f1,
    micro,
    precision,
    recall,
    with_interval,
)

TYPES = ("PER", "LOC", "geo-loc", "B", "O")
TAGS = ("O", *(f"{position}-{kind}" for position in "BIES" for kind in TYPES))


def random_tags(generator):
    """Tags without order, well-formed ones, and ones that are a step from that."""
    length, way = generator.randint(0, 12), generator.randrange(4)
    if way == 0:
        return generator.choices(TAGS, k=length)
    if way == 1:  # often outside, two types
        return generator.choices(("O", "O", "B-PER", "I-PER", "I-LOC", "B-LOC"), k=length)
    tags = []
    while len(tags) < length:
        kind = generator.choice(TYPES)
        size = generator.randint(1, 3)
        tags += ["O"] if generator.random() < 0.4 else [f"B-{kind}", *[f"I-{kind}"] * (size - 1)]
    if way == 3 and tags:
        tags[generator.randrange(len(tags))] = generator.choice(TAGS)
    return tags[:length]


def near(tags, generator):
    return [generator.choice(TAGS) if generator.random() < 0.2 else tag for tag in tags]


ADVERSARIAL = [
    ["I-PER", "I-PER"], ["O", "I-PER", "I-LOC"], ["B-PER", "B-PER", "I-PER"],
    ["B-PER", "I-LOC", "I-PER"], ["E-PER", "E-PER"], ["S-PER", "I-PER"],
    ["B-PER", "S-PER", "E-PER"], ["I-PER", "E-PER", "I-PER"],
    ["B-PER", "E-LOC", "E-PER"], ["S-PER", "S-PER"], ["B-PER", "O", "I-PER"], ["O"], [],
    ["B-B", "I-B"], ["I-O", "O", "I-O"], ["B-geo-loc", "I-geo-loc", "I-loc"],
]  # fmt: skip


def test_entities_and_scores_are_those_of_seqeval():
    sequence_labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    generator = random.Random(1)
    sequences = [*ADVERSARIAL, *(random_tags(generator) for _ in range(10_000))]
    for tags in sequences:
        expected = [(kind, (first, last)) for kind, first, last in
                    sequence_labeling.get_entities(tags)]  # fmt: skip
        assert entities(tags) == expected, tags
    for begin in range(0, len(sequences), 100):
        gold = sequences[begin : begin + 100]
        found = [near(tags, generator) for tags in gold]
        units = [[entities(tags) for tags in side] for side in (gold, found)]
        labels = sorted({label for side in units for row in side for label, _ in row})
        total = count_units(*units, labels).sum(axis=0)
        for measure, name in ((precision, "precision"), (recall, "recall"), (f1, "f1")):
            theirs = getattr(sequence_labeling, f"{name}_score")(gold, found, zero_division=0)
            assert micro(measure, total) == pytest.approx(theirs, abs=1e-12)
        report = sequence_labeling.classification_report(
            gold, found, output_dict=True, zero_division=0
        )
        for label, row in zip(labels, total, strict=True):
            if label in report:
                assert f1(row) == pytest.approx(report[label]["f1-score"])
                assert row[2] == report[label]["support"]


def test_a_sequence_that_is_not_well_formed_by_the_rules_of_conlleval():
    tags = ["I-PER", "I-PER", "I-LOC", "O", "B-LOC", "B-LOC", "I-PER"]
    assert entities(tags) == [
        ("PER", (0, 1)), ("LOC", (2, 2)), ("LOC", (4, 4)), ("LOC", (5, 5)), ("PER", (6, 6)),
    ]  # fmt: skip


def test_parts_of_speech_are_scored_as_by_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = random.Random(2)
    gold = [generator.choices("ABCD", (8, 4, 2, 1), k=9) for _ in range(60)]
    found = [[tag if generator.random() < 0.7 else generator.choice("ABCE") for tag in row]
             for row in gold]  # fmt: skip
    units = [[list(zip(row, range(9), strict=True)) for row in side] for side in (gold, found)]
    counts = count_units(*units, list("ABCDE"))
    flat = [sum(side, []) for side in (gold, found)]
    total = counts.sum(axis=0)
    assert micro(recall, total) == pytest.approx(metrics.accuracy_score(*flat))
    expected = metrics.f1_score(*flat, average="macro", zero_division=0)
    assert macro_f1(total) == pytest.approx(expected)
    assert macro_f1(numpy.zeros((3, 3))) == micro(f1, numpy.zeros((3, 3))) == 0


def test_the_interval_is_that_of_a_plain_bootstrap_over_sentences():
    generator = numpy.random.default_rng(5)
    counts = generator.integers(0, 4, (300, 2, 3))
    counts[..., 1:] += counts[..., :1]

    def measure(some):
        return micro(f1, some)

    value, low, high = with_interval(measure, counts)
    assert value == pytest.approx(float(measure(counts.sum(axis=0)))) and low < value < high
    drawn = [counts[generator.integers(300, size=300)].sum(axis=0) for _ in range(2000)]
    expected = numpy.percentile([measure(one) for one in drawn], [2.5, 97.5])
    numpy.testing.assert_allclose([low, high], expected, atol=0.15 * (high - low))
    assert with_interval(measure, counts) == (value, low, high)
    assert with_interval(measure, counts[:1])[1] == measure(counts[0])  # one sentence: no spread


def test_labels_say_what_the_task_is():
    assert are_entities(["B-PER", "I-PER", "O"]) and are_entities(["S-x"])
    assert (
        not are_entities(["O"])
        and not are_entities(["NOUN", "X"])
        and not are_entities(["B-", "O"])
    )
    assert not are_entities(["O", "B-PER", "VERB"])
