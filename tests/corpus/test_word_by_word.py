"""Sentences translated word by word: which words are taken together, drawn, kept and left out."""

import json
import random
import re
from collections import Counter

import pytest

from fairseq_minimodel.cli import main
from fairseq_minimodel.corpus.word_by_word import sample


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.fixture
def translate(tmp_path):
    """Runs the verb: what came of each sentence."""

    def run(entries, sentences, *options):
        dictionary = write(tmp_path / "words.tsv", *("\t".join(entry) for entry in entries))
        text = write(tmp_path / "text.txt", *sentences)
        output = tmp_path / "out"
        options = [f"--dictionary={dictionary}", f"--output={output}", "--text", text, *options]
        assert main(["translate-words", *options]) == 0
        sides = [(output / f"sentences.{side}").read_text() for side in ("source", "target")]
        assert all(side.endswith("\n") for side in sides)
        return dict(zip(*(side.splitlines() for side in sides), strict=True))

    return run


ENTRIES = [
    ("the", "der"), ("old", "alt"), ("house", "Haus"), ("burn", "brennt"), ("burn down", "brennt ab"),
    ("of course", "natürlich"), ("quick", "schnell"),
]  # fmt: skip


def test_the_most_words_in_a_row_are_translated_at_once(translate):
    found = translate(ENTRIES, ["The old house, of course, burn down.", "Old the house quick burn"])
    assert found == {
        "The old house, of course, burn down.": "der alt Haus , natürlich , brennt ab .",
        "Old the house quick burn": "alt der Haus schnell brennt",
    }


def test_a_word_is_found_without_its_ending_and_never_with_less_than_four_letters(translate):
    sentence = "The old houses burned quickly quicklyest their"
    [found] = translate(ENTRIES, [sentence], "--known=0.5").values()
    # burned: burn; quickly: quick; quicklyest has five letters more; their would be the
    assert found == "der alt Haus brennt schnell"


def test_names_numbers_and_marks_are_kept_and_other_words_left_out(translate):
    sentence = "Yesterday the old house of Anna-Lena burned 1,200 times!"
    [found] = translate(ENTRIES, [sentence], "--known=0.3").values()
    assert found == "der alt Haus Anna - Lena brennt 1 , 200 !"


@pytest.mark.parametrize(("known", "count"), [("0.75", 1), ("0.76", 0), ("0.5", 2)])
def test_a_sentence_has_enough_words_of_the_list(known, count, translate):
    sentences = ["The old house yonder.", "The old hut yonder.", "The house burned.", "the " * 41]
    always = "Old old old old"
    found = translate(ENTRIES, [*sentences, always], f"--known={known}")
    assert set(found) == {*sentences[:count], always}  # the third is short, the fourth long


def test_of_several_translations_the_frequent_one_is_drawn_most(translate, tmp_path):
    entries = [("bank", "Bank"), ("bank", "Ufer"), ("bank", "am Bank"), ("bank", "Geldhaus")]
    text = write(tmp_path / "de.txt", "Das Ufer. Am UFER, am Ufer!", "Eine Bank am Fluss")
    sentence = "bank " * 40
    [drawn] = translate(entries, [sentence]).values()
    assert {word: drawn.split().count(word) > 0 for word in ("Bank", "Ufer", "am", "Geldhaus")} == (
        dict.fromkeys(("Bank", "Ufer", "am", "Geldhaus"), True)
    )
    sentences = [f"bank bank bank bank {number}" for number in range(1000)]
    found = translate(entries, sentences, "--target-text", text)
    words = " ".join(found.values()).split()
    counts = [sum(word == one for word in words) / 4000 for one in ("Ufer", "am", "Geldhaus")]
    # Ufer stands there 3 times, the rarest word of "am Bank", in which are two, once
    total = 3.01 + 1.01 + 1.01 / 4 + 0.01
    assert counts == pytest.approx([3.01 / total, 1.01 / 4 / total, 0.01 / total], abs=0.03)


def test_the_seed_decides_what_is_drawn(translate):
    entries, sentences = [("a", "eins"), ("a", "zwei")], ["a " * 20]
    drawn = [translate(entries, sentences, f"--seed={seed}") for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_sentences_are_drawn_from_all_the_text(translate, tmp_path):
    documents = [{"text": "old old old one. The old old two!\nold old old three"}, {"text": "x"}]
    more = write(tmp_path / "more.jsonl", *map(json.dumps, documents))
    sentences = [f"old old old {name}" for name in ("first", "second")]
    found = translate(ENTRIES, sentences, more)
    assert {one.split()[-1].strip(".!") for one in found} == {
        "first", "one", "two", "three", "second",
    }  # fmt: skip
    assert len(translate(ENTRIES, sentences, more, "--sentences=3")) == 3


def test_each_item_is_drawn_with_the_same_probability_and_in_any_order():
    draw, counts, firsts = random.Random(1), Counter(), Counter()
    for _ in range(6000):
        chosen = sample("abcdef", 3, draw)
        assert len(set(chosen)) == 3
        counts.update(chosen)
        firsts.update(chosen[0])
    assert list(counts.values()) == [pytest.approx(3000, abs=160)] * 6  # 4 standard deviations
    assert list(firsts.values()) == [pytest.approx(1000, abs=120)] * 6
    assert sorted(sample("abc", 5, draw)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("words", "text", "message"),
    [
        ("the\tder\n", "Nothing is known of these words.\n", "no sentence has 70 % of its words"),
        ("the der\n", "The the the the.\n", "words.tsv.*a tab"),
        ("", "The the the the.\n", "words.tsv"),
        ("the\tder\n", None, "no.txt"),
    ],
)
def test_bad_input_is_one_sentence(words, text, message, tmp_path, capsys):
    (tmp_path / "words.tsv").write_text(words)
    if text:
        (tmp_path / "no.txt").write_text(text)
    given = ["--dictionary", tmp_path / "words.tsv", "--text", tmp_path / "no.txt"]
    assert main(["translate-words", *map(str, given), "--output", str(tmp_path / "out")]) == 2
    assert re.search(f"^fairseq-minimodel: error: .*{message}.*\n$", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
