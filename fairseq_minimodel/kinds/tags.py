"""Tags of words: the task `tagging`, for named entities and for parts of speech.

A dense layer on the last hidden state of each word's first token (Devlin et al. 2019, arXiv 1810.04805,
section 5.3). Labels such as B-PER make it a task of entities, others of a tag for each word.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor, nn

from ..errors import InputError
from . import LABELS, TAG_HEAD, TAGS, UNKNOWN_TAGS, output_weight
from .batches import Batches
from .classification import read_labels
from .kind import Body, Kind, Metric, Options, Row, Speaker, share, shares
from .tag_metrics import (
    OUTSIDE,
    Unit,
    are_entities,
    count_units,
    entities,
    f1,
    macro_f1,
    micro,
    precision,
    recall,
    type_of,
    with_interval,
)
from .tagged import Sentence, read_tagged_file, running_text
from .words import (
    FRAME,
    NO_PIECE,
    WordTokens,
    WordWindow,
    encode_text,
    encode_words,
    word_windows,
    words_of_text,
)

DIGITS = 6  # of probabilities in JSON, behind the point
REFUSE, MISTAKES, AS_OUTSIDE = UNKNOWN_TAGS


@dataclass(frozen=True)
class TagScores:
    """What is known of every score of tags.

    Attributes:
        sentences, words: how many; lost: words that have no token, which count as mistakes.
        truncated: words of which a part was cut, because they alone are longer than the body reads.
        labels: of each type of entity, or tag: precision, recall, F1 (0 to 1), and n in the data.
    """

    sentences: int
    words: int
    lost: int
    truncated: int
    labels: dict[str, dict[str, float]]


@dataclass(frozen=True)
class EntityScores(TagScores):
    """How well entities are found: whole ones of the right type, as conlleval and seqeval count.

    Attributes:
        entities: in the data; found: by the body.
        precision, recall, f1: of all types together, 0 to 1.
        ..._low, ..._high: bounds of the 95 % interval, see `with_interval`.
    """

    entities: int
    found: int
    precision: float
    recall: float
    f1: float
    f1_low: float
    f1_high: float


@dataclass(frozen=True)
class WordScores(TagScores):
    """How well words are tagged.

    Attributes:
        accuracy: share of the words with the right tag; macro_f1: mean F1 of the tags, each 0 to 1.
        ..._low, ..._high: bounds of their 95 % intervals.
        majority: share of the most frequent tag.
    """

    accuracy: float
    low: float
    high: float
    macro_f1: float
    macro_f1_low: float
    macro_f1_high: float
    majority: float


class TaggedSpan(NamedTuple):
    """An entity, or a tagged word.

    Attributes:
        label: the type of the entity, or the tag; None: the word has no token.
        probability: of the tag; of an entity of several words the mean.
        text: of the span; begin, end: its characters in the whole text, the end excluded.
        first, last: numbers of its words, from 0.
    """

    label: str | None
    probability: float
    text: str
    begin: int
    end: int
    first: int
    last: int


class Tagger:
    """The tag head of a body.

    Args:
        name: of the body.
        body: fine-tuned by the task `tagging`.
        labels: dict.txt of the tags, in the order of the classes.
        unknown: one of `UNKNOWN_TAGS`.

    Raises:
        InputError: the body has no such head, or the labels are not its own.
    """

    def __init__(self, name: str, body: Body, labels: str | Path, unknown: str = REFUSE) -> None:
        if not KIND.has_head(body.state, {}):
            raise InputError(
                f"{name} was not fine-tuned to tag: train it with the task tagging first"
            )
        self.longest = body.body_settings()["max_positions"]
        outputs = body.state[output_weight(TAG_HEAD, body.state)].size(0)
        self.classes = read_labels(labels, outputs, name)
        self.has_entities = are_entities(self.classes)
        self.known = {type_of(tag) if self.has_entities else tag for tag in self.classes}
        if unknown == AS_OUTSIDE and not self.has_entities:
            raise InputError(
                f"--unknown-tags {AS_OUTSIDE} is for entities, and {name} tags each word: give "
                f"--unknown-tags {MISTAKES}"
            )
        self.unknown, self.settings = unknown, (self.classes, unknown)

    def check(self, sentences: Sequence[Sentence], language: str, data: str) -> None:
        """Refuse data of another kind, or under the rule "refuse" tags that the body does not know.

        Raises:
            InputError: with the tags.
        """
        found = {tag for sentence in sentences for tag in sentence.tags}
        if are_entities(sorted(found | {OUTSIDE})) != self.has_entities and found != {OUTSIDE}:
            own, other = ("entities", "a tag of each word")[:: 1 if self.has_entities else -1]
            raise InputError(
                f"{data} has {other} ({', '.join(sorted(found)[:8])}), and the body finds {own}: give "
                "other data, or another body"
            )
        names = {type_of(tag) if self.has_entities else tag for tag in found}
        wrong = sorted(names - self.known - {OUTSIDE})
        if wrong and self.unknown == REFUSE:
            outside = f", or --unknown-tags {AS_OUTSIDE} to read them as {OUTSIDE}"
            raise InputError(
                f"{data} has the tags {', '.join(wrong)}, which the body does not know (it knows "
                f"{', '.join(sorted(self.known))}): give --unknown-tags {MISTAKES} to count them as "
                f"mistakes{outside * self.has_entities}"
            )

    def score(
        self, speaker: Speaker, sentences: Sequence[Sentence], language: str
    ) -> EntityScores | WordScores:
        """Scores on sentences with tags."""
        encoded = [encode_words(one.words, one.blanks, speaker.vocabulary) for one in sentences]
        tagged = [[tag for tag, _ in row] for row in self.tags(speaker, encoded)]
        gold = [self._read(one.tags) for one in sentences]
        right, found = ([self._units(tags) for tags in side] for side in (gold, tagged))
        labels = sorted({label for row in (*right, *found) for label, _ in row})
        counts = count_units(right, found, labels)
        total = counts.sum(axis=0)
        common = {
            "sentences": len(sentences),
            "words": sum(len(one.words) for one in sentences),
            "lost": sum(int((one.firsts == NO_PIECE).sum()) for one in encoded),
            "truncated": sum(self._count_cut(one) for one in encoded),
            "labels": {
                label: {
                    "precision": float(precision(row)),
                    "recall": float(recall(row)),
                    "f1": float(f1(row)),
                    "n": int(row[2]),
                }
                for label, row in zip(labels, total, strict=True)
            },
        }
        if self.has_entities:
            value, low, high = with_interval(lambda some: micro(f1, some), counts)
            return EntityScores(
                **common,
                entities=int(total[:, 2].sum()),
                found=int(total[:, 1].sum()),
                precision=float(micro(precision, total)),
                recall=float(micro(recall, total)),
                f1=value,
                f1_low=low,
                f1_high=high,
            )
        value, low, high = with_interval(lambda some: micro(recall, some), counts)
        mean, mean_low, mean_high = with_interval(macro_f1, counts)
        return WordScores(
            **common,
            accuracy=value,
            low=low,
            high=high,
            macro_f1=mean,
            macro_f1_low=mean_low,
            macro_f1_high=mean_high,
            majority=float(total[:, 2].max() / total[:, 2].sum()),
        )

    def find(
        self, speaker: Speaker, texts: Sequence[str | Sequence[str]]
    ) -> list[list[TaggedSpan]]:
        """The entities of each text, or each of its words with its tag.

        Args:
            texts: plain text, or words, which then have a blank between them.
        """
        wholes, places, encoded = [], [], []
        for text in texts:
            if isinstance(text, str):
                whole, words = text, words_of_text(text)
                encoded.append(encode_text(text, words, speaker.vocabulary))
            else:
                blanks = (True,) * len(text)
                whole, begins = running_text(text, blanks)
                words = [
                    (begin, begin + len(word)) for begin, word in zip(begins, text, strict=True)
                ]
                encoded.append(encode_words(text, blanks, speaker.vocabulary))
            wholes.append(whole)
            places.append(words)
        rows = self.tags(speaker, encoded)
        return [list(self._spans(*one)) for one in zip(wholes, places, rows, strict=True)]

    def tags(
        self, speaker: Speaker, sentences: Sequence[WordTokens]
    ) -> list[list[tuple[str | None, float]]]:
        """The most probable tag of each word, with its probability; of a word without a token None."""
        windows, owners = [], []
        for number, sentence in enumerate(sentences):
            own = word_windows(sentence, self.longest)
            windows += own
            owners += [number] * len(own)
        found = [[(None, 0.0)] * len(one.firsts) for one in sentences]
        scores = word_scores(speaker.model, windows, speaker.batches)
        for owner, window, logits in zip(owners, windows, scores, strict=True):
            best, classes = logits.softmax(dim=-1).max(dim=-1)
            for word, one, value in zip(
                window.words.tolist(), classes.tolist(), best.tolist(), strict=True
            ):
                found[owner][word] = (self.classes[one], value)
        return found

    def _spans(
        self,
        text: str,
        places: Sequence[tuple[int, int]],
        tagged: Sequence[tuple[str | None, float]],
    ) -> Iterator[TaggedSpan]:
        if self.has_entities:
            spans = entities([tag or OUTSIDE for tag, _ in tagged])
        else:
            spans = [(tag, (number, number)) for number, (tag, _) in enumerate(tagged)]
        for label, (first, last) in spans:
            begin, end = places[first][0], places[last][1]
            values = [value for _, value in tagged[first : last + 1]]
            yield TaggedSpan(
                label, sum(values) / len(values), text[begin:end], begin, end, first, last
            )

    def _read(self, tags: Sequence[str]) -> list[str]:
        """Gold tags, those that the body does not know as the rule says."""
        if self.unknown != AS_OUTSIDE:
            return list(tags)
        return [tag if type_of(tag) in self.known else OUTSIDE for tag in tags]

    def _units(self, tags: Sequence[str | None]) -> list[Unit]:
        if self.has_entities:
            return entities([tag or OUTSIDE for tag in tags])
        return [(tag, place) for place, tag in enumerate(tags) if tag is not None]

    def _count_cut(self, sentence: WordTokens) -> int:
        """How many words are longer than the body reads at once."""
        begins = numpy.append(sentence.firsts[sentence.firsts != NO_PIECE], len(sentence.ids))
        return int((numpy.diff(begins) > self.longest - FRAME).sum())


def word_scores(model: nn.Module, windows: Sequence[WordWindow], batches: Batches) -> list[Tensor]:
    """Logits of the tags of each window's words, (words, tags) on the CPU."""

    def scores(tokens: Tensor, batch: list[int]) -> list[Tensor]:
        found = model(tokens, token_head=TAG_HEAD)[0]
        firsts = (torch.from_numpy(windows[index].firsts) for index in batch)
        return [
            rows[places.to(rows.device)].float().cpu()
            for rows, places in zip(found, firsts, strict=True)
        ]

    return batches.compute([window.ids for window in windows], scores, "window")


