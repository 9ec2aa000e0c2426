"""What a file is, told by its content: what is read, and what is refused with the way out."""

import io
import json
import tarfile
import zipfile

import pytest

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.files.formats import holds_json_lines, refuse_structure
from fairseq_minimodel.files.text import TextFile

TEXTS = {
    "Latin": "Ein Satz.\nNoch ein Satz, mit ein paar Wörtern mehr.\n" * 9,
    "Cyrillic": "Это предложение.\nИ ещё одно, подлиннее.\n" * 9,
    "Chinese": "这是一个句子没有空格\n还有一个更长的句子在这里\n" * 9,
}


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("mark", [False, True])
@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_wide_encodings_are_refused_by_name(tmp_path, text, encoding, mark):
    path = write(tmp_path / "text.txt", ("\ufeff" * mark + text).encode(encoding))
    with pytest.raises(InputError, match=f"text in {encoding}.*iconv -f {encoding} -t UTF-8"):
        TextFile(path)


@pytest.mark.parametrize("text", [*TEXTS.values(), "one\0\ntwo\n", ""])
def test_utf8_is_taken_for_what_it_is(tmp_path, text):
    with TextFile(write(tmp_path / "text.txt", text)) as file:
        assert b"".join(line for _, line in file.lines()).decode() == text


def make_zip():
    with zipfile.ZipFile(stream := io.BytesIO(), "w") as archive:
        archive.writestr("text.txt", "text")
    return stream.getvalue()


def make_tar():
    with tarfile.open(fileobj=(stream := io.BytesIO()), mode="w:gz") as archive:
        archive.addfile(member := tarfile.TarInfo("text.txt"), io.BytesIO())
        assert member.size == 0
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "kind", "way_out"),
    [
        (make_zip(), "zip archive", "unpack it"),
        (make_tar(), "tar archive", "unpack it"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "7z archive", "unpack it"),
        (b"Rar!\x1a\x07\0", "rar archive", "unpack it"),
        (b"PAR1\x15\x04\x15\x10", "Parquet table", "read_parquet"),
        (b"ARROW1\0\0", "Arrow table", "Dataset"),
        (b"\xff\xff\xff\xff\x78\x01\0\0", "Arrow table", "Dataset"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF", "pdftotext"),
        (b"SQLite format 3\0\x10", "SQLite", "JSON Lines"),
        (b"\x04\x22\x4d\x18\x64", "compressed by lz4", "decompress it"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS", "git lfs pull"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # archives hold the time
)
@pytest.mark.parametrize("name", ["text", "text.txt", "text.gz"])
def test_other_formats_are_named_with_the_way_out(tmp_path, name, content, kind, way_out):
    with pytest.raises(InputError, match=f"{name} is .*{kind}.*, not text; .*{way_out}"):
        TextFile(write(tmp_path / name, content))


OBJECT = json.dumps({"url": "https://x.org", "text": "one\ntwo"}) + "\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (OBJECT * 2, True),
        ("\ufeff\n \n" + OBJECT, True),
        (OBJECT.rstrip(), True),
        ('{"text": "of a line longer than what is looked at', True),
        ("{}\n", True),
        ("{LaTeX} is no JSON\n", False),
        ('{"text": broken}\n' + OBJECT, False),
        ("{\n" + OBJECT, False),
        (f"[{OBJECT}]", False),
        ("running text\n" + OBJECT, False),
        ("", False),
    ],
)
def test_json_lines_are_known_by_the_first_line(content, expected):
    assert holds_json_lines(content.encode()) == expected


@pytest.mark.parametrize("name", ["c4.json", "a.ndjson", "wiki_00", "a.txt", "a.jsonl"])
def test_json_lines_are_known_under_any_name(tmp_path, name):
    with TextFile(write(tmp_path / name, OBJECT)) as file:
        assert file.is_json_lines


CSV = 'id,title,text\n1,A,"One, two"\n2,B,Three\n'


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (CSV, "CSV"),
        (CSV.replace(",", ";"), "CSV"),
        ('"text","label"\n"a line\nbroken","1"\n"b, c","2"\n', "CSV"),
        ("text\tlabel\na b\t1\nc d\t2\n", "TSV"),
        ("Ein Satz.\tA sentence.\nNoch einer.\tAnother.\n" * 20, "TSV"),
        ("# sent_id = 1\n1\tEin\tein\n2\tSatz\tSatz\n\n# sent_id = 2\n1\tJa\tja\n", "TSV"),
        (json.dumps([{"text": "a"}, {"text": "b"}]), "JSON array"),
        (json.dumps([{"text": "a"}], indent=1), "JSON array"),
        (json.dumps(["a", "b"]), "JSON array"),
        (json.dumps({"data": [1]}, indent=1), "one JSON object over several lines"),
        ('<?xml version="1.0"?><a>b</a>', "XML or HTML"),
        ("<!DOCTYPE html>\n<html>", "XML or HTML"),
        ('<doc id="1" url="x" title="A">\nA\n\nText.\n</doc>\n', "XML or HTML"),
    ],
)
def test_what_is_not_running_text_is_refused(tmp_path, content, kind):
    with TextFile(write(tmp_path / "a.txt", content)) as file:
        assert not file.is_json_lines
        with pytest.raises(
            InputError, match=rf"a\.txt is .*{kind}.*, not running text; .*OTHERWISE"
        ):
            refuse_structure(file.head, file.path, "; OTHERWISE")


def test_json_lines_are_refused_where_nobody_reads_them(tmp_path):
    with TextFile(write(tmp_path / "a.txt", OBJECT)) as file:
        refuse_structure(file.head, file.path)
        with pytest.raises(InputError, match=r"a\.txt is JSON Lines, not running text; .*jq -r"):
            refuse_structure(file.head, file.path, json_lines=False)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv.gz"])
def test_a_table_of_one_column_is_known_by_its_name(tmp_path, name):
    table = pytest.raises(InputError, match="a table")
    with TextFile(write(tmp_path / name, "text\nA line\n")) as file, table:
        refuse_structure(file.head, file.path)


@pytest.mark.parametrize(
    "content",
    [
        *TEXTS.values(),
        "",
        "A line\twith a tab\n",
        "\tA paragraph.\n\tIndented by tabs.\n",
        "Roses are red, violets are blue,\nsugar is sweet, and so are you.\n",
        "Yes, no.\nNo, yes.\n",
        "[1] A footnote\n",
        "[[Category:Wiki]]\n",
        "[Music]\n",
        '"Quoted", she said.\n"Yes", he said.\n',
        "{curly} text\n",
        "<b>bold</b> text\n",
        "1,5 Millionen\n2,5 Millionen\n",
    ],
)
def test_running_text_is_not_refused(tmp_path, content):
    with TextFile(write(tmp_path / "a.txt", content)) as file:
        assert not file.is_json_lines
        refuse_structure(file.head, file.path)
