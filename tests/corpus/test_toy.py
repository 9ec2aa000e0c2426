"""The generated languages: reproducible, not parallel, and without anything exchangeable."""

import itertools
import math
import random
import re
from collections import Counter

import pytest

from fairseq_minimodel.cli import main
from fairseq_minimodel.corpus.toy.generate import SPLITS, draw_document, draw_task, write_toy
from fairseq_minimodel.corpus.toy.grammar import ALIKE, LANGUAGES, TOPICS

SHARED = {pair[0] for topic in TOPICS.values() for slot in ALIKE for pair in topic.words[slot]}
UNITS = {"°C", "%", "km/h", "g", "ml", "km", "h", "€"}
PAIRS_OF_TOPICS = list(itertools.combinations(TOPICS, 2))


def words(text):
    """Words, numbers, units and punctuation marks."""
    return re.findall(r"°C|km/h|\w+|[^\w\s]", text)


def documents(path):
    return [document.split("\n") for document in path.read_text("utf-8").strip().split("\n\n")]


def rows(path):
    header, *lines = path.read_text("utf-8").splitlines()
    assert header == "text\tlabel"
    return [tuple(line.split("\t")) for line in lines]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    write_toy(folder, seed=1, sentences=6000)
    return folder


@pytest.fixture(scope="module")
def drawn():
    """2000 documents of each language: (topic, sentences)."""
    return {
        language: [draw_document(language, rng) for _ in range(2000)]
        for language, rng in zip(LANGUAGES, map(random.Random, (1, 2)), strict=True)
    }


class NaiveBayes:
    """The plainest topic classifier: which words occur, add-one smoothed."""

    def __init__(self, texts, labels, known):
        self.known = known
        self.counts = {label: Counter() for label in set(labels)}
        for text, label in zip(texts, labels, strict=True):
            self.counts[label].update(self.features(text))
        self.size = Counter(labels)

    def features(self, text):
        return {word for word in words(text) if self.known is None or word in self.known}

    def accuracy(self, texts, labels):
        right = 0
        for text, label in zip(texts, labels, strict=True):
            score = {
                topic: math.log(self.size[topic])
                + sum(
                    math.log((count[word] + 1) / (self.size[topic] + 2))
                    for word in self.features(text)
                )
                for topic, count in self.counts.items()
            }
            right += max(score, key=score.get) == label
        return right / len(labels)


def distance(one, other):
    """Total variation between two counts: 0 for the same distribution, 1 for nothing in common."""
    sizes = one.total(), other.total()
    return sum(abs(one[key] / sizes[0] - other[key] / sizes[1]) for key in one | other) / 2


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(toy, tmp_path):
    write_toy(tmp_path / "again", seed=1, sentences=6000)
    write_toy(tmp_path / "other", seed=2, sentences=6000)
    files = sorted(path.relative_to(toy) for path in toy.rglob("*") if path.is_file())
    assert [str(file) for file in files] == [
        "dictionary.tsv",
        "source/dev.tsv",
        "source/mono.txt",
        "source/test.tsv",
        "source/train.tsv",
        "target/mono.txt",
        "target/test.tsv",
    ]
    for file in files:
        assert (tmp_path / "again" / file).read_bytes() == (toy / file).read_bytes()
        if str(file) != "dictionary.tsv":
            assert (tmp_path / "other" / file).read_bytes() != (toy / file).read_bytes()


def test_the_word_list_begins_with_the_most_frequent_word_of_each_list(toy):
    lines = (toy / "dictionary.tsv").read_text("utf-8").splitlines()
    assert lines[:3] == ["mother\thaha", "today\tkyō", "rain\tame"]  # who, when, sky: rank 1
    assert "Omar\tOmar" not in lines and len(lines) == len(set(lines))
    listed = {
        pair
        for topic in TOPICS.values()
        for slot, pairs in topic.words.items()
        if slot not in ALIKE
        for pair in pairs
    }
    assert {tuple(line.split("\t")) for line in lines} == listed


def test_text_has_the_asked_number_of_sentences(toy):
    for language in LANGUAGES:
        counts = [len(document) for document in documents(toy / language / "mono.txt")]
        assert 6000 <= sum(counts) < 6000 + max(topic.sentences[1] for topic in TOPICS.values())


def test_the_languages_are_not_parallel(toy):
    source, target = (documents(toy / language / "mono.txt") for language in LANGUAGES)
    pairs = list(zip(source, target, strict=False))
    # Parallel text has the same number of sentences in every pair of documents, and the same names.
    assert sum(len(one) == len(other) for one, other in pairs) / len(pairs) < 0.3
    named = [[SHARED & set(words(" ".join(text))) for text in pair] for pair in pairs]
    assert sum(one == other for one, other in named if one) / len(pairs) < 0.05
    tests = [[text for text, _ in rows(toy / language / "test.tsv")] for language in LANGUAGES]
    shared = [[SHARED & set(words(text)) for text in pair] for pair in zip(*tests, strict=True)]
    assert sum(one == other for one, other in shared if one) / len(shared) < 0.05


@pytest.mark.parametrize("topic", TOPICS)
def test_every_rule_says_the_same_in_both_languages(topic):
    topic = TOPICS[topic]
    for english, japanese in topic.plain + topic.marked:
        slots = [sorted(re.findall(r"\{(\w+)\}", side)) for side in (english, japanese)]
        assert slots[0] == slots[1], english
        assert set(slots[0]) <= set(topic.words)
    assert all(len(pair) == 2 for pairs in topic.words.values() for pair in pairs)


