"""Extractive question answering: the task `span_qa`, and exact match and F1 of the answers."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from torch import Tensor, nn

from ..errors import InputError
from ..terminal.progress import counted
from ..vocabulary.tokenizers import Vocabulary
from . import SPAN, SPAN_HEAD
from .answer_metrics import METRICS, exact_match, f1, normaliser
from .batches import Batches
from .kind import Body, Kind, Metric, Options, Speaker, share, shares
from .questions import Question, read_question_file
from .window_options import MAX_ANSWER, RECORD, REFUSE, WindowOptions, read_record
from .windows import AlignedText, Window, make_windows

N_BEST = 20
RESAMPLES = 1000
DIGITS = 6  # of scores in JSON, behind the point


@dataclass(frozen=True)
class AnswerScores:
    """How well one body answers questions in one language.

    Attributes:
        metric: whose rules compare answers, "squad" or "mlqa".
        questions: how many; answered: to how many of them there is an answer that is not empty.
        exact_match, f1: means over the questions, 0 to 1; no answer is "", as in the official scripts.
        ..._low, ..._high: bounds of their 95 % intervals, see `bootstrap_interval`.
        truncated: questions that were cut because they have more tokens than the windows take.
    """

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
    """The span head of a body.

    Args:
        name: of the body.
        body: fine-tuned by the task `span_qa`.
        windows: how questions and contexts are cut; as in training.
        max_answer: tokens of the longest answer.
        metric: "squad", also for XQuAD and TyDiQA-GoldP, or "mlqa" (`answer_metrics.py`).

    Raises:
        InputError: the body was not fine-tuned for questions or has fewer positions than a window,
            or an answer may have no token.
    """

    def __init__(
        self,
        name: str,
        body: Body,
        windows: WindowOptions,
        max_answer: int = MAX_ANSWER,
        metric: str = "squad",
    ) -> None:
        if not KIND.has_head(body.state, {}):
            raise InputError(
                f"{name} was not fine-tuned for questions: train it with the task span_qa first"
            )
        positions = body.body_settings()["max_positions"]
        if windows.max_length > positions:
            raise InputError(
                f"--max-length {windows.max_length} is more than the {positions} positions of "
                f"{name}: give the one that its training data was prepared with"
            )
        if max_answer < 1:
            raise InputError(f"--max-answer is {max_answer}, but it must be at least 1")
        self.windows, self.max_answer, self.metric = windows, max_answer, metric
        self.settings = windows, max_answer, metric

    def check(self, questions: Sequence[Question], language: str, data: str) -> None:
        """Refuse a language that the metric does not know with an `InputError`."""
        normaliser(self.metric, language)

    def score(self, speaker: Speaker, questions: Sequence[Question], language: str) -> AnswerScores:
        """Exact match and F1 on the questions."""
        normalise = normaliser(self.metric, language)
        answers = self.answers(speaker, questions)
        values = numpy.array(
            [
                [measure(answer, [one.text for one in question.answers], normalise)
                 for measure in (exact_match, f1)]
                for answer, question in zip(answers, questions, strict=True)
            ],
            float,
        )  # fmt: skip
        low, high = bootstrap_interval(values)
        numbers = {
            f"{name}{end}": float(bounds[place])
            for place, name in enumerate(("exact_match", "f1"))
            for end, bounds in (("", values.mean(axis=0)), ("_low", low), ("_high", high))
        }
        return AnswerScores(
            metric=self.metric,
            questions=len(questions),
            answered=sum(map(bool, answers)),
            truncated=self.count_cut(speaker.vocabulary, [row.question for row in questions]),
            **numbers,
        )

    def answers(self, speaker: Speaker, questions: Sequence[Question]) -> list[str]:
        """The answer to each question, "" where there is none."""
        found = self.find(speaker, [(row.question, row.context) for row in questions])
        return [best_text(context, spans) for context, spans in found]

    def count_cut(self, vocabulary: Vocabulary, questions: Sequence[str]) -> int:
        """How many of the questions have more tokens than the windows take."""
        _, sizes = vocabulary.encode_flat(questions)
        return int((sizes > self.windows.max_question).sum())

    def find(
        self, speaker: Speaker, questions: Sequence[tuple[str, str]]
    ) -> list[tuple[AlignedText, list[Span]]]:
        """For each (question, context) the context, as tokens, and its windows' best spans."""
        contexts: dict[str, AlignedText] = {}
        windows, owners = [], []
        unit = None if speaker.batches.quiet else "question"
        with counted("reading", len(questions), unit) as done:
            for number, (question, context) in enumerate(questions):
                if context not in contexts:  # several questions have the same one
                    contexts[context] = speaker.vocabulary.align(context)
                asked = speaker.vocabulary.align(question)
                for window in make_windows(asked.ids, contexts[context].ids, self.windows):
                    windows.append(window)
                    owners.append(number)
                done(1)
        scores = token_scores(speaker.model, [window.tokens for window in windows], speaker.batches)
        spans: list[list[Span]] = [[] for _ in questions]
        for owner, window, scored in zip(owners, windows, scores, strict=True):
            spans[owner] += context_spans(window, scored, self.max_answer)
        return [
            (contexts[context], found) for (_, context), found in zip(questions, spans, strict=True)
        ]


