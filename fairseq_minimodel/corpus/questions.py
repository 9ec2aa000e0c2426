"""Questions with their contexts to windows of tokens: the data of the task `span_qa`.

A window is what the model reads at once, in the form in which RoBERTa reads pairs of texts (Liu et
al. 2019, arXiv 1907.11692, section 4.1):

    <s> question </s> </s> part of the context </s>

A context that is too long for one window is read in several, each beginning `stride` tokens after
the last (Devlin et al. 2019, arXiv 1810.04805, in their code for SQuAD).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files.atomic import atomic_folder
from ..files.outputs import FolderForm, check_folder
from ..kinds.window_options import (
    NO_ANSWER,
    RECORD,
    REFUSE,
    SPANS,
    WINDOWS,
    WindowOptions,
    write_record,
)
from ..terminal.progress import SHORT, Progress
from ..vocabulary.tokenizers import BOS, EOS, Vocabulary
from .benchmarks.archive import open_source
from .benchmarks.questions import Question, read_questions
from .indexed import IndexedDatasetWriter, check_folder_name, token_type

PREPARED = FolderForm(
    "data of prepare-questions",
    ("dict.txt",),
    [
        f"{folder}/{split}.{end}"
        for folder in (WINDOWS, SPANS)
        for split in ("train", "valid")
        for end in ("bin", "idx")
    ]
    + [RECORD],
    lambda folder: (folder / WINDOWS).is_dir() and (folder / SPANS).is_dir(),
)


@dataclass(frozen=True)
class AlignedText:
    """The tokens of a text, and which of its characters each stands for.

    Attributes:
        text: as it was given.
        ids: of fairseq, (tokens,).
        begins, ends: (tokens,), of the characters in `text`, the end excluded. Both ascend. A space
            belongs to the token that it is in, mostly the word after it. Where a character becomes
            several tokens, only the last has an end after its begin.
    """

    text: str
    ids: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    def span(self, begin: int, end: int) -> tuple[int, int] | None:
        """First and last token of the shortest span that covers the characters from begin to end.

        None if SentencePiece keeps nothing of these characters.
        """
        first = np.searchsorted(self.ends, begin, side="right")
        last = np.searchsorted(self.begins, end) - 1
        if first > last:
            return None
        # the tokens before, if they stand for the same character
        return int(np.searchsorted(self.begins, self.begins[first])), int(last)

    def text_of(self, span: tuple[int, int]) -> str:
        """The text from the first token of a span to its last, without the space around it."""
        first, last = span
        return self.text[self.begins[first] : self.ends[last]].strip()


class AligningVocabulary(Vocabulary):
    """A vocabulary that says where in a text its tokens stand."""

    def align(self, text: str) -> AlignedText:
        """The tokens that `encode` gives, with their characters, through SentencePiece's NFKC."""
        encoded = self._model.encode(text, return_type="offset_mapping")
        offsets = np.array(encoded["offsets"], np.int64).reshape(-1, 2)
        ids = self._to_fairseq[np.array(encoded["ids"], np.int64)]
        return AlignedText(text, ids, offsets[:, 0], offsets[:, 1])


@dataclass(frozen=True)
class Window:
    """One window.

    Attributes:
        tokens: ids, (length,).
        first: which token of the context is its first.
        offset: where in the window that one stands; the context ends before the last </s>.
    """

    tokens: np.ndarray
    first: int
    offset: int

    @property
    def context_tokens(self) -> int:
        return len(self.tokens) - 1 - self.offset

    def position(self, span: tuple[int, int]) -> tuple[int, int]:
        """Where a span of the context's tokens stands in the window; `NO_ANSWER` if not whole."""
        start, end = span
        if start < self.first or end >= self.first + self.context_tokens:
            return NO_ANSWER
        return start - self.first + self.offset, end - self.first + self.offset


def make_windows(
    question: np.ndarray, context: np.ndarray, options: WindowOptions
) -> Iterator[Window]:
    """Yield windows that cover the whole context, at least one. Both arguments are ids."""
    before = np.concatenate([[BOS], question[: options.max_question], [EOS, EOS]])
    room = options.max_length - len(before) - 1
    first = 0
    while True:
        part = context[first : first + room]
        yield Window(np.concatenate([before, part, [EOS]]).astype(np.int64), first, len(before))
        if first + room >= len(context):
            return
        first += min(options.stride, room)


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


