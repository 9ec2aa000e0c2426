"""Extractive question answering: JSON in the form of SQuAD v1.1 (Rajpurkar et al. 2016)."""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files.archive import SourceFile, open_source
from ..files.records import parse_json
from .rows import MISPLACED, UNLABELLED, Reading
from .window_options import NEAREST, REFUSE

logger = logging.getLogger(__name__)

NAMED = 5  # bad offsets that a message names

# How TyDi QA names its languages, in files and in the ids of questions.
LANGUAGE_NAMES = {
    "arabic": "ar", "bengali": "bn", "english": "en", "finnish": "fi", "indonesian": "id",
    "korean": "ko", "russian": "ru", "swahili": "sw", "telugu": "te",
}  # fmt: skip


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


class _Offsets:
    """The answers of one file that do not stand in their context where the file says.

    Args:
        path: of the file.
        rule: one of `BAD_OFFSETS`.
    """

    def __init__(self, path: str, rule: str) -> None:
        self.path, self.rule = path, rule
        self.answers = self.bad = self.moved = 0
        self.first: list[str] = []  # named in messages

    def checked(self, text: str, given: object, context: str, identity: str) -> int | None:
        """Where the answer begins; None if it is left out."""
        self.answers += 1
        start = _whole(given)
        if start is not None and start >= 0 and context.startswith(text, start):
            return start
        self.bad += 1
        if len(self.first) < NAMED:
            shown = text if len(text) <= 40 else f"{text[:40]}..."
            self.first.append(f"question {identity}: {shown!r} at {given!r}")
        if self.rule != NEAREST:
            return None
        place = _nearest(text, context, 0 if start is None else start)
        self.moved += place is not None
        return place

    def report(self) -> None:
        """Say once how many there were; under the rule "refuse" with an `InputError`."""
        if not self.bad:
            return
        more = f" and {self.bad - len(self.first):,} more" if self.bad > len(self.first) else ""
        found = (
            f"{self.path}: {self.bad:,} of {self.answers:,} answers do not stand in their context "
            f"where answer_start says ({'; '.join(self.first)}{more})"
        )
        if self.rule == REFUSE:
            raise InputError(
                f"{found}; fix the file, or give --bad-offsets skip to leave these answers out, or "
                "--bad-offsets nearest to take the nearest place where each stands."
            )
        done = f"{self.moved:,} were moved to the nearest place, " if self.rule == NEAREST else ""
        logger.warning("%s; %s%s were left out", found, done, f"{self.bad - self.moved:,}")


def _whole(value: object) -> int | None:
    """A whole number, however the file spells it (52, "52", 52.0); None: it is not one."""
    spelled = isinstance(value, str) and re.fullmatch(r"\s*\d{1,18}\s*", value)
    if spelled or isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _nearest(text: str, context: str, start: int) -> int | None:
    """Where the text begins in the context, nearest to `start`; None: nowhere."""
    start = min(max(start, 0), len(context))
    before = context.rfind(text, 0, start + len(text))
    after = context.find(text, start)
    places = [place for place in (before, after) if place >= 0]
    return min(places, key=lambda place: abs(place - start), default=None)


def read_questions(
    files: Sequence[SourceFile], language: str | None, bad_offsets: str = REFUSE
) -> Iterator[Reading]:
    """Yield the questions of one file.

    Args:
        language: of the whole file, "de", or "de-en" for German contexts and English questions;
            None: each id begins with the name of its language ("swahili-12-0").
        bad_offsets: what becomes of answers that do not stand in their context where `answer_start`
            says: "refuse" the file, once it has been read; "skip" them; or take the "nearest" place
            where they stand, and skip those that stand nowhere. A warning in the log counts them.

    Raises:
        InputError: broken UTF-8 or JSON, something missing, half of a character, or bad offsets under
            the rule "refuse". The message names the file and, of offsets, the questions.
    """
    [file] = files
    offsets = _Offsets(file.path, bad_offsets)
    for article in _value(_load(file), "data", list, file.path):
        title = _value(article, "title", str, file.path) if "title" in article else ""
        for paragraph in _value(article, "paragraphs", list, file.path):
            context = _value(paragraph, "context", str, file.path)
            for entry in _value(paragraph, "qas", list, file.path):
                identity = _identity(entry, file.path)
                place = f"{file.path}, question {identity}"
                code = language or _language_of(identity, place)
                given = list(_answers(entry, place))
                found = [
                    (text, offsets.checked(text, start, context, identity)) for text, start in given
                ]
                answers = tuple(Answer(text, start) for text, start in found if start is not None)
                if not answers:
                    yield Reading(code, None, MISPLACED if given else UNLABELLED)
                    continue
                context_language, _, question_language = code.partition("-")
                yield Reading(
                    code,
                    Question(
                        id=identity,
                        question=_value(entry, "question", str, place),
                        context=context,
                        answers=answers,
                        context_language=context_language,
                        question_language=question_language or context_language,
                        title=title,
                    ),
                )
    offsets.report()


def read_question_file(
    path: str | Path, language: str | None = None, bad_offsets: str = REFUSE
) -> Iterator[Question]:
    """Yield the questions of a file in the form of SQuAD v1.1 that have an answer.

    Args:
        path: JSON, perhaps compressed (.gz, .xz, .zst).
        language: keep those whose id begins with its name, in a file of several languages such as
            TyDi QA's ("en": english-...); None: keep all.
        bad_offsets: see `read_questions`.

    Raises:
        InputError: as in `read_questions`, or there is nothing to keep.
    """
    found = False
    with open_source(path) as files:
        if len(files) != 1:
            raise InputError(f"{path} holds {len(files)} files; give a single file of questions.")
        for reading in read_questions(files, None if language else "und", bad_offsets):
            if reading.row is not None and language in (None, reading.language):
                found = True
                yield reading.row
    if not found:
        wanted = "with an answer" if language is None else f"in the language {language!r}"
        raise InputError(f"{path} holds no question {wanted}; give another file.")


def _load(file: SourceFile) -> object:
    with file.lines() as lines:
        return parse_json(b"".join(line for _, line in lines), file.path, "fetch the file again")


def _language_of(identity: str, place: str) -> str:
    name = identity.partition("-")[0]
    if name not in LANGUAGE_NAMES:
        raise InputError(
            f"{place}: the id does not begin with a language ({', '.join(LANGUAGE_NAMES)}); "
            "is this a file of another benchmark?"
        )
    return LANGUAGE_NAMES[name]


def _identity(entry: object, path: str) -> str:
    """The id, which some files have as a whole number."""
    value = entry.get("id") if isinstance(entry, dict) else None
    return str(value) if type(value) is int else _value(entry, "id", str, path)


def _answers(entry: object, place: str) -> Iterator[tuple[str, object]]:
    """The text of each answer, and where the file says that it begins.

    Test sets with the answers taken out have none, or an empty one: nothing is yielded.
    """
    for answer in _value(entry, "answers", list, place):
        if text := _value(answer, "text", str, place):
            yield text, answer.get("answer_start")


def _value(record: object, key: str, kind: type, place: str) -> object:
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise InputError(
            f"{place}: no {'list' if kind is list else 'text'} under the key {key!r}; "
            "the file is not in the form of SQuAD v1.1."
        )
    return value
