"""From the scores of tokens to answers and their scores, against brute force."""

import math

import numpy
import pytest
import torch
from models.test_span_head import make_span_model
from support.generated_questions import MARKER, write_questions

from fairseq_minimodel.kinds import spans
from fairseq_minimodel.kinds.batches import Batches, padded_batches
from fairseq_minimodel.kinds.kind import Speaker
from fairseq_minimodel.kinds.questions import read_question_file
from fairseq_minimodel.kinds.spans import (
    Answerer,
    Span,
    best_answers,
    best_spans,
    best_text,
    bootstrap_interval,
    context_spans,
    token_scores,
)
from fairseq_minimodel.kinds.window_options import WindowOptions
from fairseq_minimodel.kinds.windows import AlignedText, AligningVocabulary, Window


@pytest.mark.parametrize("tokens", [1, 2, 7, 40])
@pytest.mark.parametrize("max_answer", [1, 3, 30, 100])
@pytest.mark.parametrize("tied", [False, True])
def test_the_best_spans_are_those_of_brute_force(tokens, max_answer, tied):
    generator = numpy.random.default_rng(tokens)
    first, last = generator.normal(size=(2, tokens)).astype(numpy.float32)
    if tied:
        first, last = first.round(), last.round()
    every = [
        Span(float(first[begin] + last[end]), begin, end)
        for begin in range(tokens)
        for end in range(begin, min(begin + max_answer, tokens))
    ]
    every.sort(key=lambda span: (-span.score, span.first, span.last))
    assert best_spans(first, last, max_answer) == every[:20]


def test_no_token_has_no_span():
    assert best_spans(numpy.empty(0), numpy.empty(0), 30) == []


def test_only_tokens_of_the_context_answer():
    """<s> 2 tokens </s> </s> 3 tokens of the context, from its 7th on, </s>."""
    window = Window(tokens=numpy.arange(9), first=7, offset=5)
    scores = numpy.full((9, 2), 50.0)  # the best ones are outside
    scores[5:8] = [[1.0, 0.0], [4.0, 0.0], [0.0, 2.0]]
    found = context_spans(window, scores, max_answer=2)
    assert found[0] == Span(6.0, 8, 9)
    assert {(span.first, span.last) for span in found} == {(7, 7), (7, 8), (8, 8), (8, 9), (9, 9)}


def test_the_text_of_the_best_span_that_has_one():
    context = AlignedText(
        "ab  cd ﬁ", numpy.arange(4), numpy.array([0, 2, 6, 7]), numpy.array([2, 6, 7, 8])
    )
    assert best_text(context, [Span(1.0, 0, 0), Span(2.0, 0, 1), Span(1.5, 3, 3)]) == "ab  cd"
    assert best_text(context, [Span(1.0, 1, 3), Span(9.0, 2, 2)]) == "cd ﬁ"  # 2 is a space
    assert best_text(context, [Span(1.0, 3, 3), Span(1.0, 0, 0)]) == "ﬁ"  # the window read first
    assert best_text(context, [Span(9.0, 2, 2)]) == "" and best_text(context, []) == ""


def test_answers_stand_where_they_say_and_only_once():
    """Tokens of "ab  cd ab": 0 "ab", 1 " " (of a space alone), 2 " cd", 3 " ab"."""
    context = AlignedText(
        "ab  cd ab", numpy.arange(4), numpy.array([0, 2, 3, 6]), numpy.array([2, 3, 6, 9])
    )
    spans = [
        Span(1.0, 0, 0), Span(5.0, 3, 3), Span(2.0, 0, 1), Span(9.0, 1, 1), Span(4.0, 1, 2),
        Span(3.0, 2, 2), Span(0.5, 0, 3),
    ]  # fmt: skip
    expected = [("ab", 5.0, 7, 9), ("cd", 4.0, 4, 6), ("ab", 2.0, 0, 2), ("ab  cd ab", 0.5, 0, 9)]
    assert best_answers(context, spans, 20) == expected
    assert best_answers(context, spans, 2) == expected[:2]
    assert best_answers(context, spans[3:4], 1) == best_answers(context, [], 1) == []


def test_every_sequence_is_in_one_batch_of_the_size_asked_for():
    generator = numpy.random.default_rng(1)
    sequences = [generator.integers(4, 40, size=size) for size in generator.integers(1, 30, 50)]
    seen = []
    for batch, tokens in padded_batches(sequences, 64):
        assert tokens.numel() <= 64
        for index, row in zip(batch, tokens.tolist(), strict=True):
            padding = tokens.size(1) - len(sequences[index])
            assert row == [*sequences[index], *[1] * padding]
        seen += batch
    assert sorted(seen) == list(range(50)) and len(list(padded_batches(sequences, 64))) < 20
    assert [batch for batch, _ in padded_batches(sequences[:2], 1)] in ([[0], [1]], [[1], [0]])
    assert list(padded_batches([], 64)) == []


def test_scores_do_not_depend_on_the_batch():
    model = make_span_model().eval()
    generator = numpy.random.default_rng(0)
    windows = [generator.integers(4, 44, size=size) for size in generator.integers(3, 24, 30)]
    together = token_scores(model, windows, Batches(256))
    alone = token_scores(model, windows, Batches(1))
    for left, right, window in zip(together, alone, windows, strict=True):
        assert left.shape == (len(window), 2)
        numpy.testing.assert_allclose(left, right, atol=1e-5)
    assert torch.is_grad_enabled()


def test_the_interval_is_near_the_normal_one_and_always_the_same():
    generator = numpy.random.default_rng(3)
    right = (generator.random(2000) < 0.3).astype(float)
    values = numpy.stack([right, generator.random(2000)], axis=1)
    low, high = bootstrap_interval(values)
    half = 1.959964 * values.std(axis=0) / math.sqrt(2000)
    numpy.testing.assert_allclose(high - low, 2 * half, rtol=0.1)
    numpy.testing.assert_allclose((low + high) / 2, values.mean(axis=0), atol=0.1 * half.min())
    assert numpy.array_equal(bootstrap_interval(values), (low, high))
    assert bootstrap_interval(numpy.ones((1, 2)))[0].tolist() == [1, 1]


def test_questions_get_their_own_answers_from_the_best_of_all_windows(
    source_data, tmp_path, monkeypatch
):
    """With a model that knows: the word after the marker scores highest where it is seen."""
    vocabulary = AligningVocabulary(
        source_data / "sentencepiece.bpe.model", source_data / "dict.txt"
    )
    (marker,) = vocabulary.encode(MARKER)

    def knowing(model, windows, *unused):
        scores = [numpy.zeros((len(window), 2), numpy.float32) for window in windows]
        for window, found in zip(windows, scores, strict=True):
            found[:4] = 99  # what is not context does not count
            found[numpy.flatnonzero(window[4:-2] == marker) + 5] = 9
        return scores

    monkeypatch.setattr(spans, "token_scores", knowing)

    class Body:
        state = {"span_head.weight": None}

        @staticmethod
        def body_settings():
            return {"max_positions": 12}

    words = [f"word{index}" for index in range(1, 60)]
    path = write_questions(tmp_path / "questions.json", words, seed=4, count=40, longest=30)
    questions = list(read_question_file(path))
    options = WindowOptions(max_length=12, stride=3, max_question=1)
    answerer = Answerer("body", Body, options, max_answer=5, metric="squad")
    answers = answerer.answers(
        Speaker(None, vocabulary, vocabulary.symbols, Batches(64)), questions
    )
    assert answers == [question.answers[0].text for question in questions]
