"""Sentence vectors: how they are made, and how often a translation is the nearest neighbour."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from ..vocabulary.tokenizers import BOS, EOS, PAD, Vocabulary
from . import COSINE, CSLS, RETRIEVAL
from .batches import Batches
from .kind import Body, Kind, Metric, Row, Speaker
from .metrics import Accuracy, accuracy

TO_ENGLISH, FROM_ENGLISH = DIRECTIONS = ("to English", "from English")
# Of a batch of ids and the numbers of its sequences: token embeddings in the place of the model's.
Embed = Callable[[Tensor, list[int]], Tensor | None]


@dataclass(frozen=True)
class Retrieved:
    """How often the right translation is found.

    Attributes:
        layer: whose mean hidden states were compared; None: vectors as the body's settings say.
        pairs: sentences of each side, among which the translation is sought.
        chance: accuracy of guessing, one over `pairs`.
        truncated: sentences of either side cut because the body has no more positions.
        accuracies: by similarity, then by direction: the fields of `Accuracy`.
    """

    layer: int | None
    pairs: int
    chance: float
    truncated: int
    accuracies: dict[str, dict[str, dict[str, float]]]


def checked_layer(layer: int | None, layers: int, name: str) -> int:
    """The layer; of None the one above the middle.

    Args:
        layers, name: of the body.

    Raises:
        InputError: the body does not have the layer.
    """
    if layer is None:
        return middle_layer(layers)
    if not 0 <= layer <= layers:
        raise InputError(
            f"--layer {layer}: {name} has the layers 1 to {layers} (0: the embeddings)"
        )
    return layer


def vectors_of(body: Body, layer: int | None) -> tuple[int | None, int]:
    """The layer whose mean hidden states are the vectors of a body, and the tokens of the longest text.

    Args:
        layer: that is asked for; None: of a body made for sentence vectors it is None, which stands for
            what its settings say, of others the one above the middle.

    Raises:
        InputError: the body does not have the layer.
    """
    settings, positions = body.sentence_settings(), body.body_settings()["max_positions"]
    if layer is None and settings:
        return None, settings["sentence_length"] or positions
    return checked_layer(layer, body.layers, str(body.path)), positions


def middle_layer(layers: int) -> int:
    """The layer just above the middle: 7 of 12, 13 of 24, as in XTREME's script for Tatoeba.

    (Hu et al. 2020, arXiv 2003.11080; scripts/run_tatoeba.sh.) The lowest layers still tell the words
    of the two languages apart, the highest prepare the prediction of words of the one.
    """
    return layers // 2 + 1


def text_vectors(
    speaker: Speaker, texts: Sequence[str], layer: int | None, longest: int
) -> tuple[numpy.ndarray, int]:
    """Vectors of texts, texts x width, and how many texts were cut to the body's length.

    Args:
        layer: whose mean hidden states they are; None: as the body's settings say.
        longest: tokens of a text, <s> and </s> among them.
    """
    sequences, cut = token_sequences(speaker.vocabulary, texts, longest)
    if layer is None:
        return pooled_vectors(speaker.model, sequences, speaker.batches), cut
    return sentence_vectors(speaker.model, sequences, layer, speaker.batches), cut


def mixed_vectors(
    speakers: Sequence[Speaker], texts: Sequence[str], layer: int | None, longest: int
) -> tuple[numpy.ndarray, int]:
    """The same of texts in several languages, which share batches.

    Args:
        speakers: the language of each text, all over one body in memory.
        layer, longest: as in `text_vectors`.
    """
    distinct = {id(one): one for one in speakers}
    places = {
        key: [place for place, one in enumerate(speakers) if id(one) == key] for key in distinct
    }
    sequences: list[numpy.ndarray] = [numpy.empty(0)] * len(texts)
    cut = 0
    for key, speaker in distinct.items():
        own, more = token_sequences(
            speaker.vocabulary, [texts[place] for place in places[key]], longest
        )
        cut += more
        for place, sequence in zip(places[key], own, strict=True):
            sequences[place] = sequence

    def embed(tokens: Tensor, numbers: list[int]) -> Tensor:
        rows: Tensor | None = None
        for key, speaker in distinct.items():
            chosen = [row for row, number in enumerate(numbers) if id(speakers[number]) == key]
            if chosen:
                table = speaker.model.encoder.sentence_encoder.embed_tokens
                found = table(tokens[chosen])
                if rows is None:
                    rows = found.new_empty(*tokens.shape, found.size(-1))
                rows[chosen] = found
        return rows

    first = speakers[0]
    if layer is None:
        return pooled_vectors(first.model, sequences, first.batches, embed), cut
    return sentence_vectors(first.model, sequences, layer, first.batches, embed), cut


def token_sequences(
    vocabulary: Vocabulary, texts: Sequence[str], longest: int
) -> tuple[list[numpy.ndarray], int]:
    """The ids of each text between <s> and </s>, and how many texts were cut.

    Args:
        longest: tokens of a text, <s> and </s> among them.
    """
    room, encoded = longest - 2, vocabulary.encode_batch(texts)
    sequences = [numpy.concatenate([[BOS], ids[:room], [EOS]]) for ids in encoded]
    return sequences, sum(len(ids) > room for ids in encoded)


def pooled_vectors(
    model: nn.Module,
    sequences: Sequence[numpy.ndarray],
    batches: Batches,
    embed: Embed = lambda tokens, numbers: None,
) -> numpy.ndarray:
    """The vector of each sequence as the model's settings say: sequences x width, float32."""

    def vectors(tokens: Tensor, numbers: list[int]) -> numpy.ndarray:
        embedded = embed(tokens, numbers)
        found, _ = model(tokens, sentence_vectors=True, token_embeddings=embedded)
        return found.float().cpu().numpy()

    return numpy.stack(batches.compute(sequences, vectors, "sentence"))


