"""Question answering: a fine-tuned body in the language of a pack, its exact match and F1."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy
from torch import Tensor, nn

from ..bodies.checkpoint import Checkpoint
from ..bodies.family import SPAN_HEAD
from ..bodies.training_files import find_window_record
from ..corpus.benchmarks.questions import Question
from ..corpus.questions import (
    AlignedText,
    AligningVocabulary,
    Window,
    WindowOptions,
    make_windows,
)
from ..errors import InputError
from ..inference.batches import in_batches
from ..inference.build import build_model
from ..kinds.answer_metrics import exact_match, f1, normaliser
from ..kinds.window_options import read_record
from ..packs.pack import LanguagePack
from ..packs.plug import plug
from ..terminal.progress import counted
from ..terminal.table import format_table
from ..vocabulary.tokenizers import Vocabulary

N_BEST = 20
RESAMPLES = 1000


@dataclass(frozen=True)
class AnswerScore:
    """How well one body answers questions in one language.

    Attributes:
        body, language, pack, data: which body, in which language, by which pack, on which questions.
        metric: whose rules compare answers, "squad" or "mlqa".
        questions: how many; answered: to how many of them there is an answer that is not empty.
        exact_match, f1: means over the questions, 0 to 1; no answer is "", as in the official scripts.
        ..._low, ..._high: bounds of their 95 % intervals, see `bootstrap_interval`.
        truncated: questions that were cut because they have more tokens than the windows take.
    """

    body: str
    language: str
    pack: str
    data: str
    metric: str
    questions: int
    answered: int
    exact_match: float
    exact_match_low: float
    exact_match_high: float
    f1: float
    f1_low: float
    f1_high: float
    truncated: int


class Span(NamedTuple):
    """A span of tokens, both ends included, and the sum of its scores."""

    score: float
    first: int
    last: int


class FoundAnswer(NamedTuple):
    """An answer: text, score (higher is better), and its characters in the context, end excluded."""

    text: str
    score: float
    begin: int
    end: int


class Answerer:
    """A body fine-tuned by the task `span_qa`, to be scored in any language.

    Args:
        path: of the body.
        checkpoint: what is in it.
        options: of the windows; as in training.
        max_answer: tokens of the longest answer.
        metric: "squad", also for XQuAD and TyDiQA-GoldP, or "mlqa" (`answer_metrics.py`).

    Raises:
        InputError: the body was not fine-tuned for questions or has fewer positions than a window,
            or an answer may have no token.
    """

    def __init__(
        self,
        path: str | Path,
        checkpoint: Checkpoint,
        options: WindowOptions,
        max_answer: int,
        metric: str,
    ) -> None:
        check_windows(path, checkpoint, options, max_answer)
        self.path, self.checkpoint = path, checkpoint
        self.options, self.max_answer, self.metric = options, max_answer, metric

    def score(
        self,
        pack: LanguagePack,
        questions: Sequence[Question],
        data: str,
        max_tokens: int,
        device: str,
    ) -> AnswerScore:
        """Exact match and F1 on the questions, in the language of the pack.

        Args:
            data: where the questions come from.
            max_tokens: tokens a batch, padding included.
            device: of PyTorch.

        Raises:
            InputError: the pack does not fit the body, or the metric does not know its language.
        """
        language = pack.description.language
        normalise = normaliser(self.metric, language)
        vocabulary = AligningVocabulary(pack.tokenizer, pack.dictionary)
        truncated = count_cut(vocabulary, [row.question for row in questions], self.options)
        answers = self.answers(pack, questions, max_tokens, device)
        values = numpy.zeros((len(questions), 2))
        for number, (answer, question) in enumerate(zip(answers, questions, strict=True)):
            right = [one.text for one in question.answers]
            values[number] = exact_match(answer, right, normalise), f1(answer, right, normalise)
        mean, (low, high) = values.mean(axis=0), bootstrap_interval(values)
        return AnswerScore(
            body=str(self.path),
            language=language,
            pack=str(pack.folder),
            data=data,
            metric=self.metric,
            questions=len(questions),
            answered=sum(map(bool, answers)),
            exact_match=float(mean[0]),
            exact_match_low=float(low[0]),
            exact_match_high=float(high[0]),
            f1=float(mean[1]),
            f1_low=float(low[1]),
            f1_high=float(high[1]),
            truncated=truncated,
        )

    def answers(
        self, pack: LanguagePack, questions: Sequence[Question], max_tokens: int, device: str
    ) -> list[str]:
        """The answer to each question, "" where there is none. Arguments as in `score`."""
        found = answer_spans(
            build_model(plug(self.checkpoint, pack)[0], pack.symbols, device),
            AligningVocabulary(pack.tokenizer, pack.dictionary),
            [(row.question, row.context) for row in questions],
            self.options,
            self.max_answer,
            max_tokens,
            device,
        )
        return [best_text(context, spans) for context, spans in found]


def windows_of(
    checkpoint: Checkpoint,
    max_length: int | None = None,
    stride: int | None = None,
    max_question: int | None = None,
) -> WindowOptions:
    """The windows to read questions in: the numbers that are given, and the others as in training.

    What training had is in the data that it read, see `kinds/window_options.py`; where that is not
    known, the defaults of `WindowOptions`.

    Raises:
        InputError: the record of the training data is damaged, or the numbers leave no room for a
            context.
    """
    given = {"max_length": max_length, "stride": stride, "max_question": max_question}
    given = {name: value for name, value in given.items() if value is not None}
    record = find_window_record(checkpoint)
    return WindowOptions(**{**(read_record(record) if record else {}), **given})


def count_cut(vocabulary: Vocabulary, questions: Sequence[str], options: WindowOptions) -> int:
    """How many of the questions have more tokens than the windows take."""
    _, sizes = vocabulary.encode_flat(questions)
    return int((sizes > options.max_question).sum())


def check_windows(
    path: str | Path, checkpoint: Checkpoint, options: WindowOptions, max_answer: int
) -> None:
    """Refuse a body that cannot answer questions, or not in such windows, with an `InputError`."""
    if f"{SPAN_HEAD}.weight" not in checkpoint.state:
        raise InputError(
            f"{path} was not fine-tuned for questions: train it with the task span_qa first"
        )
    positions = checkpoint.body_settings()["max_positions"]
    if options.max_length > positions:
        raise InputError(
            f"--max-length {options.max_length} is more than the {positions} positions of "
            f"{path}: give the one that its training data was prepared with"
        )
    if max_answer < 1:
        raise InputError(f"--max-answer is {max_answer}, but it must be at least 1")


def answer_spans(
    model: nn.Module,
    vocabulary: AligningVocabulary,
    questions: Sequence[tuple[str, str]],
    options: WindowOptions,
    max_answer: int,
    max_tokens: int,
    device: str,
    unit: str | None = "window",
) -> list[tuple[AlignedText, list[Span]]]:
    """For each question its context, as tokens, and the best spans of each of its windows.

    Args:
        model: with a span head.
        questions: each with its context.
        options, max_answer: see `Answerer`.
        max_tokens, device, unit: see `in_batches`.
    """
    contexts: dict[str, AlignedText] = {}
    windows, owners = [], []
    with counted("reading", len(questions), unit and "question") as done:
        for number, (question, context) in enumerate(questions):
            if context not in contexts:  # several questions have the same one
                contexts[context] = vocabulary.align(context)
            asked = vocabulary.align(question)
            for window in make_windows(asked.ids, contexts[context].ids, options):
                windows.append(window)
                owners.append(number)
            done(1)
    tokens = [window.tokens for window in windows]
    scores = token_scores(model, tokens, max_tokens, device, unit)
    spans: list[list[Span]] = [[] for _ in questions]
    for owner, window, scored in zip(owners, windows, scores, strict=True):
        spans[owner] += context_spans(window, scored, max_answer)
    return [
        (contexts[context], found) for (_, context), found in zip(questions, spans, strict=True)
    ]


def token_scores(
    model: nn.Module,
    windows: Sequence[numpy.ndarray],
    max_tokens: int,
    device: str,
    unit: str | None = "window",
) -> list[numpy.ndarray]:
    """The span head's two scores of each token of each window, (length, 2): as first, as last."""

    def scores(tokens: Tensor, batch: list[int]) -> list[numpy.ndarray]:
        found = model(tokens, span_scores=True)[0].float().cpu().numpy()
        lengths = (len(windows[index]) for index in batch)
        return [rows[:length].copy() for rows, length in zip(found, lengths, strict=True)]

    return in_batches(windows, max_tokens, device, scores, unit)


