"""The verb `predict`: lines in, JSON Lines with predictions out, in memory that does not grow."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..errors import InputError
from ..files.atomic import atomic_file
from ..files.outputs import check_file, json_lines_form
from ..files.rows import json_object, text_under
from ..files.text import LONGEST_JSON_LINE, TextFile, decode, numbered_lines
from ..kinds import VECTORS
from ..kinds.kind import Kind, TextError
from ..kinds.mixture import Mixing
from ..terminal.progress import Progress
from .mixture import MixedModel, load_mixture, sort_members
from .model import LanguageModel, load

STANDARD = "-"  # the name of standard input and output
PREDICTION = "prediction"  # the key that each line gets
PREDICTIONS = json_lines_form("a file of predictions", PREDICTION)
TEXT = "text"  # the key of what a plain line holds
# Read, sorted by length and predicted at a time; a portion ends where one of them is reached.
PORTION_LINES, PORTION_CHARACTERS = 2048, 4_000_000
_OTHERWISE = "name the keys of the texts with --text-columns, or fix this line"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# From the texts of several rows to what is predicted for each, a value of JSON; `language`: of each.
Ask = Callable[..., list[object]]


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
    """What a line holds, and the texts to predict from; number and position as in `Line`.

    The language is that of the texts; None: all lines are in one.
    """

    number: int
    position: int
    record: dict[str, object]
    texts: tuple[str | list[str], ...]
    language: str | None = None


def predict(
    body: Path,
    packs: Sequence[Path],
    module: Path | None,
    mix: Sequence[Path] | None,
    mix_steps: int,
    mix_batch: int,
    labels: Path | None,
    source: str,
    output: str,
    json_lines: bool,
    text_columns: Sequence[str] | None,
    language_column: str,
    max_tokens: int | None,
    device: str | None,
    bfloat16: bool,
    **options: int | None,
) -> None:
    """Read lines, and write each with its prediction as a line of JSON.

    A classifier labels texts, or pairs of texts; a tagger finds entities, or tags words; a body that
    was fine-tuned for questions answers them; one that is made for sentence vectors gives them; a
    pretrained one fills masks. Blank lines are left out. At the end a line on stderr says how many
    lines that were in a second, once the model was loaded.

    The arguments are those of `PredictOptions`. `output` is written whole or not at all. Of a file
    that is neither called .jsonl nor begins as JSON Lines, and of standard input, `json_lines` says so.

    Raises:
        InputError: as in `load`; the input cannot be read; a line is not UTF-8, or not a JSON object
            with the texts; or an option does not fit the body's task.
    """
    if output != STANDARD:
        check_file(output, PREDICTIONS, source)
    settings = (labels, device, bfloat16, max_tokens)
    model: LanguageModel | MixedModel
    if mix:
        more_packs, more_modules = sort_members(mix)
        packs = [*packs, *more_packs]
        modules = [module, *more_modules] if module else more_modules
        mixing = Mixing(steps=mix_steps, together=mix_batch)
        model = load_mixture(body, packs, modules, *settings, mixing)
    else:
        model = load(body, packs or None, module, *settings)
    own = {name: value for name, value in options.items() if name in model.kind.ask_options}
    ask = partial(model.kind.ask, model, **{k: v for k, v in own.items() if v is not None})
    started = time.monotonic()
    with _input(source) as (name, lines, size, looks_like_json):
        json_lines = json_lines or looks_like_json
        _check_options(model, json_lines, text_columns, options.get("top"))
        key = language_column if len(model.languages) > 1 else None
        rows = read_rows(lines, name, json_lines, model.kind, text_columns, key, model.languages)
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
                raise InputError(
                    f"{name}, line {row.number}: the JSON is nested too deeply; fix this line"
                ) from None
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
    kind: Kind,
    text_columns: Sequence[str] | None = None,
    language_column: str | None = None,
    languages: Sequence[str] = (),
) -> Iterator[Row]:
    """Yield what the lines hold, without blank ones. No line is read before it is asked for.

    Args:
        name: of the input.
        json_lines, text_columns: see `predict`.
        kind: says where the texts stand.
        language_column: key of the language of each line; None: all are in one.
        languages: that there are.

    Raises:
        InputError: a line is not UTF-8, or not a JSON object with the texts and a language that is
            known. It names input and line.
    """
    for line in lines:
        content = line.content.removeprefix(BYTE_ORDER_MARK) if line.number == 1 else line.content
        text = decode(content, name, line.number).strip()
        if text:
            record = _record(text, name, line.number) if json_lines else {TEXT: text}
            keys = text_columns or _usual_keys(record, kind)
            place = f"{name}, line {line.number}"
            texts = tuple(_text(record, key, place, kind) for key in keys)
            language = None
            if language_column is not None:
                language = text_under(record, language_column, place, _OTHERWISE)
                if language not in languages:
                    raise InputError(
                        f"{place}: the language is {language!r}, and there are packs of "
                        f"{', '.join(languages)}: give its pack, or name the key (--language-column)"
                    )
            yield Row(line.number, line.position, record, texts, language)


def _text(record: dict[str, object], key: str, place: str, kind: Kind) -> str | list[str]:
    """The text under a key, or the words."""
    value = record.get(key)
    if kind.reads_words and isinstance(value, list) and all(type(one) is str for one in value):
        return value
    return text_under(record, key, place, _OTHERWISE)


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
        ask: `Kind.ask`, with a model.
        name: of the input.

    Raises:
        InputError: a text is bad. It names input and line.
    """
    texts, languages = [row.texts for row in portion], [row.language for row in portion]
    try:
        return ask(texts) if None in languages else ask(texts, language=languages)
    except TextError as error:
        number = portion[error.index].number
        raise InputError(f"{name}, line {number}: the text {error.reason}") from None


def _check_options(
    model: LanguageModel | MixedModel,
    json_lines: bool,
    text_columns: Sequence[str] | None,
    top: int | None,
) -> None:
    """Refuse what does not go together with an `InputError`, before the work begins."""
    if text_columns and not json_lines:
        raise InputError(
            "--text-columns are keys of JSON Lines, and of plain text each line is a text: name a "
            ".jsonl file, or say --json-lines"
        )
    kind = model.kind
    if len(model.languages) > 1 and not (json_lines and kind.name == VECTORS):
        raise InputError(
            "several --pack are for bodies made for sentence vectors and JSON Lines that name the "
            "language of each: give one pack"
        )
    counts = sorted({len(keys) for keys in kind.text_keys})
    if counts[0] > 1 and not json_lines:
        raise InputError(
            f"{model.name} {kind.trained}, and plain lines hold one text each: give JSON Lines with "
            f"the keys {' and '.join(kind.text_keys[0])} (a .jsonl file, or --json-lines)"
        )
    if text_columns and len(text_columns) not in counts:
        raise InputError(
            f"--text-columns names {len(text_columns)} keys, and {model.name} reads "
            f"{' or '.join(map(str, counts))}"
        )
    if top is not None and "top" not in kind.ask_options:
        raise InputError(
            f"--top is for masks and answers, and {model.name} {kind.trained}: all that it says of a "
            "text is written anyway"
        )


def _record(text: str, name: str, number: int) -> dict[str, object]:
    record = json_object(text, f"{name}, line {number}", exact=True)
    if PREDICTION in record:
        raise InputError(
            f"{name}, line {number}: the key {PREDICTION!r} is there already, and is what this "
            "command writes: rename it"
        )
    return record


def _usual_keys(record: dict[str, object], kind: Kind) -> Sequence[str]:
    return next((keys for keys in kind.text_keys if keys[0] in record), kind.text_keys[-1])


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
