"""Zero-shot classification: a fine-tuned body, language packs, test sets; accuracies."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy
import torch
from torch import nn
from tqdm import tqdm

from ..atomic import atomic_file
from ..checkpoint.load import Checkpoint, find_training_file, read_checkpoint
from ..checkpoint.surgery import plug
from ..corpus.examples import Example, read_examples
from ..corpus.vocabulary import EOS, PAD, Vocabulary, read_dictionary
from ..errors import InputError
from ..language.pack import LanguagePack, load_pack
from ..report.table import format_table
from .build import build_model
from .metrics import accuracy, chance_accuracy, majority_accuracy

DEFAULT_HEAD = "sentence_classification_head"  # fairseq's name


@dataclass(frozen=True)
class Score:
    """Accuracy of one body in one language.

    Attributes:
        language, pack, data: which language, by which pack, on which file.
        examples, correct: how many.
        accuracy, low, high: share of correct answers, and its Wilson 95 % interval.
        chance: one over the number of classes; majority: share of the most frequent label.
        truncated: examples cut because they were longer than the body has positions.
    """

    language: str
    pack: str
    data: str
    examples: int
    correct: int
    accuracy: float
    low: float
    high: float
    chance: float
    majority: float
    truncated: int


def evaluate(
    body: Path,
    tests: Sequence[tuple[str, str]],
    text_columns: Sequence[str],
    label_column: str,
    labels: Path | None,
    max_tokens: int,
    device: str | None,
    output: Path | None,
) -> list[Score]:
    """Score a fine-tuned body in the language of each pack, and print a table.

    Args:
        body: checkpoint of fairseq's task `sentence_prediction`.
        tests: (pack, file of examples) pairs. For the source language, the pack made of the
            pretrained body itself.
        text_columns, label_column: where the texts (one or two) and the label stand in the files.
        labels: dict.txt of the labels, in the order of the classes; None: the one that the body
            was fine-tuned with.
        max_tokens: tokens a batch, padding included.
        device: of PyTorch; None: a GPU if there is one.
        output: where to write the scores as JSON; None: nowhere.

    Raises:
        InputError: the body has no classification head, a pack does not fit it, or a label of the
            data is not one of the task's.
    """
    checkpoint = read_checkpoint(body)
    if checkpoint.config.get("task", {}).get("_name") != "sentence_prediction":
        raise InputError(
            f"{body} was not fine-tuned for classification: train it with fairseq's task "
            "sentence_prediction first"
        )
    head = checkpoint.config["task"].get("classification_head_name", DEFAULT_HEAD)
    classes = read_dictionary(labels or find_training_file(checkpoint, "label/dict.txt"))
    outputs = checkpoint.state[f"classification_heads.{head}.out_proj.weight"].size(0)
    if outputs != len(classes):
        raise InputError(
            f"{body} has {outputs} classes and the label dictionary {len(classes)}: name the "
            "dict.txt of the labels it was fine-tuned with (--labels)"
        )
    scores = [
        _score(checkpoint, head, load_pack(pack), Path(data), classes, text_columns, label_column,
               max_tokens, device)
        for pack, data in tests
    ]  # fmt: skip
    print(score_table(scores))
    if output:
        text = json.dumps([asdict(score) for score in scores], indent=2, ensure_ascii=False)
        with atomic_file(output) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
    return scores


def score_table(scores: Sequence[Score]) -> str:
    """The scores as a Markdown table, accuracies in per cent."""
    return format_table(
        ["language", "pack", "examples", "accuracy (%)", "95 % interval", "chance (%)"],
        [
            [score.language, score.pack, score.examples, f"{100 * score.accuracy:.1f}",
             f"{100 * score.low:.1f} to {100 * score.high:.1f}", f"{100 * score.chance:.1f}"]
            for score in scores
        ],
    )  # fmt: skip


def predict(
    model: nn.Module,
    head: str,
    sequences: Sequence[numpy.ndarray],
    max_tokens: int,
    device: str,
) -> list[int]:
    """The most probable class of each token sequence, by the classification head of that name.

    Sequences of like length share a batch, so that little padding is computed.
    """
    by_length = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    batches: list[list[int]] = [[]]
    for index in by_length:
        # the longest sequence of a batch is its last, and all others are padded to it
        if batches[-1] and (len(batches[-1]) + 1) * len(sequences[index]) > max_tokens:
            batches.append([])
        batches[-1].append(index)
    model = model.to(device)
    predictions = [0] * len(sequences)
    with torch.inference_mode():
        for batch in tqdm(batches, unit="batch", disable=not sys.stderr.isatty()):
            tokens = nn.utils.rnn.pad_sequence(
                [torch.from_numpy(sequences[index]) for index in batch],
                batch_first=True,
                padding_value=PAD,
            )
            logits, _ = model(tokens.to(device), classification_head_name=head)
            for index, prediction in zip(batch, logits.argmax(dim=-1).tolist(), strict=True):
                predictions[index] = prediction
    return predictions


def token_sequence(
    texts: Sequence[str], vocabulary: Vocabulary, task_config: dict[str, object]
) -> numpy.ndarray:
    """One example as fairseq's `sentence_prediction` feeds it to the model.

    Each text ends with </s>; the task's init token goes before the first, its separator token before
    the second. The whole is not yet cut to the body's length.
    """
    parts = []
    for index, text in enumerate(texts):
        before = task_config.get("init_token" if index == 0 else "separator_token")
        parts += [[] if before is None else [before], vocabulary.encode(text), [EOS]]
    return numpy.concatenate(parts).astype(numpy.int64)


def _score(
    body: Checkpoint,
    head: str,
    pack: LanguagePack,
    data: Path,
    classes: list[str],
    text_columns: Sequence[str],
    label_column: str,
    max_tokens: int,
    device: str | None,
) -> Score:
    task_config = body.config["task"]
    examples = list(read_examples(data, text_columns, label_column))
    answers = [_class_of(example, classes, data) for example in examples]
    vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
    sequences = [token_sequence(example.texts, vocabulary, task_config) for example in examples]
    longest = body.body_settings()["max_positions"]
    truncated = sum(len(sequence) > longest for sequence in sequences)

    predictions = predict(
        build_model(plug(body, pack)[0], pack.symbols),
        head,
        [sequence[:longest] for sequence in sequences],
        max_tokens,
        device or ("cuda" if torch.cuda.is_available() else "cpu"),
    )
    result = accuracy(predictions, answers)
    return Score(
        language=pack.description.language,
        pack=str(pack.folder),
        data=str(data),
        examples=result.count,
        correct=result.correct,
        accuracy=result.value,
        low=result.low,
        high=result.high,
        chance=chance_accuracy(len(classes)),
        majority=majority_accuracy(answers),
        truncated=truncated,
    )


def _class_of(example: Example, classes: list[str], data: Path) -> int:
    if example.label not in classes:
        raise InputError(
            f'{data} has the label "{example.label}", and the body knows {", ".join(classes)}'
        )
    return classes.index(example.label)