def test_topics_use_the_same_strings_but_in_their_own_order(drawn):
    first = next(iter(TOPICS.values()))
    for topic in TOPICS.values():
        for slot in ("name", "city"):
            assert sorted(topic.words[slot]) == sorted(first.words[slot])
    for language in LANGUAGES:
        used = {topic: Counter() for topic in TOPICS}
        for topic, sentences in drawn[language]:
            used[topic].update(w for w in words(" ".join(sentences)) if w in SHARED | UNITS)
        for one, other in PAIRS_OF_TOPICS:
            assert distance(used[one], used[other]) > 0.25, (language, one, other)


@pytest.mark.parametrize("language", LANGUAGES)
def test_topics_differ_in_frequency_document_length_and_structure(drawn, language):
    sentences, lengths, ends = Counter(), {t: [] for t in TOPICS}, {t: Counter() for t in TOPICS}
    frames = {topic: Counter() for topic in TOPICS}
    content = {
        pair[LANGUAGES.index(language)]
        for topic in TOPICS.values()
        for slot, pairs in topic.words.items()
        for pair in pairs
        if slot not in ALIKE
    }
    for topic, document in drawn[language]:
        sentences[topic] += len(document)
        lengths[topic].append(len(document))
        ends[topic].update(len(words(sentence)) for sentence in document)
        # What remains of a sentence without its content words and shared strings is its structure.
        frames[topic].update(w for s in document for w in words(s) if w not in content | SHARED)
    for one, other in PAIRS_OF_TOPICS:
        mean = [sum(lengths[topic]) / len(lengths[topic]) for topic in (one, other)]
        share = [sentences[topic] / sentences.total() for topic in (one, other)]
        assert abs(mean[0] - mean[1]) > 0.4 or abs(share[0] - share[1]) > 0.05, (one, other)
        assert distance(ends[one], ends[other]) > 0.1, (one, other)
        assert distance(frames[one], frames[other]) > 0.25, (one, other)


def test_words_follow_zipf(drawn):
    for language in LANGUAGES:
        text = " ".join(
            s for topic, document in drawn[language] if topic == "kitchen" for s in document
        )
        counts = Counter(words(text))
        side = LANGUAGES.index(language)
        foods = [pair[side] for pair in TOPICS["kitchen"].words["food"]]
        # Rank r has 1/r of the first: the fourth about a quarter, the tenth about a tenth.
        assert counts[foods[3]] / counts[foods[0]] == pytest.approx(1 / 4, abs=0.08)
        assert counts[foods[9]] / counts[foods[0]] == pytest.approx(1 / 10, abs=0.05)


def test_the_languages_share_names_numbers_and_little_else(drawn):
    counts = {
        language: Counter(w for _, document in drawn[language] for s in document for w in words(s))
        for language in LANGUAGES
    }
    common = set(counts["source"]) & set(counts["target"])
    assert common >= SHARED
    by_accident = {word for word in common if word.isalpha() and word not in SHARED | UNITS}
    assert len(by_accident) <= 5, by_accident
    for language in LANGUAGES:
        share = sum(counts[language][word] for word in SHARED | UNITS) / counts[language].total()
        assert 0.1 < share < 0.35, language


def test_every_class_is_in_every_split_equally_often(toy):
    for language, splits in SPLITS.items():
        for split in splits:
            counts = Counter(label for _, label in rows(toy / language / f"{split}.tsv"))
            assert set(counts) == set(TOPICS)
            assert max(counts.values()) - min(counts.values()) <= 1


def test_shared_strings_tell_the_topic_of_a_document_but_not_of_a_task_sentence(toy, drawn):
    texts, labels = zip(*draw_task("source", 8000, random.Random(3)), strict=True)
    test = {
        language: list(zip(*rows(toy / language / "test.tsv"), strict=True))
        for language in LANGUAGES
    }
    terms = {pair[0] for topic in TOPICS.values() for pair in topic.words["term"]}
    assert not terms & set(words(" ".join(texts)))
    near_chance = 1 / len(TOPICS) + 0.04
    alike = SHARED | UNITS | set(".,;:!?()-")
    for language in LANGUAGES:
        assert NaiveBayes(texts, labels, alike).accuracy(*test[language]) < near_chance
    # "pan" and "to" are words of both languages too, of other meaning: no help in the target.
    vocabularies = [
        {word for _, document in drawn[language] for s in document for word in words(s)}
        for language in LANGUAGES
    ]
    known = set.intersection(*vocabularies)
    assert NaiveBayes(texts, labels, known).accuracy(*test["target"]) < near_chance
    # The same classifier does learn: from all words, and from the shared strings of documents.
    assert NaiveBayes(texts, labels, None).accuracy(*test["source"]) > 0.95
    running = {
        language: (
            [" ".join(document) for _, document in drawn[language]],
            [t for t, _ in drawn[language]],
        )
        for language in LANGUAGES
    }
    assert NaiveBayes(*running["source"], alike).accuracy(*running["target"]) > 0.75


def test_the_command_writes_and_bad_input_is_one_sentence(tmp_path, capsys):
    options = ["toy", "--seed", "3", "--sentences", "100"]
    assert main([*options, "--output", str(tmp_path / "toy")]) == 0
    assert "seed 3" in capsys.readouterr().out
    assert main(["toy", "--output", str(tmp_path / "few"), "--sentences", "99"]) == 2
    error = capsys.readouterr().err
    assert "--sentences 99" in error and error.count("\n") == 1
    assert not (tmp_path / "few").exists()
    (tmp_path / "file").write_text("")
    assert main([*options, "--output", str(tmp_path / "file")]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "file") in error and error.count("\n") == 1
