"""Labelled examples from TSV and JSON Lines."""

import gzip

import pytest

from fairseq_minimodel.corpus.examples import Example, read_examples
from fairseq_minimodel.errors import InputError


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
        ("a.jsonl", '{"a": "x"}\n{"a"', (["a"], None), "a.jsonl, line 2: not JSON"),
        ("a.jsonl", '{"a": "x"}\n', (["a"], "b"), "line 1: no text or whole number .* key 'b'"),
        ("a.jsonl", "[1]\n", (["a"], None), "line 1: no text or whole number"),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, columns, message):
    path = write(tmp_path / name, text)
    with pytest.raises(InputError, match=message):
        list(read_examples(path, *columns))


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
