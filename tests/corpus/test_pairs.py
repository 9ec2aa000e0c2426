"""Sentence pairs in two parts: nothing of the test stands in the training part."""

import gzip
import re

import pytest

from fairseq_minimodel.cli import main
from fairseq_minimodel.corpus.pairs import read_pairs


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def split(source, target, test, output):
    return main(
        ["split-pairs", "--parallel", source, target, f"--test={test}", f"--output={output}"]
    )


def test_the_last_pairs_are_held_out_with_what_is_equal_to_them(tmp_path):
    # b1 stands twice and so does e's translation; the fourth line has no translation
    source = write(tmp_path / "en", ["a", "b", "c", " d  d ", "blank", "b", "e", "f"])
    target = write(tmp_path / "de", ["a1", "b1", "c1", "d1", "   ", "b2", "e1", "e1"])
    assert split(source, target, 3, tmp_path / "out") == 0
    parts = {path.name: path.read_text().split("\n")[:-1] for path in (tmp_path / "out").iterdir()}
    # e is passed over for f, of the same translation
    assert (parts["test.source"], parts["test.target"]) == (["d d", "b", "f"], ["d1", "b2", "e1"])
    assert (parts["train.source"], parts["train.target"]) == (["a", "c"], ["a1", "c1"])
    assert split(source, target, 2, tmp_path / "out") == 0  # a former output is replaced


def test_files_may_be_compressed(tmp_path):
    with gzip.open(tmp_path / "en.gz", "wt") as file:
        file.write("one\ntwo\n")
    pairs = list(read_pairs(tmp_path / "en.gz", write(tmp_path / "de", ["eins", "zwei"])))
    assert pairs == [("one", "eins"), ("two", "zwei")]


@pytest.mark.parametrize(
    ("target", "test", "sentence"),
    [
        (["a", "b"], 1, "en has more lines than .*de"),
        (["a", "b", "c", "d"], 1, "de has more lines than .*en"),
        (["a", "b", "c"], 3, "have 3 pairs, and --test 3 of them"),
        (["a", "a", "a"], 2, "have 3 pairs, and --test 2 of them"),
        (
            ['{"text": "a"}', '{"text": "b"}', '{"text": "c"}'],
            1,
            "de is JSON Lines, not running text",
        ),
        (["id,text", "1,a", "2,b"], 1, r"de is a table \(CSV\), not running text"),
    ],
)
def test_bad_input_is_one_sentence(target, test, sentence, tmp_path, capsys):
    source = write(tmp_path / "en", ["1", "2", "3"])
    assert split(source, write(tmp_path / "de", target), test, tmp_path / "out") == 2
    assert re.search(f"^fairseq-minimodel: error: .*{sentence}.*\n$", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
