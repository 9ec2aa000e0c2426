"""Classification: a fine-tuned body in the language of a pack, and its accuracy."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import nn
from tqdm import tqdm

from ..checkpoint.load import Checkpoint, find_training_file
from ..checkpoint.surgery import plug
from ..corpus.examples import Example
from ..corpus.vocabulary import EOS, Vocabulary, read_dictionary
from ..errors import InputError
from ..language.pack import LanguagePack
from ..report.table import format_table
from .batches import padded_batches
from .build import build_model
from .metrics import accuracy, chance_accuracy, majority_accuracy

DEFAULT_HEAD = "sentence_classification_head"  # fairseq's name


@dataclass(frozen=True)
class Score:
    """Accuracy of one body in one language.

    Attributes:
        body, language, pack, data: which body, in which language, by which pack, on which data.
        examples, correct: how many.
        accuracy, low, high: share of correct answers, and its Wilson 95 % interval.
        chance: one over the number of classes; majority: share of the most frequent label.
        truncated: examples cut because they were longer than the body has positions.
    """

    body: str
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


class Classifier:
    """A body fine-tuned by fairseq's task `sentence_prediction`, to be scored in any language.

    Args:
        path: of the body.
        checkpoint: what is in it.
        labels: dict.txt of the labels, in the order of the classes; None: the one that the body was
            fine-tuned with.

    Raises:
        InputError: the labels are not those of the body.
    """

    def __init__(self, path: str | Path, checkpoint: Checkpoint, labels: Path | None) -> None:
        self.path, self.checkpoint = path, checkpoint
        self.task_config = checkpoint.config["task"]
        self.head = self.task_config.get("classification_head_name", DEFAULT_HEAD)
        self.classes = read_dictionary(labels or find_training_file(checkpoint, "label/dict.txt"))
        outputs = checkpoint.state[f"classification_heads.{self.head}.out_proj.weight"].size(0)
        if outputs != len(self.classes):
            raise InputError(
                f"{path} has {outputs} classes and the label dictionary {len(self.classes)}: name "
                "the dict.txt of the labels it was fine-tuned with (--labels)"
            )

    def score(
        self,
        pack: LanguagePack,
        examples: Sequence[Example],
        data: str,
        max_tokens: int,
        device: str,
    ) -> Score:
        """Accuracy on the examples, in the language of the pack.

        Args:
            examples: with labels.
            data: where they come from.
            max_tokens: tokens a batch, padding included.
            device: of PyTorch.

        Raises:
            InputError: the pack does not fit the body, or a label is not one of the task's.
        """
        answers = [self._class_of(example, data) for example in examples]
        vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
        sequences = [
            token_sequence(example.texts, vocabulary, self.task_config) for example in examples
        ]
        longest = self.checkpoint.body_settings()["max_positions"]
        predictions = predict(
            build_model(plug(self.checkpoint, pack)[0], pack.symbols),
            self.head,
            [sequence[:longest] for sequence in sequences],
            max_tokens,
            device,
        )
        result = accuracy(predictions, answers)
        return Score(
            body=str(self.path),
            language=pack.description.language,
            pack=str(pack.folder),
            data=data,
            examples=result.count,
            correct=result.correct,
            accuracy=result.value,
            low=result.low,
            high=result.high,
            chance=chance_accuracy(len(self.classes)),
            majority=majority_accuracy(answers),
            truncated=sum(len(sequence) > longest for sequence in sequences),
        )

    def _class_of(self, example: Example, data: str) -> int:
        if example.label not in self.classes:
            raise InputError(
                f'{data} has the label "{example.label}", and the body knows '
                f"{', '.join(self.classes)}"
            )
        return self.classes.index(example.label)


def score_table(scores: Sequence[Score]) -> str:
    """The scores as a Markdown table, accuracies in per cent."""
    return format_table(
        ["language", "pack", "examples", "accuracy (%)", "95 % interval", "chance (%)",
         "most frequent label (%)"],
        [
            [score.language, score.pack, score.examples, f"{100 * score.accuracy:.1f}",
             f"{100 * score.low:.1f} to {100 * score.high:.1f}", f"{100 * score.chance:.1f}",
             f"{100 * score.majority:.1f}"]
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
    model = model.to(device)
    predictions = [0] * len(sequences)
    progress = tqdm(total=len(sequences), unit="example", disable=not sys.stderr.isatty())
    with torch.inference_mode(), progress:
        for batch, tokens in padded_batches(sequences, max_tokens):
            logits, _ = model(tokens.to(device), classification_head_name=head)
            for index, prediction in zip(batch, logits.argmax(dim=-1).tolist(), strict=True):
                predictions[index] = prediction
            progress.update(len(batch))
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