def token_scores(
    model: nn.Module, windows: Sequence[numpy.ndarray], batches: Batches
) -> list[numpy.ndarray]:
    """The span head's two scores of each token of each window, (length, 2): as first, as last."""

    def scores(tokens: Tensor, batch: list[int]) -> list[numpy.ndarray]:
        found = model(tokens, span_scores=True)[0].float().cpu().numpy()
        lengths = (len(windows[index]) for index in batch)
        return [rows[:length].copy() for rows, length in zip(found, lengths, strict=True)]

    return batches.compute(windows, scores, "window")


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

    Questions are drawn with replacement, `RESAMPLES` times; always the same draws.

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


def _read(path: Path, options: Options) -> list[Question]:
    return list(read_question_file(path, bad_offsets=options.get("bad_offsets", REFUSE)))


def _ask(model: Any, texts: Sequence[Sequence[str]], **options: int) -> list[object]:
    """Answers to questions with their contexts; options of `LanguageModel.answer`."""
    questions, contexts = zip(*texts, strict=True)
    return [
        [{**one._asdict(), "score": round(one.score, DIGITS)} for one in answers]
        for answers in model.answer(questions, contexts, **options)
    ]


def _solver(name: str, body: Body, record: Path | None, options: Options) -> Answerer:
    """Windows as in training, but where an option says otherwise; not known: the defaults, with the
    separators of the body's family.

    The metric is the one that is asked for, or that of the benchmark.
    """
    given = {one.name: options.get(one.name) for one in fields(WindowOptions)}
    recorded = read_record(record) if record else {"separators": body.pair_separators}
    windows = recorded | {name: value for name, value in given.items() if value is not None}
    own = options.get("benchmark") if options.get("benchmark") in METRICS else METRICS[0]
    metric = options.get("metric") or own
    return Answerer(
        name, body, WindowOptions(**windows), options.get("max_answer", MAX_ANSWER), metric
    )


KIND = Kind(
    name=SPAN,
    tasks={"span_qa": "fairseq-minimodel evaluate --body {} --test PACK TEST.json"},
    head=lambda task: SPAN_HEAD,
    trained="was fine-tuned to answer questions",
    method="answer",
    loss_unit="bits per window",
    text_keys=(("question", "context"),),
    ask=_ask,
    ask_options=("top", "max_length", "stride", "max_question", "max_answer"),
    rows="questions",
    count="questions",
    metrics=(
        Metric("F1", ("f1", "f1_low", "f1_high"), hub="f1"),
        Metric(
            "exact match",
            ("exact_match", "exact_match_low", "exact_match_high"),
            hub="exact_match",
        ),
    ),
    read=_read,
    form=AnswerScores,
    columns=(
        ("questions", lambda row: row["questions"]),
        ("answered", lambda row: row["answered"]),
        ("EM (%)", lambda row: share(row["exact_match"])),
        ("95 % interval", lambda row: shares(row["exact_match_low"], row["exact_match_high"])),
        ("F1 (%)", lambda row: share(row["f1"])),
        ("95 % interval", lambda row: shares(row["f1_low"], row["f1_high"])),
    ),
    record=RECORD,
    solver=_solver,
    architecture="ForQuestionAnswering",
    pipeline="question-answering",
)
