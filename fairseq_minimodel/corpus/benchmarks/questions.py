"""Extractive question answering: JSON in the form of SQuAD v1.1 (Rajpurkar et al. 2016)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import InputError
from ..reading import decode
from .archive import SourceFile
from .rows import UNLABELLED, Reading

# How TyDi QA names its languages, in files and in the ids of questions.
LANGUAGE_NAMES = {
    "arabic": "ar",
    "bengali": "bn",
    "english": "en",
    "finnish": "fi",
    "indonesian": "id",
    "korean": "ko",
    "russian": "ru",
    "swahili": "sw",
    "telugu": "te",
}


@dataclass(frozen=True)
class Answer:
    """A right answer: the text of the context from `start` on, in characters from 0."""

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question and the context with its answers, of which there is at least one.

    The ids are those of the file; those of TyDiQA as XTREME splits it are not unique.
    """

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]
    context_language: str
    question_language: str
    title: str


def read_questions(files: Sequence[SourceFile], language: str | None) -> Iterator[Reading]:
    """Yield the questions of one file.

    Args:
        language: of the whole file, "de", or "de-en" for German contexts and English questions;
            None: each id begins with the name of its language ("swahili-12-0").

    Raises:
        InputError: broken UTF-8 or JSON, something missing, or an answer that does not stand in the
            context at its `answer_start`. The message names the file and the question.
    """
    [file] = files
    for article in _list(_load(file), "data", file.path):
        title = _text(article, "title", file.path) if "title" in article else ""
        for paragraph in _list(article, "paragraphs", file.path):
            context = _text(paragraph, "context", file.path)
            for entry in _list(paragraph, "qas", file.path):
                identity = _text(entry, "id", file.path)
                place = f"{file.path}, question {identity}"
                code = language or _language_of(identity, place)
                answers = tuple(_answers(entry, context, place))
                if not answers:
                    yield Reading(code, None, UNLABELLED)
                    continue
                context_language, _, question_language = code.partition("-")
                yield Reading(
                    code,
                    Question(
                        id=identity,
                        question=_text(entry, "question", place),
                        context=context,
                        answers=answers,
                        context_language=context_language,
                        question_language=question_language or context_language,
                        title=title,
                    ),
                )


def _load(file: SourceFile) -> object:
    with file.lines() as lines:
        text = decode(b"".join(line for _, line in lines), file.path, 1)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file.path}: not JSON ({error}); fetch the file again.") from None


def _language_of(identity: str, place: str) -> str:
    name = identity.partition("-")[0]
    if name not in LANGUAGE_NAMES:
        raise InputError(
            f"{place}: the id does not begin with a language ({', '.join(LANGUAGE_NAMES)}); "
            "is this a file of another benchmark?"
        )
    return LANGUAGE_NAMES[name]


def _answers(entry: object, context: str, place: str) -> Iterator[Answer]:
    """Test sets with the answers taken out have none, or an empty one: nothing is yielded."""
    for answer in _list(entry, "answers", place):
        text, start = _text(answer, "text", place), answer.get("answer_start")
        if not text:
            continue
        if type(start) is not int or start < 0 or not context.startswith(text, start):
            raise InputError(
                f"{place}: the answer {text!r} does not stand in its context at {start!r}; "
                "fetch the file again or take this question out."
            )
        yield Answer(text, start)


def _list(record: object, key: str, place: str) -> list:
    return _value(record, key, list, place)


def _text(record: object, key: str, place: str) -> str:
    return _value(record, key, str, place)


def _value(record: object, key: str, kind: type, place: str) -> object:
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise InputError(
            f"{place}: no {'list' if kind is list else 'text'} under the key {key!r}; "
            "the file is not in the form of SQuAD v1.1."
        )
    return value
