"""Classification of sentences and pairs of sentences: fairseq's task `sentence_prediction`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from torch import Tensor, nn

from ..errors import InputError
from ..vocabulary.tokenizers import EOS, Vocabulary, read_dictionary
from . import CLASSIFICATION, CLASSIFICATION_HEADS, LABELS
from .batches import Batches
from .examples import Example, read_examples
from .kind import Body, Kind, Metric, Options, Row, Speaker, share, shares
from .metrics import accuracy, majority_accuracy
from .truncation import kept_lengths

DEFAULT_HEAD = "sentence_classification_head"  # fairseq's name
DIGITS = 6  # of probabilities in JSON, behind the point


@dataclass(frozen=True)
class Accuracies:
    """How well one body classifies in one language.

    Attributes:
        examples, correct: how many.
        accuracy, low, high: share of correct answers, and its Wilson 95 % interval.
        chance: one over the number of classes; majority: share of the most frequent label.
        truncated: examples that were cut because they are longer than the body has positions.
    """

    examples: int
    correct: int
    accuracy: float
    low: float
    high: float
    chance: float
    majority: float
    truncated: int


@dataclass(frozen=True)
class Prediction:
    """The most probable label, its probability, and those of all labels in the order of the task.

    `cut` is how many tokens of the text, or of the pair, were left out because it is longer than the
    body has positions.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    cut: int = 0


def accuracies(
    found: Sequence[str], labels: Sequence[str | None], classes: int, truncated: int
) -> Accuracies:
    """Accuracy of the labels found.

    Args:
        labels: the right ones, in the same order.
        classes: among which each was chosen.
        truncated: examples that were cut.
    """
    result = accuracy(found, labels)
    return Accuracies(
        examples=result.count,
        correct=result.correct,
        accuracy=result.value,
        low=result.low,
        high=result.high,
        chance=1 / classes,
        majority=majority_accuracy(labels),
        truncated=truncated,
    )


def read_labels(path: str | Path, classes: int, name: str) -> list[str]:
    """The labels of a dict.txt, in the order of the classes.

    Args:
        classes: how many the head has; name: of what the head belongs to, for a message.

    Raises:
        InputError: there are more or fewer labels than classes, or it is not a dict.txt.
    """
    labels = read_dictionary(path)
    if len(labels) != classes:
        raise InputError(
            f"{name} has {classes} classes and the label dictionary {len(labels)} ({path}): name the "
            "dict.txt of the labels it was fine-tuned with (--labels)"
        )
    return labels


class Classifier:
    """The classification head of a body.

    Args:
        name: of the body.
        body: fine-tuned by fairseq's task `sentence_prediction`.
        labels: dict.txt of the labels, in the order of the classes.

    Raises:
        InputError: the labels are not those of the body.
    """

    def __init__(self, name: str, body: Body, labels: str | Path) -> None:
        self.name, self.task = name, body.config["task"]
        self.head = head_name(self.task)
        self.longest = body.body_settings()["max_positions"]
        outputs = body.state[f"{CLASSIFICATION_HEADS}{self.head}.out_proj.weight"].size(0)
        self.classes = self.settings = read_labels(labels, outputs, name)

    def check(self, examples: Sequence[Example], language: str, data: str) -> None:
        """Refuse a label that the body does not know with an `InputError`."""
        for example in examples:
            if example.label not in self.classes:
                raise InputError(
                    f'{example.place(data)} has the label "{example.label}", and the body knows '
                    f"{', '.join(self.classes)}"
                )

    def score(self, speaker: Speaker, examples: Sequence[Example], language: str) -> Accuracies:
        """Accuracy on examples with labels that the body knows."""
        return self.rate(self.predict(speaker, [one.texts for one in examples]), examples)

    def rate(self, found: Sequence[Prediction], examples: Sequence[Example]) -> Accuracies:
        """Accuracy of a prediction for each example."""
        return accuracies(
            [one.label for one in found],
            [example.label for example in examples],
            len(self.classes),
            sum(bool(one.cut) for one in found),
        )

    def predict(self, speaker: Speaker, texts: Sequence[Sequence[str]]) -> list[Prediction]:
        """The label of each text, or pair of texts; of equally probable ones the first."""
        return list(map(self.named, *self.logits(speaker, texts)))

    def logits(
        self, speaker: Speaker, texts: Sequence[Sequence[str]]
    ) -> tuple[list[Tensor], list[int]]:
        """For each text, or pair of texts: (classes,) on the CPU, and how many tokens were left out."""
        sequences, cut = token_sequences(texts, speaker.vocabulary, self.task, self.longest)
        return class_logits(speaker.model, self.head, sequences, speaker.batches), cut

    def named(self, logits: Tensor, cut: int) -> Prediction:
        """What logits (classes,) say, of a text of which so many tokens were left out."""
        named = dict(zip(self.classes, logits.softmax(dim=-1).tolist(), strict=True))
        label = self.classes[logits.argmax()]
        return Prediction(label, named[label], named, cut)


