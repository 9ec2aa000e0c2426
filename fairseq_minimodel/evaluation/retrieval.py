"""Without labels: how often a sentence's nearest neighbour in the other language is its translation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..bodies.checkpoint import Checkpoint, read_checkpoint
from ..corpus.benchmarks.read import read_benchmark
from ..corpus.benchmarks.retrieval import Translation
from ..corpus.benchmarks.rows import Split
from ..errors import InputError
from ..files.atomic import write_json
from ..files.outputs import check_file, json_form
from ..inference.batches import in_batches
from ..inference.build import build_model, ready_device
from ..kinds.metrics import Accuracy, accuracy, chance_accuracy
from ..packs.pack import LanguagePack, load_pack
from ..packs.plug import plug
from ..packs.trained_language import unfit_packs
from ..terminal.table import format_table
from ..vocabulary.tokenizers import BOS, EOS, PAD, Vocabulary
from .options import COSINE, CSLS, SIMILARITIES, RetrieveOptions

TO_ENGLISH, FROM_ENGLISH = "to English", "from English"

SCORES = json_form("a file of accuracies", "language", "pack", "accuracies")


@dataclass(frozen=True)
class RetrievalScore:
    """How often the right translation is found, by one pack's language.

    Attributes:
        language, pack, data: which language, by which pack, in which files.
        layer: whose hidden states were compared.
        pairs: sentences of each side, among which the translation is sought.
        chance: accuracy of guessing, one over `pairs`.
        truncated: sentences of either side cut because the body has no more positions.
        accuracies: by similarity, then by direction.
    """

    language: str
    pack: str
    data: str
    layer: int
    pairs: int
    chance: float
    truncated: int
    accuracies: dict[str, dict[str, Accuracy]]


def retrieve(
    body: str | Path,
    source_pack: str | Path,
    packs: Sequence[str | Path],
    data: str | Path,
    layer: int | None = None,
    similarities: Sequence[str] = SIMILARITIES,
    neighbours: int = RetrieveOptions.neighbours,
    max_tokens: int = RetrieveOptions.max_tokens,
    device: str | None = None,
    output: str | Path | None = None,
) -> list[RetrievalScore]:
    """Find translations by a body's hidden states in the language of each pack; print a table.

    The arguments are those of `RetrieveOptions`; the body may be any checkpoint of the packs' lineage,
    fine-tuned or not.

    Raises:
        InputError: `output` holds something else, the body does not have the layer, a pack does not
            fit it, the device cannot be used, or the data have no sentences in a pack's language or
            fewer than `neighbours`.
    """
    if output:
        check_file(output, SCORES, body)
    device = ready_device(device)
    checkpoint = read_checkpoint(body)
    layer = checked_layer(layer, checkpoint)
    source, targets = load_pack(source_pack), [load_pack(pack) for pack in packs]
    for pack in (source, *targets):
        plug(checkpoint, pack)  # what does not fit is refused before the work begins
    unfit_packs(checkpoint, [source, *targets])
    splits = read_benchmark(
        "tatoeba", data, "test", list(dict.fromkeys(pack.description.language for pack in targets))
    )
    for split in splits.values():
        if CSLS in similarities and not 1 <= neighbours <= len(split.rows):
            raise InputError(
                f"--neighbours {neighbours}: {split.files[0]} has {len(split.rows)} sentences; give "
                "a number from 1 to that, or --similarity cosine"
            )
    english = _Encoder(checkpoint, source, layer, max_tokens, device)
    scores = []
    for pack in targets:
        foreign = _Encoder(checkpoint, pack, layer, max_tokens, device)
        split = splits[pack.description.language]
        scores.append(_score(foreign, english, split, similarities, neighbours))
    print(score_table(scores))
    if output:
        records = [asdict(score) | {"accuracies": _named(score)} for score in scores]
        write_json(output, records, SCORES)
    return scores


def checked_layer(layer: int | None, checkpoint: Checkpoint) -> int:
    """The layer; of None the one above the middle.

    Raises:
        InputError: the checkpoint does not have the layer.
    """
    if layer is None:
        return middle_layer(checkpoint.layers)
    if not 0 <= layer <= checkpoint.layers:
        raise InputError(
            f"--layer {layer}: {checkpoint.path} has the layers 1 to {checkpoint.layers} "
            "(0: the embeddings)"
        )
    return layer


def middle_layer(layers: int) -> int:
    """The layer just above the middle: 7 of 12, 13 of 24, as in XTREME's script for Tatoeba.

    (Hu et al. 2020, arXiv 2003.11080; scripts/run_tatoeba.sh.) The lowest layers still tell the words
    of the two languages apart, the highest prepare the prediction of words of the one.
    """
    return layers // 2 + 1


def score_table(scores: Sequence[RetrievalScore]) -> str:
    """The scores as a Markdown table, accuracies in per cent with their Wilson 95 % intervals.

    Below it stands how many sentences were cut, where any were.
    """
    kinds = [
        (similarity, direction)
        for similarity, directions in scores[0].accuracies.items()
        for direction in directions
    ]
    table = format_table(
        ["language", "pack", "layer", "pairs",
         *(f"{similarity}, {direction} (%)" for similarity, direction in kinds), "chance (%)"],
        [
            [score.language, score.pack, score.layer, score.pairs,
             *(_percent(score.accuracies[similarity][direction]) for similarity, direction in kinds),
             f"{100 * score.chance:.2f}"]
            for score in scores
        ],
    )  # fmt: skip
    cut = [
        f"{score.language}: {score.truncated} of {2 * score.pairs} sentences were longer than the body "
        "has positions and were cut"
        for score in scores
        if score.truncated
    ]
    return "\n".join([table, *([""] if cut else []), *cut])


def sentence_vectors(
    model: nn.Module,
    sequences: Sequence[numpy.ndarray],
    layer: int,
    max_tokens: int,
    device: str,
    unit: str | None = "sentence",
) -> numpy.ndarray:
    """Mean hidden state after `layer` of each sequence's tokens: sequences x width, float32.

    <s>, </s> and padding are left out of the mean. Without any other token it is 0.

    Args:
        max_tokens, device, unit: see `in_batches`.
    """

    def means(tokens: Tensor, _: list[int]) -> numpy.ndarray:
        _, extra = model(tokens, features_only=True, return_all_hiddens=True)
        hidden = extra["inner_states"][layer].transpose(0, 1).float()
        real = (tokens != PAD) & (tokens != BOS) & (tokens != EOS)
        sums = (hidden * real.unsqueeze(-1)).sum(dim=1)
        return (sums / real.sum(dim=1, keepdim=True).clamp(min=1)).cpu().numpy()

    return numpy.stack(in_batches(sequences, max_tokens, device, means, unit))


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


class _Encoder:
    """Texts to vectors: a body with the language of a pack."""

    def __init__(
        self, body: Checkpoint, pack: LanguagePack, layer: int, max_tokens: int, device: str
    ) -> None:
        self.pack, self.layer = pack, layer
        self.max_tokens, self.device = max_tokens, device
        self.longest = body.body_settings()["max_positions"] - 2  # without <s> and </s>
        self.vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
        self.model = build_model(plug(body, pack)[0], pack.symbols, device)

    def __call__(self, texts: Sequence[str]) -> tuple[numpy.ndarray, int]:
        """Vectors, texts x width, and how many texts were cut to the body's length."""
        encoded = self.vocabulary.encode_batch(texts)
        sequences = [numpy.concatenate([[BOS], ids[: self.longest], [EOS]]) for ids in encoded]
        truncated = sum(len(ids) > self.longest for ids in encoded)
        vectors = sentence_vectors(self.model, sequences, self.layer, self.max_tokens, self.device)
        return vectors, truncated


