"""Questions with their contexts to windows of tokens: the data of the task `span_qa`."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files.atomic import atomic_folder
from ..files.outputs import FolderForm, check_folder
from ..kinds.questions import Question, read_question_file
from ..kinds.window_options import (
    NO_ANSWER,
    RECORD,
    REFUSE,
    SPANS,
    WINDOWS,
    WindowOptions,
    write_record,
)
from ..kinds.windows import AligningVocabulary, make_windows
from ..terminal.progress import SHORT, Progress
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
    separators: int = WindowOptions.separators,
    bad_offsets: str = REFUSE,
) -> None:
    """Write the folders `windows` and `spans`, dict.txt and windows.json below the folder `output`.

    Of several answers to a question the first counts. A former output is replaced. Memory grows with
    the largest file of questions, which is parsed at once, not with what is written.

    Args:
        train, valid, language: see `read_question_file`.
        sentencepiece_model, dictionary: the vocabulary of the model to fine-tune.
        max_length, stride, max_question, separators: see `WindowOptions`.
        bad_offsets: see `read_questions`.

    Raises:
        InputError: a bad file or option, or an `output` that holds something else.
    """
    options = WindowOptions(max_length, stride, max_question, separators)
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
