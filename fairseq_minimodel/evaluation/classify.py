"""Classification: a fine-tuned body in the language of a pack, and its accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
from torch import Tensor, nn

from ..bodies.checkpoint import Checkpoint
from ..bodies.family import head_modules
from ..bodies.training_files import find_training_file
from ..errors import InputError
from ..inference.batches import in_batches
from ..inference.build import build_model
from ..kinds.examples import Example
from ..kinds.metrics import accuracy, chance_accuracy, majority_accuracy
from ..kinds.truncation import kept_lengths
from ..packs.pack import LanguagePack
from ..packs.plug import plug
from ..terminal.table import format_table
from ..vocabulary.tokenizers import EOS, Vocabulary, read_dictionary

DEFAULT_HEAD = "sentence_classification_head"  # fairseq's name


@dataclass(frozen=True)
class Score:
    """Accuracy of one body in one language.

    Attributes:
        body, language, pack, data: which body, in which language, by which pack, on which data.
        examples, correct: how many.
        accuracy, low, high: share of correct answers, and its Wilson 95 % interval.
        chance: one over the number of classes; majority: share of the most frequent label.
        truncated: examples that were cut because they are longer than the body has positions.
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
        outputs = checkpoint.state[f"{head_modules(self.head)[-1]}.weight"].size(0)
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
        sequences, cut = token_sequences(
            [example.texts for example in examples],
            vocabulary,
            self.task_config,
            self.checkpoint.body_settings()["max_positions"],
        )
        predictions = predict(
            build_model(plug(self.checkpoint, pack)[0], pack.symbols, device),
            self.head,
            sequences,
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
            truncated=sum(map(bool, cut)),
        )

    def _class_of(self, example: Example, data: str) -> int:
        if example.label not in self.classes:
            line = "" if example.line is None else f", line {example.line}"
            raise InputError(
                f'{data}{line} has the label "{example.label}", and the body knows '
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
    """The most probable class of each token sequence. Arguments as in `class_logits`."""
    return [row.argmax().item() for row in class_logits(model, head, sequences, max_tokens, device)]


def class_logits(
    model: nn.Module,
    head: str,
    sequences: Sequence[numpy.ndarray],
    max_tokens: int,
    device: str,
    unit: str | None = "example",
) -> list[Tensor]:
    """Logits of the classes, (classes,) on the CPU, for each token sequence.

    Args:
        head: name of the classification head.
        max_tokens, device, unit: see `in_batches`.
    """

    def logits(tokens: Tensor, _: list[int]) -> Tensor:
        return model(tokens, classification_head_name=head)[0].float().cpu()

    return in_batches(sequences, max_tokens, device, logits, unit)


def token_sequence(
    texts: Sequence[str], vocabulary: Vocabulary, task_config: dict[str, object]
) -> numpy.ndarray:
    """One example as fairseq's `sentence_prediction` feeds it to the model, see below; not cut."""
    return token_sequences([texts], vocabulary, task_config)[0][0]


def token_sequences(
    examples: Sequence[Sequence[str]],
    vocabulary: Vocabulary,
    task_config: dict[str, object],
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
        [] if task_config.get(name) is None else [task_config[name]]
        for name in ("init_token", "separator_token")
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