def context_spans(window: Window, scores: numpy.ndarray, max_answer: int) -> list[Span]:
    """The best spans of a window's context, the best first, in tokens of the whole context.

    Args:
        scores: (length, 2) of the window's tokens.
        max_answer: tokens of the longest span.
    """
    inside = scores[window.offset : window.offset + window.context_tokens]
    return [
        Span(score, first + window.first, last + window.first)
        for score, first, last in best_spans(inside[:, 0], inside[:, 1], max_answer)
    ]


def best_spans(first: numpy.ndarray, last: numpy.ndarray, max_answer: int) -> list[Span]:
    """The `N_BEST` spans of at most `max_answer` tokens with the highest sums, the highest first.

    A span's sum is that of its first token's score as first and its last token's score as last
    (Devlin et al. 2019, section 4.2). Of equal sums, the span that begins first comes first, then
    the shorter one.

    Args:
        first, last: scores of each token, (tokens,) each.
    """
    tokens = len(first)
    sums = numpy.full((tokens, min(max_answer, tokens)), -numpy.inf)
    for longer in range(sums.shape[1]):  # by so many tokens than one
        sums[: tokens - longer, longer] = first[: tokens - longer] + last[longer:]
    order = numpy.argsort(-sums, axis=None, kind="stable")[:N_BEST]
    return [
        Span(float(sums[begin, longer]), int(begin), int(begin + longer))
        for begin, longer in zip(*numpy.unravel_index(order, sums.shape), strict=True)
        if sums[begin, longer] > -numpy.inf
    ]


