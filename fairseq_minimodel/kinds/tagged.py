"""Sentences of words with a tag each: CoNLL-U, IOB2, columns, WikiANN, JSON Lines.

Which of these forms a file has is told by its first line.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from ..errors import InputError
from ..files.archive import SourceFile, open_source
from ..files.rows import json_object
from ..files.text import check_characters, decode
from .rows import UNLABELLED, UNWORDED, Reading

logger = logging.getLogger(__name__)

WORD_KEYS = ("words", "tokens")  # of JSON Lines: one of them
TAGS_KEY, TEXT_KEY = "tags", "text"
DOCUMENT = "-DOCSTART-"  # CoNLL-2003's line between documents
NO_TAG = "_"  # CoNLL-U's
_ENTITY = re.compile(r"O|[BI]-\S+")
_WIKIANN = re.compile(r"([a-z]{2,3}(?:-[a-z-]+)?):(.*)", re.DOTALL)
_NUMBER = re.compile(r"\d+")
_OBJECT = re.compile(r'\s*\{\s*"')
_NO_WORD = re.compile(r"\d+[-.]\d+")  # of a multiword token (1-2), of an empty node (1.1)
_OTHERWISE = "give CoNLL-U, IOB2, a word and its tag in each line, or JSON Lines"


@dataclass(frozen=True)
class Sentence:
    """Words, and a tag for each.

    Attributes:
        blanks: whether a blank stands before each word in running text; true where nobody says.
        tags: empty where there are none to know.
        line: of the file, where it begins; None: not known.
    """

    words: tuple[str, ...]
    blanks: tuple[bool, ...]
    tags: tuple[str, ...] = ()
    line: int | None = field(default=None, compare=False)


def blanks_in(text: str, words: Sequence[str]) -> tuple[bool, ...]:
    """Before which words of a text a blank stands: before all, if it consists of others."""
    blanks, end = [], 0
    for word in words:
        begin = end
        while not text.startswith(word, begin) and text[begin : begin + 1].isspace():
            begin += 1
        if not text.startswith(word, begin):
            return (True,) * len(words)
        blanks.append(begin > end or not blanks)
        end = begin + len(word)
    return tuple(blanks)


def running_text(words: Sequence[str], blanks: Sequence[bool]) -> tuple[str, list[int]]:
    """The words as a text, and where in it each begins."""
    parts, begins, length = [], [], 0
    for word, blank in zip(words, blanks, strict=True):
        part = f" {word}" if blank and parts else word
        begins.append(length + len(part) - len(word))
        parts.append(part)
        length += len(part)
    return "".join(parts), begins


# ---- one sentence of each form, from its lines

Lines = list[tuple[int, str]]  # of a sentence: number, text without its end
Parse = Callable[[Lines, str], "Sentence | str"]  # or why it is left out
NOTHING = ""


def _conllu(lines: Lines, path: str) -> Sentence | str:
    """Universal Dependencies: the UPOS of each syntactic word, by SpaceAfter=No of words and ranges."""
    words, tags, blanks, blank, inside = [], [], [], True, 0
    for number, line in lines:
        if line.startswith("#"):
            continue
        cells = _cells(line, 10, f"{path}, line {number}")
        closes = "SpaceAfter=No" not in cells[9].split("|")
        if _NO_WORD.fullmatch(cells[0]):
            if "-" in cells[0]:  # its words do not stand in the text one after another
                inside, after = int(cells[0].partition("-")[2]), closes
            continue
        words.append(cells[1])
        tags.append(cells[3])
        blanks.append(blank)
        blank = closes
        if inside:
            blank = True
            if int(cells[0]) >= inside:
                inside, blank = 0, after
    return _sentence(words, blanks, tags, lines, path)


def _iob2(lines: Lines, path: str) -> Sentence | str:
    """Universal NER: number, word, tag and more columns; `# text = ` says where blanks stand."""
    words, tags, text = [], [], None
    for number, line in lines:
        if line.startswith("#"):
            name, equals, value = line[1:].partition("=")
            if equals and name.strip() == "text":
                text = value.strip()
            continue
        cells = _cells(line, 3, f"{path}, line {number}")
        if not _NO_WORD.fullmatch(cells[0]):
            words.append(cells[1])
            tags.append(cells[2])
    blanks = (True,) * len(words) if text is None else blanks_in(text, words)
    return _sentence(words, blanks, tags, lines, path)


def _columns(lines: Lines, path: str) -> Sentence | str:
    """The word first and its tag last, with blanks or tabs between them."""
    words, tags = [], []
    for number, line in lines:
        line = line.rstrip()
        cells = line.split("\t") if "\t" in line else line.split(" ")
        if cells[0] == DOCUMENT:
            continue
        if len(cells) < 2:
            raise InputError(
                f"{path}, line {number}: {line[:60]!r} is not a word and its tag; fix this line, or "
                f"{_OTHERWISE}"
            )
        words.append(cells[0])
        tags.append(cells[-1])
    return _sentence(words, (True,) * len(words), tags, lines, path)


def _wikiann(lines: Lines, path: str) -> Sentence | str:
    """`lang:word`, a tab, the tag."""
    stripped = []
    for number, line in lines:
        match = _WIKIANN.fullmatch(line)
        if not match:
            raise InputError(
                f"{path}, line {number}: {line[:60]!r} does not begin with its language (de:), as the "
                "lines of WikiANN do; fetch the file again"
            )
        stripped.append((number, match[2]))
    return _columns(stripped, path)


def _json(lines: Lines, path: str) -> Sentence | str:
    [(number, line)] = lines
    place = f"{path}, line {number}"
    record = json_object(line, place)
    key = next((one for one in WORD_KEYS if one in record), WORD_KEYS[0])
    words, tags = (_strings(record, name, place) for name in (key, TAGS_KEY))
    text = record.get(TEXT_KEY)
    blanks = blanks_in(text, words) if isinstance(text, str) else (True,) * len(words)
    return _sentence(words, blanks, tags, lines, path)


def _strings(record: dict[str, object], key: str, place: str) -> list[str]:
    value = record.get(key)
    if not isinstance(value, list) or any(not isinstance(one, str) for one in value):
        raise InputError(f"{place}: no list of texts under the key {key!r}; {_OTHERWISE}")
    return value


def _cells(line: str, least: int, place: str) -> list[str]:
    cells = line.split("\t")
    if len(cells) < least:
        raise InputError(
            f"{place}: {len(cells)} columns, and {least} are due; fix this line, or {_OTHERWISE}"
        )
    return cells


def _sentence(
    words: Sequence[str], blanks: Sequence[bool], tags: Sequence[str], lines: Lines, path: str
) -> Sentence | str:
    place = f"{path}, line {lines[0][0]}"
    if len(words) != len(tags):
        raise InputError(f"{place}: {len(words)} words and {len(tags)} tags: each word has its own")
    if not words:  # comments, or a line between documents
        return NOTHING
    if NO_TAG in tags:
        return UNLABELLED
    for text in chain(words, tags):
        check_characters(text, place)
    if not all(words):
        return UNWORDED
    return Sentence(tuple(words), tuple(blanks), tuple(tags), lines[0][0])


CONLLU, IOB2, COLUMNS, WIKIANN, JSON = FORMS = (_conllu, _iob2, _columns, _wikiann, _json)


def form_of(line: str) -> Parse:
    """The form of a file whose first line, that is neither blank nor a comment, is this."""
    cells = line.split("\t")
    if _OBJECT.match(line):
        return JSON
    if len(cells) > 2 and re.match(r"\d", cells[0]):
        is_entity = _NUMBER.fullmatch(cells[0]) and _ENTITY.fullmatch(cells[2])
        return IOB2 if len(cells) != 10 or is_entity else CONLLU
    return WIKIANN if len(cells) == 2 and _WIKIANN.fullmatch(line) else COLUMNS


def read_tagged(
    files: Sequence[SourceFile],
    language: str | None,
    form: Parse | None = None,
    tags: re.Pattern[str] | None = None,
) -> Iterator[Reading]:
    """Yield the sentences of one file as `Sentence`.

    Args:
        language: of the whole file; None: WikiANN's lines say it.
        form: of `FORMS`; None: as the first line tells.
        tags: what all tags match; None: anything.

    Raises:
        InputError: a line is not of the form, not UTF-8, or has another tag.
    """
    [file] = files
    with file.lines() as lines:
        for block in _blocks(lines, file.path):
            if form is None:
                first = next((text for _, text in block if not text.startswith("#")), None)
                if first is None:  # comments alone
                    continue
                form = form_of(first)
            for one in [[line] for line in block] if form is JSON else [block]:
                found = form(one, file.path)
                own = language or _language(one, file.path)
                if isinstance(found, str):
                    if found != NOTHING:
                        yield Reading(own, None, found)
                    continue
                wrong = {tag for tag in found.tags if tags and not tags.fullmatch(tag)}
                if wrong:
                    raise InputError(
                        f"{file.path}, line {found.line}: a word of this sentence has the tag "
                        f"{min(wrong)!r}, which the benchmark does not have; is this a file of another?"
                    )
                yield Reading(own, found)


def _language(lines: Lines, path: str) -> str:
    match = _WIKIANN.fullmatch(lines[0][1])
    if not match:
        raise InputError(f"{path} does not say its language: its lines do not begin with one (de:)")
    return match[1]


def _blocks(lines: Iterable[tuple[int, bytes]], path: str) -> Iterator[Lines]:
    """What stands between blank lines."""
    block: Lines = []
    for number, line in lines:
        text = decode(line, path, number).rstrip("\r\n")
        if text.strip():
            block.append((number, text))
        elif block:
            yield block
            block = []
    if block:
        yield block


def read_tagged_file(path: str | Path) -> list[Sentence]:
    """The sentences of a file, perhaps compressed. A warning in the log counts what is left out.

    Raises:
        InputError: as in `read_tagged`, or there are none.
    """
    sentences, left_out = [], Counter()
    with open_source(path) as files:
        if len(files) != 1:
            raise InputError(
                f"{path} holds {len(files)} files; give a single file of tagged sentences."
            )
        for reading in read_tagged(files, "und"):
            if reading.row is None:
                left_out[reading.left_out] += 1
            else:
                sentences.append(reading.row)
    if not sentences:
        raise InputError(f"{path} holds no sentence with tags; give another file.")
    for reason, count in left_out.items():
        logger.warning("%s: %d sentences are left out: %s", path, count, reason)
    return sentences