def sentence_vectors(
    model: nn.Module,
    sequences: Sequence[numpy.ndarray],
    layer: int,
    batches: Batches,
    embed: Embed = lambda tokens, numbers: None,
) -> numpy.ndarray:
    """Mean hidden state after `layer` of each sequence's tokens: sequences x width, float32.

    <s>, </s> and padding are left out of the mean. Without any other token it is 0.
    """

    def means(tokens: Tensor, numbers: list[int]) -> numpy.ndarray:
        embedded = embed(tokens, numbers)
        _, extra = model(
            tokens, features_only=True, return_all_hiddens=True, token_embeddings=embedded
        )
        hidden = extra["inner_states"][layer].transpose(0, 1).float()
        real = (tokens != PAD) & (tokens != BOS) & (tokens != EOS)
        sums = (hidden * real.unsqueeze(-1)).sum(dim=1)
        return (sums / real.sum(dim=1, keepdim=True).clamp(min=1)).cpu().numpy()

    return numpy.stack(batches.compute(sequences, means, "sentence"))


def cosines(rows: numpy.ndarray, columns: numpy.ndarray) -> numpy.ndarray:
    """Cosine of each vector of `rows` (n x width) with each of `columns` (m x width): n x m."""
    unit = [functional.normalize(torch.from_numpy(side).double()) for side in (rows, columns)]
    return (unit[0] @ unit[1].T).numpy()


def csls(similarities: numpy.ndarray, neighbours: int) -> numpy.ndarray:
    """Cross-domain similarity local scaling of cosines, n x m.

    CSLS(x, y) = 2 cos(x, y) - r(x) - r(y), where r is the mean cosine with the `neighbours` nearest
    vectors of the other language: vectors that are near to everything count as less near. Conneau et
    al. 2018 (arXiv 1710.04087), section 2.3.
    """

    def mean_of_nearest(axis: int) -> numpy.ndarray:
        ascending = numpy.sort(similarities, axis=axis)
        nearest = numpy.take(ascending, range(-neighbours, 0), axis=axis)
        return nearest.mean(axis=axis, keepdims=True)

    return 2 * similarities - mean_of_nearest(1) - mean_of_nearest(0)


def found(similarities: numpy.ndarray) -> Accuracy:
    """How often row i is most similar to column i, among all columns (of equals, to the first)."""
    return accuracy(similarities.argmax(axis=1).tolist(), range(len(similarities)))


def compare(
    vectors: numpy.ndarray, english: numpy.ndarray, similarities: Sequence[str], neighbours: int
) -> dict[str, dict[str, dict[str, float]]]:
    """`Retrieved.accuracies` of vectors (pairs x width) of sentences and their translations.

    Args:
        similarities: of `SIMILARITIES`.
        neighbours: k of CSLS.
    """
    cosine = cosines(vectors, english)
    matrices = {
        similarity: cosine if similarity == COSINE else csls(cosine, neighbours)
        for similarity in similarities
    }
    return {
        similarity: {
            TO_ENGLISH: found(matrix)._asdict(),
            FROM_ENGLISH: found(matrix.T)._asdict(),
        }
        for similarity, matrix in matrices.items()
    }


def _metric(similarity: str, direction: str) -> Metric:
    place = f"accuracies/{similarity}/{direction}"
    name = f"pairs found, {direction}, by {'CSLS' if similarity == CSLS else similarity}"
    return Metric(name, (f"{place}/value", f"{place}/low", f"{place}/high"))


def accuracy_cell(row: Row, similarity: str, direction: str) -> str:
    """An accuracy in per cent with its Wilson 95 % interval."""
    value, low, high = (
        row["accuracies"][similarity][direction][end] for end in ("value", "low", "high")
    )
    return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


KIND = Kind(
    name=RETRIEVAL,
    tasks={},
    trained="",
    method="encode",
    rows="sentences",
    count="pairs",
    metrics=tuple(
        _metric(similarity, direction) for similarity in (CSLS, COSINE) for direction in DIRECTIONS
    ),
)
