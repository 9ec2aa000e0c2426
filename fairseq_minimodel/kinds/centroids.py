"""Labels by the nearest centroid: classification with sentence vectors, without a head."""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from .classification import Accuracies, accuracies
from .examples import Example
from .kind import Body, Speaker
from .vectors import text_vectors, vectors_of


class Centroids:
    """The centroids of labels in the vectors of a body, to be scored in any language.

    Args:
        body: made for sentence vectors.
        examples: labelled texts, whose mean vectors are the centroids.
        data: where they come from.
        speaker: gives the body in their language; called when the vectors are needed.

    Raises:
        InputError: the examples have two texts, or all the same label.
    """

    settings = None

    def __init__(
        self, body: Body, examples: Sequence[Example], data: str, speaker: Callable[[], Speaker]
    ) -> None:
        self.layer, self.longest = vectors_of(body, None)
        self.examples, self.data, self.speaker = examples, data, speaker
        _check_texts(examples, data)
        self.labels = sorted({example.label for example in examples})
        if len(self.labels) == 1:
            raise InputError(
                f'{data} has the label "{self.labels[0]}" alone, which would be the nearest of every '
                "text: give --centroids labelled texts with two labels or more"
            )

    def check(self, examples: Sequence[Example], language: str, data: str) -> None:
        """Refuse pairs of texts, and a label without a centroid, with an `InputError`."""
        _check_texts(examples, data)
        for example in examples:
            if example.label not in self.labels:
                raise InputError(
                    f'{example.place(data)} has the label "{example.label}", and {self.data}, which '
                    f"the centroids are made of, has {', '.join(self.labels)}"
                )

    def score(self, speaker: Speaker, examples: Sequence[Example], language: str) -> Accuracies:
        """Accuracy of the label of the nearest centroid."""
        vectors, cut = self._vectors(speaker, examples)
        found = nearest_centroids(self._labelled, [one.label for one in self.examples], vectors)
        return accuracies(found, [one.label for one in examples], len(self.labels), cut)

    @cached_property
    def _labelled(self) -> Tensor:
        return self._vectors(self.speaker(), self.examples)[0]

    def _vectors(self, speaker: Speaker, examples: Sequence[Example]) -> tuple[Tensor, int]:
        texts = [text for example in examples for text in example.texts]
        vectors, cut = text_vectors(speaker, texts, self.layer, self.longest)
        return torch.from_numpy(vectors), cut


def nearest_centroids(vectors: Tensor, labels: Sequence[str], others: Tensor) -> list[str]:
    """For each of `others` the label whose vectors have the nearest mean, by the cosine.

    Args:
        vectors: labelled ones, and `others`: each number x width; their lengths do not matter.
        labels: of `vectors`.
    """
    names, vectors = sorted(set(labels)), functional.normalize(vectors)
    means = [vectors[[label == name for label in labels]].mean(dim=0) for name in names]
    nearest = functional.normalize(others) @ functional.normalize(torch.stack(means)).T
    return [names[one] for one in nearest.argmax(dim=1).tolist()]


def _check_texts(examples: Sequence[Example], data: str) -> None:
    for example in examples:
        if len(example.texts) != 1:
            raise InputError(
                f"{example.place(data)} has {len(example.texts)} texts, and the nearest centroid is "
                "that of one: give data with one text for each label (one of --text-columns)"
            )