def _score(
    foreign: _Encoder,
    english: _Encoder,
    split: Split[Translation],
    similarities: Sequence[str],
    neighbours: int,
) -> RetrievalScore:
    vectors, truncated = foreign([row.text for row in split.rows])
    english_vectors, english_truncated = english([row.english for row in split.rows])
    cosine = cosines(vectors, english_vectors)
    accuracies = {}
    for similarity in similarities:
        matrix = cosine if similarity == COSINE else csls(cosine, neighbours)
        accuracies[similarity] = {TO_ENGLISH: found(matrix), FROM_ENGLISH: found(matrix.T)}
    return RetrievalScore(
        language=foreign.pack.description.language,
        pack=str(foreign.pack.folder),
        data=", ".join(split.files),
        layer=foreign.layer,
        pairs=len(split.rows),
        chance=chance_accuracy(len(split.rows)),
        truncated=truncated + english_truncated,
        accuracies=accuracies,
    )


def _percent(result: Accuracy) -> str:
    return f"{100 * result.value:.1f} ({100 * result.low:.1f} to {100 * result.high:.1f})"


def _named(score: RetrievalScore) -> dict[str, dict[str, dict[str, float]]]:
    """The accuracies with their fields' names, which JSON would lose."""
    return {
        similarity: {direction: result._asdict() for direction, result in directions.items()}
        for similarity, directions in score.accuracies.items()
    }
