"""The verb `predict`: lines in, JSON Lines with predictions out, in memory that does not grow."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..corpus.benchmarks.table import CLASSIFICATION, SPAN
from ..errors import InputError
from ..files.atomic import atomic_file
from ..files.outputs import check_file, json_lines_form
from ..files.rows import json_object, text_under
from ..files.text import LONGEST_JSON_LINE, TextFile, decode, numbered_lines
from ..terminal.progress import Progress
from .model import MASKED, LanguageModel, TextError, load

STANDARD = "-"  # the name of standard input and output
PREDICTION = "prediction"  # the key that each line gets
PREDICTIONS = json_lines_form("a file of predictions", PREDICTION)
TEXT, PAIR, QUESTION = ("text",), ("text1", "text2"), ("question", "context")
COLUMNS = {CLASSIFICATION: (1, 2), SPAN: (2,), MASKED: (1,)}  # how many a task reads
# Read, sorted by length and predicted at a time; a portion ends where one of them is reached.
PORTION_LINES, PORTION_CHARACTERS = 2048, 4_000_000
_OTHERWISE = "name the keys of the texts with --text-columns, or fix this line"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DIGITS = 6  # of probabilities and scores, behind the point

# From the texts of several rows to what is predicted for each, as a value of JSON.
Ask = Callable[[Sequence[Sequence[str]]], list[object]]


class Line(NamedTuple):
    """A line of the input.

    Attributes:
        number: from 1.
        content: with its end.
        position: bytes of the input, as it is stored, that were read by then.
    """

    number: int
    content: bytes
    position: int


class Row(NamedTuple):
    """What a line holds, and the texts to predict from; number and position as in `Line`."""

    number: int
    position: int
    record: dict[str, object]
    texts: tuple[str, ...]


def predict(
    body: Path,
    pack: Path | None,
    module: Path | None,
    labels: Path | None,
    source: str,
    output: str,
    json_lines: bool,
    text_columns: Sequence[str] | None,
    top: int | None,
    max_length: int | None,
    stride: int | None,
    max_question: int | None,
    max_answer: int,
    max_tokens: int | None,
    device: str | None,
    bfloat16: bool,
) -> None:
    """Read lines, and write each with its prediction as a line of JSON.

    A classifier labels texts, or pairs of texts; a body that was fine-tuned for questions answers
    them; a pretrained one fills masks. Blank lines are left out. At the end a line on stderr says how
    many lines a second it were, once the model was loaded.

    The arguments are those of `PredictOptions`. `output` is written whole or not at all. Of a file
    that is neither called .jsonl nor begins as JSON Lines, and of standard input, `json_lines` says so.

    Raises:
        InputError: as in `load`; the input cannot be read; a line is not UTF-8, or no JSON object with
            the texts; or an option does not fit the body's task.
    """
    if output != STANDARD:
        check_file(output, PREDICTIONS, source)
    model = load(body, pack, module, labels, device, bfloat16, max_tokens)
    options = {} if top is None else {"top": top}
    if model.task == SPAN:
        options |= {
            "max_length": max_length,
            "stride": stride,
            "max_question": max_question,
            "max_answer": max_answer,
        }
    ask = partial(ASK[model.task], model, **options)
    started = time.monotonic()
    with _input(source) as (name, lines, size, looks_like_json):
        json_lines = json_lines or looks_like_json
        _check_options(model, json_lines, text_columns, top)
        rows = read_rows(lines, name, json_lines, model.task, text_columns)
        shown = size and not (output == STANDARD and sys.stdout.isatty())
        with (
            _output(output) as file,
            Progress("predict", size) if shown else nullcontext() as progress,
        ):
            written = write_predictions(file, rows, ask, name, progress)
    seconds = time.monotonic() - started
    rate = f"{written / seconds:,.1f} lines/s"
    print(f"{written:,} lines in {seconds:.1f} s: {rate}", file=sys.stderr)


def write_predictions(
    file: BinaryIO, rows: Iterable[Row], ask: Ask, name: str, progress: Progress | None
) -> int:
    """Write each row's record with its prediction as a line, portion by portion.

    Args:
        ask, name: see `answered`.
        progress: in bytes of the input; None: show none.

    Returns: how many rows.
    """
    rows_written = done = 0
    for portion in portions(rows):
        for row, prediction in zip(portion, answered(portion, ask, name), strict=True):
            try:
                file.write(_json_line({**row.record, PREDICTION: prediction}))
            except RecursionError:  # it could be read by a hair
                raise _too_deep(name, row.number) from None
        file.flush()
        rows_written += len(portion)
        if progress is not None:
            progress.update(portion[-1].position - done)
            done = portion[-1].position
    return rows_written


def read_rows(
    lines: Iterable[Line],
    name: str,
    json_lines: bool,
    task: str,
    text_columns: Sequence[str] | None = None,
) -> Iterator[Row]:
    """Yield what the lines hold, without blank ones. No line is read before it is asked for.

    Args:
        name: of the input.
        json_lines, text_columns: see `predict`.
        task: of `TASKS`.

    Raises:
        InputError: a line is not UTF-8, or no JSON object with the texts. It names input and line.
    """
    for line in lines:
        content = line.content.removeprefix(BYTE_ORDER_MARK) if line.number == 1 else line.content
        text = decode(content, name, line.number).strip()
        if text:
            record = _record(text, name, line.number) if json_lines else {TEXT[0]: text}
            keys = text_columns or _usual_keys(record, task)
            place = f"{name}, line {line.number}"
            texts = tuple(text_under(record, key, place, _OTHERWISE) for key in keys)
            yield Row(line.number, line.position, record, texts)


def portions(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield the rows in lists of `PORTION_LINES`, or fewer where their texts are very long."""
    portion, size = [], 0
    for row in rows:
        portion.append(row)
        size += sum(map(len, row.texts))
        if len(portion) >= PORTION_LINES or size >= PORTION_CHARACTERS:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def answered(portion: Sequence[Row], ask: Ask, name: str) -> list[object]:
    """What is predicted for each row.

    Args:
        ask: one of `ASK`, with a model.
        name: of the input.

    Raises:
        InputError: a text is bad. It names input and line.
    """
    try:
        return ask([row.texts for row in portion])
    except TextError as error:
        number = portion[error.index].number
        raise InputError(f"{name}, line {number}: the text {error.reason}") from None


