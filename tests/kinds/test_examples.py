"""Labelled examples from TSV and JSON Lines."""

import gzip

import pytest

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.kinds.examples import Example, read_examples


def write(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_tsv_by_name_is_read_literally(tmp_path):
    path = write(tmp_path / "a.tsv", 'id\ttext\tlabel\r\n1\t"He said\tno\r\n\n2\ta "b\' \tyes\n')
    assert list(read_examples(path, ["text"], "label")) == [
        Example(('"He said',), "no"),
        Example(("a \"b'",), "yes"),
    ]


@pytest.mark.parametrize("columns", [((2, 1), 3), (("2", "1"), "3")])
def test_tsv_by_number_has_no_header(tmp_path, columns):
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress("eins\tzwei\t0\nüber\tvier\t1\n".encode()))
    assert list(read_examples(path, *columns)) == [
        Example(("zwei", "eins"), "0"),
        Example(("vier", "über"), "1"),
    ]


def test_json_lines(tmp_path):
    path = write(
        tmp_path / "a.jsonl", '{"a": "x\\n", "b": "y", "c": 1}\n\n{"a":"","b":"z","c":"0"}'
    )
    assert list(read_examples(path, ["a", "b"], "c")) == [
        Example(("x", "y"), "1"),
        Example(("", "z"), "0"),
    ]
    assert next(read_examples(path, ["b"], None)) == Example(("y",), None)


@pytest.mark.parametrize(
    ("name", "text", "columns", "message"),
    [
        (
            "a.tsv",
            "text\tlabel\nx\n",
            (["text"], "label"),
            "a.tsv, line 2: 1 columns, but column 2",
        ),
        ("a.tsv", "text\tlabel\nx\ty\n", (["txt"], "label"), "no column 'txt' in the header"),
        ("a.tsv", "x\ty\n", ([0], 2), "no column 0"),
        ("a.tsv", "", ([1], 2), "a.tsv holds no examples"),
        ("a.tsv", "text\tlabel\n", (["text"], "label"), "a.tsv holds no examples"),
        (
            "a.tsv",
            'text\tlabel\nx\ty\n"a\tb"\tkitchen\n',
            (["text"], "label"),
            "a.tsv, line 3: 3 columns, and 2 in the header; where a tab .* JSON Lines",
        ),
        ("a.tsv", 'x\ty\n"a\tb"\tkitchen\n', ([1], 2), "line 2: 3 columns, and 2 in line 1"),
        ("a.tsv", '\n"a\tb"\tkitchen\nx\ty\n', ([1], 2), "line 3: 2 columns, and 3 in line 2"),
        ("a.tsv", 'text\tlabel\n"a\nb"\tkitchen\n', (["text"], "label"), "line 2: 1 columns"),
        ("a.tsv", 'x\t"kitchen"\n', ([1], 2), 'line 1: the label "kitchen" stands in quotation'),
        ("a.tsv", "text\ttext\tlabel\nx\ty\tz\n", (["text"], "label"), "two columns 'text'"),
        (
            "a.csv",
            "text,label\nx,y\n",
            (["text"], "label"),
            "if the file is CSV, write the file as",
        ),
        ("a.csv", "x,y\n", ([1], 2), "line 1: 1 columns, .* if the file is CSV, write"),
        ("a.tsv", "x\ty\rz\tw\n", ([1], 2), "line 1: 3 columns|line 1: a carriage return"),
        ("a.tsv", "x\ry\tz\n", ([1], 2), "line 1: a carriage return inside the line"),
        ("a.tsv", "x\ta\t1\ry\tb\t2\r", ([2], 1), "line 1: a carriage return inside the line"),
        ("a.jsonl", '{"a": "x \\ud800"}\n', (["a"], None), "line 1: half of a character"),
        ("a.jsonl", '{"a": ' + "[" * 10**5 + "\n", (["a"], None), "line 1: the JSON is nested too"),
        ("a.jsonl", '{"a": "x"}\n{"a"', (["a"], None), "a.jsonl, line 2: not JSON"),
        ("a.jsonl", '{"a": "x"}\n', (["a"], "b"), "line 1: no text or number .* key 'b'"),
        ("a.jsonl", '{"a": "x", "b": NaN}\n', (["a"], "b"), "line 1: no text or number"),
        ("a.jsonl", '{"a": "x", "b": true}\n', (["a"], "b"), "line 1: no text or number"),
        ("a.jsonl", "[1]\n", (["a"], None), "line 1: JSON, but not an object"),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, columns, message):
    path = write(tmp_path / name, text)
    with pytest.raises(InputError, match=message):
        list(read_examples(path, *columns))


def test_blank_lines_and_a_byte_order_mark_are_no_text(tmp_path):
    path = write(tmp_path / "a.tsv", "\ufefftext\tlabel\r\n\r\n  \r\nx\ty\r\n\n\t\n")
    assert list(read_examples(path, ["text"], "label")) == [
        Example(("x",), "y"),
        Example(("",), ""),  # a row of empty columns, whose label is refused where labels matter
    ]


def test_a_number_of_json_is_a_label(tmp_path):
    path = write(tmp_path / "a.jsonl", "".join(f'{{"a": "x", "b": {b}}}\n' for b in (2, 2.0, 2.5)))
    assert [one.label for one in read_examples(path, ["a"], "b")] == ["2", "2", "2.5"]


def test_a_line_may_end_short_of_columns_that_the_header_names_and_nobody_wants(tmp_path):
    path = write(tmp_path / "a.tsv", "text\tlabel\tid\nx\ty\n")
    [example] = read_examples(path, ["text"], "label")
    assert (example, example.line) == (Example(("x",), "y"), 2)


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ('"a ""b"" c"', True),
        ('"""b"" c"', True),
        ('"Hello," he said, "bye"', False),  # a text's own quotation marks
        ('a "b" c', False),
        ('"stray', False),
        ('"a whole quotation"', False),
    ],
)
def test_texts_that_a_csv_writer_quoted_are_read_as_they_are_and_counted(
    tmp_path, caplog, text, warned
):
    path = write(tmp_path / "a.tsv", f"x\ty\n{text}\ty\n")
    assert list(read_examples(path, [1], 2))[1] == Example((text,), "y")
    messages = [record.getMessage() for record in caplog.records]
    assert [" texts of 1 lines look as if" in message for message in messages] == [True] * warned


def test_broken_utf8_names_the_line(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"a\tb\nc\xc3\td\n")
    with pytest.raises(InputError, match="a.tsv, line 2: not UTF-8"):
        list(read_examples(tmp_path / "a.tsv", [1], 2))


def test_real_files(shared_data):
    topic = list(read_examples(shared_data / "topic/sib200/deu_Latn/dev.tsv", ["text"], "category"))
    assert len(topic) == 99
    nli = list(read_examples(shared_data / "nli/xnli/dev-sw.tsv.xz", [1, 2], 3))
    assert len(nli) == 2490
    assert {example.label for example in nli} == {"entailment", "neutral", "contradiction"}