def prepare_questions(
    train: str | Path,
    valid: str | Path,
    sentencepiece_model: str | Path,
    dictionary: str | Path,
    output: str | Path,
    language: str | None = None,
    max_length: int = WindowOptions.max_length,
    stride: int = WindowOptions.stride,
    max_question: int = WindowOptions.max_question,
    bad_offsets: str = REFUSE,
) -> None:
    """Write the folders `windows` and `spans`, dict.txt and windows.json below the folder `output`.

    Of several answers to a question the first counts. A former output is replaced. Memory grows with
    the largest file of questions, which is parsed at once, not with what is written.

    Args:
        train, valid, language: see `read_question_file`.
        sentencepiece_model, dictionary: the vocabulary of the model to fine-tune.
        max_length, stride, max_question: see `WindowOptions`.
        bad_offsets: see `read_questions`.

    Raises:
        InputError: a bad file or option, or an `output` that holds something else.
    """
    options = WindowOptions(max_length, stride, max_question)
    output = Path(output)
    check_folder(output, PREPARED, train, valid, sentencepiece_model, dictionary)
    check_folder_name(output)
    vocabulary = AligningVocabulary(sentencepiece_model, dictionary)
    with atomic_folder(output, PREPARED) as folder:
        for name in (WINDOWS, SPANS):
            (folder / name).mkdir()
        for split, path in (("train", train), ("valid", valid)):
            questions = list(read_question_file(path, language, bad_offsets))
            held = _write_split(folder, split, questions, vocabulary, options)
            print(f"{split} ({path}): {held}")
        (folder / "dict.txt").write_bytes(Path(dictionary).read_bytes())
        write_record(folder, options)
    print(f"data for fairseq-train --task span_qa: {output.resolve()}", flush=True)


def _write_split(
    folder: Path,
    split: str,
    questions: Sequence[Question],
    vocabulary: AligningVocabulary,
    options: WindowOptions,
) -> str:
    """Write one split. Returns what it holds, in words."""
    counts: Counter[str] = Counter()
    longest = 0
    align = lru_cache(maxsize=1)(vocabulary.align)  # the questions on a context follow each other
    with ExitStack() as stack:

        def writer(name: str, values: int) -> IndexedDatasetWriter:
            prefix = folder / name / split
            return stack.enter_context(IndexedDatasetWriter(prefix, token_type(values)))

        windows_writer = writer(WINDOWS, len(vocabulary))
        spans_writer = writer(SPANS, options.max_length)
        progress = stack.enter_context(Progress(split, len(questions), "question", after=SHORT))
        for question in questions:
            progress.update(1)
            context, answer = align(question.context), question.answers[0]
            span = context.span(answer.start, answer.start + len(answer.text))
            if span is None:
                counts["lost"] += 1
                continue
            asked = vocabulary.align(question.question)
            windows = list(make_windows(asked.ids, context.ids, options))
            positions = [window.position(span) for window in windows]
            lengths = [len(window.tokens) for window in windows]
            windows_writer.write(np.concatenate([w.tokens for w in windows]), np.array(lengths))
            spans_writer.write(np.array(positions).ravel(), np.full(len(positions), 2))
            longest = max(longest, *lengths)
            counts.update(
                questions=1,
                cut=len(asked.ids) > options.max_question,
                windows=len(windows),
                complete=sum(position != NO_ANSWER for position in positions),
                wider=context.text_of(span) != answer.text.strip(),
            )
    if not counts["questions"]:
        raise InputError(
            f"SentencePiece keeps no character of any answer to the questions of --{split}; "
            "give the model of their language."
        )
    cut = f", {counts['cut']:,} questions were cut at --max-question" if counts["cut"] else ""
    return (
        f"{counts['questions']:,} questions in {counts['windows']:,} windows of up to {longest} "
        f"tokens, {counts['complete']:,} of them with the answer; {counts['wider']:,} answers begin or "
        f"end within a token, {counts['lost']:,} have no token and are left out{cut}"
    )