def head_name(task: Mapping[str, Any]) -> str:
    """What the settings of the task call the head."""
    return task.get("classification_head_name") or DEFAULT_HEAD


def class_logits(
    model: nn.Module, head: str, sequences: Sequence[numpy.ndarray], batches: Batches
) -> list[Tensor]:
    """Logits of the classes, (classes,) on the CPU, by the head of that name."""

    def logits(tokens: Tensor, _: list[int]) -> Tensor:
        return model(tokens, classification_head_name=head)[0].float().cpu()

    return batches.compute(sequences, logits, "example")


def token_sequences(
    examples: Sequence[Sequence[str]],
    vocabulary: Vocabulary,
    task: Mapping[str, Any],
    longest: int | None = None,
) -> tuple[list[numpy.ndarray], list[int]]:
    """Examples, each of one text or two, as fairseq's `sentence_prediction` feeds them to the model.

    Each text ends with </s>; the task's init token goes before the first, its separator token before
    the second. Of an example that is too long the texts are cut (`kept_lengths`), never these tokens.

    Args:
        longest: tokens of a sequence; None: nothing is cut.

    Returns: the sequences, and how many tokens of each example were left out.
    """
    first, between = (
        [] if task.get(name) is None else [task[name]] for name in ("init_token", "separator_token")
    )
    encoded = iter(vocabulary.encode_batch([text for texts in examples for text in texts]))
    sequences, cut = [], []
    for texts in examples:
        ids = [next(encoded) for _ in texts]
        sizes = kept = [len(one) for one in ids]
        if longest is not None:
            special = len(first) + len(between) * (len(texts) - 1) + len(texts)
            kept = kept_lengths(sizes, longest - special)
        parts = []
        for number, (one, size) in enumerate(zip(ids, kept, strict=True)):
            parts += [between if number else first, one[:size], [EOS]]
        sequences.append(numpy.concatenate(parts).astype(numpy.int64))
        cut.append(sum(sizes) - sum(kept))
    return sequences, cut


def _read(path: Path, options: Options) -> list[Example]:
    return list(
        read_examples(
            path, options.get("text_columns", ("text",)), options.get("label_column", "label")
        )
    )


def _ask(model: Any, texts: Sequence[Sequence[str]]) -> list[object]:
    """Labels and probabilities; of a text that was cut, how many of its tokens were left out."""
    return [
        {
            "label": one.label,
            "probabilities": {
                label: round(value, DIGITS) for label, value in one.probabilities.items()
            },
            **({"cut": one.cut} if one.cut else {}),
        }
        for one in model.predict(texts)
    ]


def _solver(name: str, body: Body, record: Path | None, options: Options) -> Classifier:
    return Classifier(name, body, record)


def _note(row: Row) -> str:
    how = ", by the nearest centroid" if "centroids" in row else ""
    return f"always the most frequent label {share(row['majority'])} %{how}"


KIND = Kind(
    name=CLASSIFICATION,
    tasks={
        "sentence_prediction": "fairseq-minimodel evaluate --body {} --test PACK TEST.tsv",
        "meta_sentence_prediction": "",
    },
    head=lambda task: f"{CLASSIFICATION_HEADS}{head_name(task)}",
    trained="was fine-tuned to classify",
    method="predict",
    loss_unit="bits per example",
    text_keys=(("text1", "text2"), ("text",)),
    ask=_ask,
    rows="examples",
    count="examples",
    metrics=(Metric("accuracy", ("accuracy", "low", "high"), hub="accuracy"),),
    note=_note,
    read=_read,
    form=Accuracies,
    columns=(
        ("examples", lambda row: row["examples"]),
        ("accuracy (%)", lambda row: share(row["accuracy"])),
        ("95 % interval", lambda row: shares(row["low"], row["high"])),
        ("chance (%)", lambda row: share(row["chance"])),
        ("most frequent label (%)", lambda row: share(row["majority"])),
    ),
    record=LABELS,
    record_option="labels",
    record_is_needed=True,
    solver=_solver,
    architecture="ForSequenceClassification",
    pipeline="text-classification",
)