def ask_for_labels(model: LanguageModel, texts: Sequence[Sequence[str]]) -> list[object]:
    """Labels and probabilities of texts, or of pairs, as values of JSON.

    Those of a text that was cut have "cut", too: how many of its tokens were left out.
    """
    return [
        {
            "label": one.label,
            "probabilities": {
                label: round(value, DIGITS) for label, value in one.probabilities.items()
            },
            **({"cut": one.cut} if one.cut else {}),
        }
        for one in model.predict(texts)
    ]


def ask_for_tokens(
    model: LanguageModel, texts: Sequence[Sequence[str]], **options: int
) -> list[object]:
    """Tokens for each mask in each text, as values of JSON; options of `fill_mask`."""
    return [
        [
            [{"token": one.token, "probability": round(one.probability, DIGITS)} for one in tokens]
            for tokens in masks
        ]
        for masks in model.fill_mask([text for (text,) in texts], **options)
    ]


def ask_for_answers(
    model: LanguageModel, texts: Sequence[Sequence[str]], **options: int
) -> list[object]:
    """Answers to questions with their contexts, as values of JSON; options of `answer`."""
    questions, contexts = zip(*texts, strict=True)
    return [
        [{**one._asdict(), "score": round(one.score, DIGITS)} for one in answers]
        for answers in model.answer(questions, contexts, **options)
    ]


ASK = {CLASSIFICATION: ask_for_labels, SPAN: ask_for_answers, MASKED: ask_for_tokens}


def _check_options(
    model: LanguageModel, json_lines: bool, text_columns: Sequence[str] | None, top: int | None
) -> None:
    """Refuse what does not go together with an `InputError`, before the work begins."""
    if text_columns and not json_lines:
        raise InputError(
            "--text-columns are keys of JSON Lines, and of plain text each line is a text: name a "
            ".jsonl file, or say --json-lines"
        )
    if model.task == SPAN and not json_lines:
        raise InputError(
            f"{model.name} answers questions, and plain lines hold no contexts: give JSON Lines with "
            "the keys question and context (a .jsonl file, or --json-lines)"
        )
    if text_columns and len(text_columns) not in COLUMNS[model.task]:
        raise InputError(
            f"--text-columns names {len(text_columns)} keys, and {model.name} reads "
            f"{' or '.join(map(str, COLUMNS[model.task]))}"
        )
    if top is not None and model.task == CLASSIFICATION:
        raise InputError(
            f"--top is for masks and answers, and {model.name} classifies: its probabilities of all "
            "labels are written anyway"
        )


def _record(text: str, name: str, number: int) -> dict[str, object]:
    record = json_object(text, f"{name}, line {number}", exact=True)
    if PREDICTION in record:
        raise InputError(
            f"{name}, line {number}: the key {PREDICTION!r} is there already, and is what this "
            "command writes: rename it"
        )
    return record


def _too_deep(name: str, number: int) -> InputError:
    return InputError(f"{name}, line {number}: the JSON is nested too deeply; fix this line")


def _usual_keys(record: dict[str, object], task: str) -> Sequence[str]:
    if task == SPAN:
        return QUESTION
    return PAIR if task == CLASSIFICATION and PAIR[0] in record else TEXT


@contextmanager
def _input(source: str) -> Iterator[tuple[str, Iterator[Line], int, bool]]:
    """Its name, its lines, its bytes as it is stored (0: nobody knows), whether it is JSON Lines."""
    if source == STANDARD:
        name = "standard input"
        numbered = numbered_lines(sys.stdin.buffer, name, LONGEST_JSON_LINE, cut=False)
        yield name, _lines(numbered), 0, False
        return
    with TextFile(source) as file:
        lines = _lines(file.lines(LONGEST_JSON_LINE, cut=False))
        if file.is_compressed:
            lines = (line._replace(position=file.position) for line in lines)
        yield source, lines, file.path.stat().st_size, file.is_json_lines


def _lines(numbered: Iterable[tuple[int, bytes]]) -> Iterator[Line]:
    position = 0
    for number, content in numbered:
        position += len(content)
        yield Line(number, content, position)


@contextmanager
def _output(output: str) -> Iterator[BinaryIO]:
    if output == STANDARD:
        yield sys.stdout.buffer
        return
    with atomic_file(output, PREDICTIONS) as unfinished, open(unfinished, "wb") as file:
        yield file


def _json_line(record: dict[str, object]) -> bytes:
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half of a character, which JSON can spell and UTF-8 cannot
        return json.dumps(record).encode() + b"\n"