def _read(path: Path, options: Options) -> list[Sentence]:
    return read_tagged_file(path)


def _ask(model: Any, texts: Sequence[Sequence[str | Sequence[str]]]) -> list[object]:
    """Entities, or tagged words, of each text."""
    return [
        [{**one._asdict(), "probability": round(one.probability, DIGITS)} for one in spans]
        for spans in model.tag([text for (text,) in texts])
    ]


def _solver(name: str, body: Body, record: Path | None, options: Options) -> Tagger:
    return Tagger(name, body, record, options.get("unknown_tags") or REFUSE)


def _note(row: Row) -> str:
    lost = f"{row['lost']:,} words without a token, which count as mistakes" * bool(row["lost"])
    known = "majority" in row
    majority = f"always the most frequent tag {share(row['majority'])} %" if known else ""
    return ", ".join(filter(None, (majority, lost)))


def _cell(*keys: str) -> Callable[[Row], str | None]:
    """A share, or an interval; nothing in rows of the other sort."""

    def cell(row: Row) -> str | None:
        if keys[0] not in row:
            return None
        values = [row[key] for key in keys]
        return share(*values) if len(values) == 1 else shares(*values)

    return cell


KIND = Kind(
    name=TAGS,
    tasks={"tagging": "fairseq-minimodel evaluate --body {} --test PACK TEST.conllu"},
    head=lambda task: TAG_HEAD,
    trained="was fine-tuned to tag words",
    method="tag",
    loss_unit="bits per word",
    text_keys=(("words",), ("text",)),
    reads_words=True,
    ask=_ask,
    rows="words",
    count="words",
    metrics=(
        Metric("F1 of entities", ("f1", "f1_low", "f1_high"), hub="f1"),
        Metric("accuracy of tags", ("accuracy", "low", "high"), hub="accuracy"),
        Metric("macro F1 of tags", ("macro_f1", "macro_f1_low", "macro_f1_high"), hub="f1"),
    ),
    note=_note,
    read=_read,
    form=TagScores,
    columns=(
        ("sentences", lambda row: row["sentences"]),
        ("words", lambda row: row["words"]),
        ("without a token", lambda row: row["lost"]),
        ("entities", lambda row: row.get("entities")),
        ("precision (%)", _cell("precision")),
        ("recall (%)", _cell("recall")),
        ("F1 (%)", _cell("f1")),
        ("95 % interval", _cell("f1_low", "f1_high")),
        ("accuracy (%)", _cell("accuracy")),
        ("95 % interval", _cell("low", "high")),
        ("macro F1 (%)", _cell("macro_f1")),
        ("95 % interval", _cell("macro_f1_low", "macro_f1_high")),
    ),
    labels=lambda row: row["labels"],
    record=LABELS,
    record_option="labels",
    record_is_needed=True,
    solver=_solver,
    architecture="ForTokenClassification",
    pipeline="token-classification",
)
