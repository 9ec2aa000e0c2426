"""What every kind of task has, and what it works on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from ..errors import InputError
from . import output_weight
from .batches import Batches
from .windows import AligningVocabulary

Row = dict[str, Any]  # of a file of scores: JSON
Options = Mapping[str, Any]  # of a command, by name; a kind takes those that it knows


class TextError(InputError):
    """One of several texts is bad.

    Attributes:
        index: which one, from 0.
        reason: what is wrong with it, and the way out.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"text {index} (from 0) {reason}")
        self.index, self.reason = index, reason


class Body(Protocol):
    """What a kind asks of a checkpoint."""

    path: Path
    config: dict[str, dict[str, Any]]
    state: Mapping[str, Tensor]
    pair_separators: int  # </s> between the two texts of a pair

    @property
    def layers(self) -> int: ...

    def body_settings(self) -> dict[str, Any]: ...

    def sentence_settings(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Speaker:
    """A model in one language, ready to predict.

    Attributes:
        model: in evaluation mode.
        vocabulary: of the language.
        symbols: one for each row of the embedding.
        batches: how much is computed at a time, and where.
    """

    model: nn.Module
    vocabulary: AligningVocabulary
    symbols: Sequence[str]
    batches: Batches


class Solver(Protocol):
    """The head of one body, at work in any language.

    Attributes:
        settings: which, beside body and rows, a score depends on.
    """

    settings: object

    def check(self, rows: Sequence[Any], language: str, data: str) -> None:
        """Refuse what cannot be scored with an `InputError`, before the work begins.

        Args:
            data: where the rows come from.
        """

    def score(self, speaker: Speaker, rows: Sequence[Any], language: str) -> object:
        """The facts of these rows, of the type `Kind.form`."""


@dataclass(frozen=True)
class Metric:
    """One number of a row of scores, with its 95 % interval.

    Attributes:
        name: as it is shown ("F1").
        keys: of the value and its two bounds in the row; "/" leads into an object within it.
        unit: "%" of a share, which stands in the row as 0 to 1; otherwise that of the number.
        hub: the Hub's name of it; "": it has none.
    """

    name: str
    keys: tuple[str, str, str]
    unit: str = "%"
    hub: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
        name: as `fairseq_minimodel.load(...).task` and the rows of scores have it.
        tasks: of fairseq, whose checkpoints are of this kind; for each the command after training ({}:
            the checkpoint), "" for none.
        head: the name of a module that only a body of this kind has, from the task's settings.
        trained: what such a body was trained for, in words.
        method: of `LanguageModel`, to ask it by.
        loss_unit: of the loss in the training log.
        text_keys: where `predict` finds the texts in JSON, the last ones if none is there.
        reads_words: a list of words may stand in the place of a text.
        ask: `LanguageModel`, texts of each row, options -> a value of JSON for each.
        ask_options: the names of these options.
        rows: what is scored, in words; count: the key of how many.
        metrics: the first one stands for the score.
        note: what else a reader of the score must know, from a row.
        read: a file of examples, with options. None: there is no form of files for it.
        form: of the facts in a row of scores.
        columns: of the table of scores: heading, cell from a row. A column of nothing but None is not
            shown.
        labels: from a row, what was measured of each label: numbers by name.
        record: file beside the training data that is needed to use the head.
        record_option: which names another one.
        record_is_needed: there is nothing to do without.
        solver: (name of the body, body, record, options) -> `Solver`.
        architecture: end of the name of Hugging Face's class; pipeline: name of the task there.
    """

    name: str
    tasks: Mapping[str, str]
    trained: str
    metrics: tuple[Metric, ...]
    rows: str
    count: str
    columns: tuple[tuple[str, Callable[[Row], object]], ...] = ()
    head: Callable[[Mapping[str, Any]], str] | None = None
    method: str = ""
    loss_unit: str = ""
    text_keys: tuple[tuple[str, ...], ...] = ()
    reads_words: bool = False
    ask: Callable[..., list[object]] | None = None
    ask_options: tuple[str, ...] = ()
    note: Callable[[Row], str] = lambda row: ""
    read: Callable[[Path, Options], list[Any]] | None = None
    form: type | None = None
    labels: Callable[[Row], Mapping[str, Mapping[str, float]]] = lambda row: {}
    record: str = ""
    record_option: str = ""
    record_is_needed: bool = False
    solver: Callable[[str, Body, Path | None, Options], Solver] | None = None
    architecture: str = ""
    pipeline: str = ""

    @property
    def is_fine_tuned(self) -> bool:
        """Whether a body learns it after pretraining, and `evaluate` scores it."""
        return self.solver is not None

    def has_head(self, state: Mapping[str, Tensor], task: Mapping[str, Any]) -> bool:
        """Whether the state of a checkpoint has the head of this kind, by the task's settings."""
        return self.head is not None and output_weight(self.head(task), state) in state


def share(value: float) -> str:
    """A share, 0 to 1, in per cent."""
    return f"{100 * value:.1f}"


def shares(low: float, high: float) -> str:
    """An interval of a share, 0 to 1, in per cent."""
    return f"{share(low)} to {share(high)}"
