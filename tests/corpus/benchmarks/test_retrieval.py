"""Tatoeba as LASER publishes it."""

import pytest
from support.published import SHAPES, publish

from fairseq_minimodel.corpus.benchmarks.read import read_benchmark
from fairseq_minimodel.corpus.benchmarks.retrieval import Translation
from fairseq_minimodel.errors import InputError

FOLDER = "LASER-main/data/tatoeba/v1/"


def pair(code, text, english):
    return {f"{FOLDER}tatoeba.{code}-eng.{code}": text, f"{FOLDER}tatoeba.{code}-eng.eng": english}


@pytest.mark.parametrize("shape", SHAPES)
def test_lines_are_pairs(tmp_path, shape):
    files = pair("deu", "Eins.\nZwei\u2028drei. \n", "One.\nTwo three.")
    files |= pair("swh", "Moja.\n", "One.\n")
    splits = read_benchmark("tatoeba", publish(tmp_path, files, shape), "test")
    assert splits["deu"].rows == (
        Translation("Eins.", "One."),
        Translation("Zwei\u2028drei.", "Two three."),
    )
    assert splits["swh"].rows == (Translation("Moja.", "One."),)
    assert [path.rsplit(".", 1)[1] for path in splits["deu"].files] == ["deu", "eng"]


@pytest.mark.parametrize(
    ("text", "english", "message"),
    [
        ("a\nb\n", "c\n", "eng.deu has more lines than .*eng.eng"),
        ("a\n", "c\nd\n", "eng.eng has more lines than .*eng.deu"),
        ("a\n\nb\n", "c\nd\ne\n", "eng.deu, line 2 is blank"),
        ("a\nb\n", "c\n \n", "eng.eng, line 2 is blank"),
        (b"a\n\xff\n", "c\nd\n", "eng.deu, line 2: not UTF-8"),
        ("", "", "no row to use in 'deu'"),
    ],
)
def test_bad_files_are_named(tmp_path, text, english, message):
    with pytest.raises(InputError, match=message):
        read_benchmark("tatoeba", publish(tmp_path, pair("deu", text, english)), "test")


@pytest.mark.parametrize("missing", [0, 1])
def test_half_a_pair(tmp_path, missing):
    files = pair("deu", "a\n", "b\n") | pair("swh", "c\n", "d\n")
    files.pop(list(files)[missing])
    with pytest.raises(InputError, match="but not all of tatoeba.LANGUAGE-eng.LANGUAGE and"):
        read_benchmark("tatoeba", publish(tmp_path, files), "test")


def test_two_halves_of_one_side_are_no_pair(tmp_path):
    files = {f"{folder}/tatoeba.deu-eng.eng": "a\n" for folder in "xy"}
    with pytest.raises(InputError, match="has both .*x/tatoeba.deu-eng.eng and .*y/tatoeba"):
        read_benchmark("tatoeba", publish(tmp_path, files), "test")