def best_answers(context: AlignedText, spans: Sequence[Span], most: int) -> list[FoundAnswer]:
    """The texts of the spans with the highest scores that are not empty, the highest first.

    Of spans with the same text at the same place, only the first counts.
    """
    answers: dict[tuple[int, int], FoundAnswer] = {}
    for score, first, last in sorted(spans, key=lambda span: -span.score):
        if len(answers) == most:
            break
        if text := context.text_of((first, last)):
            begin = context.text.index(text, context.begins[first])
            answers.setdefault(
                (begin, len(text)), FoundAnswer(text, score, begin, begin + len(text))
            )
    return list(answers.values())


def best_text(context: AlignedText, spans: Sequence[Span]) -> str:
    """The text of the span with the highest score whose text is not empty; "" if there is none."""
    return next((found.text for found in best_answers(context, spans, 1)), "")


def bootstrap_interval(values: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Bounds of the 95 % intervals of the means, by the percentile bootstrap (Efron 1979).

    Questions are drawn anew, with replacement, `RESAMPLES` times; always the same draws.

    Args:
        values: (questions, measures).

    Returns: (measures,) each.
    """
    generator = numpy.random.default_rng(1)
    means = [
        values[generator.integers(len(values), size=len(values))].mean(axis=0)
        for _ in range(RESAMPLES)
    ]
    low, high = numpy.percentile(means, [2.5, 97.5], axis=0)
    return low, high


def score_table(scores: Sequence[AnswerScore]) -> str:
    """The scores as a Markdown table, exact match and F1 in per cent."""
    return format_table(
        ["language", "pack", "questions", "answered", "EM (%)", "95 % interval", "F1 (%)",
         "95 % interval"],
        [
            [score.language, score.pack, score.questions, score.answered,
             f"{100 * score.exact_match:.1f}",
             f"{100 * score.exact_match_low:.1f} to {100 * score.exact_match_high:.1f}",
             f"{100 * score.f1:.1f}", f"{100 * score.f1_low:.1f} to {100 * score.f1_high:.1f}"]
            for score in scores
        ],
    )  # fmt: skip
