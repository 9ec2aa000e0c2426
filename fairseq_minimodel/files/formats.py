"""What a file is, told by its first bytes: what can be read, and what is refused, with the way out."""

import codecs
import csv
import json
import re
from itertools import islice
from pathlib import Path

from ..errors import InputError

_COMPRESSIONS = {
    "gzip": rb"\x1f\x8b",
    "xz": rb"\xfd7zXZ\0|]\0\0",  # the second: .lzma, the older form of it
    "zstd": rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18",
    "bzip2": rb"BZh[1-9](1AY&SY|\x17rE8P\x90)",
}
COMPRESSED = (".gz", ".xz", ".zst", ".bz2")  # how the names of such files end
_UNPACK = "unpack it and give the text file that is inside"
_DECOMPRESS = "decompress it first, or use gzip, xz, zstd or bzip2"
_WRITE_JSON_LINES = "write its text as JSON Lines"
_PANDAS = (
    "write it as JSON Lines, for example with pandas: "
    'read_parquet("FILE").to_json("FILE.jsonl", orient="records", lines=True)'
)
_DATASETS = (
    'write it as JSON Lines, for example with datasets: Dataset.from_file("FILE")'
    '.to_json("FILE.jsonl")'
)
_ZIP = "a zip archive (or a file of Word, Excel or LibreOffice, which are such archives)"
# How a file begins, what it then is, and the way out.
_FORMATS = (
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", _ZIP, f"{_UNPACK}, or save it as text"),
    (rb"(?s:.{257})ustar", "a tar archive", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (rb"Rar!\x1a\x07", "a rar archive", _UNPACK),
    (rb"PAR1[\x15\0]", "a Parquet table", _PANDAS),
    (rb"ARROW1\0\0|\xff\xff\xff\xff(?s:..)\0\0", "an Arrow table", _DATASETS),
    (rb"%PDF-", "a PDF", "take the text out first, for example with pdftotext"),
    (rb"{\\rtf", "an RTF file", "save it as plain text"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old file of Word or Excel", "save it as text"),
    (rb"SQLite format 3\0", "a database of SQLite", _WRITE_JSON_LINES),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file", _WRITE_JSON_LINES),
    (rb"\x04\x22\x4d\x18", "compressed by lz4", _DECOMPRESS),
    (rb"\x1f\x9d", "compressed by compress (.Z)", _DECOMPRESS),
    (rb"LZIP\x01", "compressed by lzip", _DECOMPRESS),
    (
        rb"version https://git-lfs\.github\.com/spec/",
        "a pointer of Git LFS to the file",
        "fetch the file itself with: git lfs pull",
    ),
)
_BYTE_ORDER_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32LE"),
    (b"\0\0\xfe\xff", "UTF-32BE"),
    (b"\xff\xfe", "UTF-16LE"),
    (b"\xfe\xff", "UTF-16BE"),
)
UTF8_MARK = b"\xef\xbb\xbf"
_OBJECT_BEGINS = re.compile(rb'\{\s*"(?:[^"\\]|\\.)*"\s*:')
_ARRAY_BEGINS = re.compile(rb'\[\s*(\{\s*"|"(?:[^"\\]|\\.)*"\s*[,\]])')
_MARKUP_BEGINS = re.compile(rb"<(\?xml|!doctype|html|mediawiki|doc|tei)\b", re.IGNORECASE)
_NAME = re.compile(r"[\w.-]{1,40}")
_OBJECTS_IN_LINES = "make it JSON Lines, one object per line, with"
_TAB = "\t"
_TABLE_WAY_OUT = (
    "write the column with the text as plain text, or all of it as JSON Lines, one object per line"
)
_ROWS = 20  # of a table that are looked at
_TABLE_BYTES = 1 << 16


def compression(stored: bytes) -> str | None:
    """gzip, xz, zstd or bzip2, by the first bytes of a file as it is stored; None: none of them."""
    return next((name for name, mark in _COMPRESSIONS.items() if re.match(mark, stored)), None)


def refuse_other_formats(head: bytes, path: str | Path) -> None:
    """Raise InputError if the decompressed beginning of a file is not that of UTF-8 text."""
    for mark, name, way_out in _FORMATS:
        if re.match(mark, head):
            raise InputError(f"{path} is {name}, not text; {way_out.replace('FILE', str(path))}.")
    if compression(head):
        raise InputError(f"{path} is compressed twice; decompress it once.")
    if encoding := _wide_encoding(head):
        raise InputError(
            f"{path} is text in {encoding}, not in UTF-8; convert it with: "
            f"iconv -f {encoding} -t UTF-8 {path} > NEW"
        )


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32, by the byte-order mark or, without one, by where the NUL bytes stand."""
    for mark, name in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return name
    head = head[:4096]
    nuls = head.count(0)
    # In UTF-8 a NUL is a damage, and rare; in UTF-16 each space and line break has one.
    if nuls < 2 or (nuls < len(head) / 50 and may_be_utf8(head)):
        return None
    spaces = {name: _count_spaces(head, name) for _, name in _BYTE_ORDER_MARKS}
    best = max(spaces, key=spaces.get)
    return best if spaces[best] else None


def _count_spaces(head: bytes, encoding: str) -> int:
    """Spaces and line breaks in the beginning of a text; none if it is not of this encoding."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)  # the end may be cut
    except UnicodeDecodeError:
        return 0
    return 0 if "\0" in text else sum(map(text.count, " \n\r"))


def may_be_utf8(head: bytes) -> bool:
    """Whether the beginning of a file is UTF-8; its last character may be cut."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.end == len(head) and error.reason == "unexpected end of data"
    return True


def holds_json_lines(head: bytes) -> bool:
    """Whether the first line that is not blank is a JSON object, or begins as one and is cut."""
    line, end, _ = _text(head).partition(b"\n")
    if not line.startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except RecursionError:
        return True
    except ValueError:
        return not end and _OBJECT_BEGINS.match(line) is not None


def suffix_inside(path: str | Path) -> str:
    """What a name ends in, without the suffix of a compression."""
    path = Path(path)
    return Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix


def refuse_structure(
    head: bytes, path: str | Path, otherwise: str = "", *, json_lines: bool = True
) -> None:
    """Raise InputError if a file holds a table, markup or JSON, but for JSON Lines.

    Args:
        head: its beginning, decompressed.
        otherwise: what to do if that is wrong, for the end of the sentence.
        json_lines: whether who asks reads JSON Lines; otherwise they are refused, too.
    """
    text, kind, suffix = _text(head), None, suffix_inside(path)
    if holds_json_lines(head):
        if not json_lines:
            kind = "JSON Lines"
            way_out = 'write its texts as plain text: jq -r \'.text | gsub("\\n"; " ")\' FILE > NEW'
    elif _ARRAY_BEGINS.match(text):
        kind, way_out = "a JSON array", f"{_OBJECTS_IN_LINES}: jq -c '.[]' FILE > NEW.jsonl"
    elif _OBJECT_BEGINS.match(text):
        kind = "one JSON object over several lines"
        way_out = f"{_OBJECTS_IN_LINES}: jq -c . FILE > NEW.jsonl"
    elif _MARKUP_BEGINS.match(text):
        kind = "XML or HTML"
        way_out = "take the text out of the tags first (WikiExtractor has --json)"
    elif delimiter := _table_delimiter(text):
        kind, way_out = f"a table ({'TSV' if delimiter == _TAB else 'CSV'})", _TABLE_WAY_OUT
    if kind is None and suffix in (".csv", ".tsv"):
        kind, way_out = f"a table ({suffix[1:].upper()})", _TABLE_WAY_OUT
    if kind:
        way_out = way_out.replace("FILE", str(path))
        raise InputError(f"{path} is {kind}, not running text; {way_out}{otherwise}.")


def _text(head: bytes) -> bytes:
    return head.removeprefix(UTF8_MARK).lstrip()


def _table_delimiter(text: bytes) -> str | None:
    """What separates the columns, if the first rows have equally many of them, more than one.

    With tabs that is enough. With commas and semicolons, which running text has as well, the first
    row must hold names without spaces.
    """
    cut = len(text) > _TABLE_BYTES
    content = text[:_TABLE_BYTES].decode("utf-8", errors="replace")
    lines = [line for line in content.splitlines(keepends=True) if line.strip()]
    if cut:
        lines.pop()
    rows = [line for line in lines if not line.startswith("#")]  # comments of CoNLL-U
    columns = {row.strip().count(_TAB) for row in rows[:_ROWS]}
    if len(rows) > 1 and len(columns) == 1 and columns != {0}:
        return _TAB
    for delimiter in ",;":
        try:
            rows = list(islice(csv.reader(lines, delimiter=delimiter), _ROWS))
        except csv.Error:
            continue
        columns = {len(row) for row in rows}
        names = (
            len(rows) > 1
            and len(set(rows[0])) == len(rows[0])
            and all(map(_NAME.fullmatch, rows[0]))
        )
        if names and len(columns) == 1 and columns != {1}:
            return delimiter
    return None
