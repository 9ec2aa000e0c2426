"""Readers of tagged sentences: each form as it is published, and what is left out of it."""

import json
import lzma
from collections import Counter

import pytest

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.kinds.tagged import blanks_in, read_tagged_file, running_text

CONLLU = """\
# sent_id = 1
# text = Ich gehe zum (See).
1\tIch\tich\tPRON\tPPER\t_\t2\tnsubj\t_\t_
2\tgehe\tgehen\tVERB\tVVFIN\t_\t0\troot\t_\t_
3-4\tzum\t_\t_\t_\t_\t_\t_\t_\t_
3\tzu\tzu\tADP\tAPPR\t_\t6\tcase\t_\t_
4\tdem\tder\tDET\tART\t_\t6\tdet\t_\t_
5\t(\t(\tPUNCT\t$(\t_\t6\tpunct\t_\tSpaceAfter=No
6\tSee\tSee\tNOUN\tNN\t_\t2\tobl\t_\tLId=1|SpaceAfter=No
6.1\tist\tsein\tAUX\t_\t_\t_\t_\t_\t_
7\t)\t)\tPUNCT\t$(\t_\t6\tpunct\t_\tSpaceAfter=No
8\t.\t.\tPUNCT\t$.\t_\t2\tpunct\t_\t_

# sent_id = 2
1-2\tdell'\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
1\tdi\tdi\tADP\t_\t_\t_\t_\t_\t_
2\tla\til\tDET\t_\t_\t_\t_\t_\t_
3\tora\tora\tNOUN\t_\t_\t_\t_\t_\t_
4\tbắt chuyện\t_\tVERB\t_\t_\t_\t_\t_\t_

1\tnobody\t_\t_\t_\t_\t_\t_\t_\t_
2\tknows\tknow\tVERB\t_\t_\t_\t_\t_\t_
"""
IOB2 = """\
# sent_id = a
# text = In "New York".
1\tIn\tO\t-\tx
2\t"\tO\t-\tx
3\tNew\tB-LOC\t-\tx
4\tYork\tI-LOC\t-\tx
5\t"\tO\t-\tx
6\t.\tO\t-\tx

1\tHi\tO\t-\tx
"""


def read(tmp_path, text, name="file.txt"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_tagged_file(path)


def spoken(sentence):
    return running_text(sentence.words, sentence.blanks)[0]


def test_conllu_has_its_syntactic_words_and_the_blanks_of_its_text(tmp_path, caplog):
    first, second = read(tmp_path, CONLLU)
    assert first.words == ("Ich", "gehe", "zu", "dem", "(", "See", ")", ".")
    assert first.tags == ("PRON", "VERB", "ADP", "DET", "PUNCT", "NOUN", "PUNCT", "PUNCT")
    assert spoken(first) == "Ich gehe zu dem (See)." and first.line == 1
    # the blank after a multiword token is that of its range, not that of its last word
    assert spoken(second) == "di laora bắt chuyện" and second.words[3] == "bắt chuyện"
    assert "1 sentences are left out: unlabelled" in caplog.text


def test_iob2_has_the_blanks_of_its_comment(tmp_path):
    first, second = read(tmp_path, IOB2)
    assert first.tags == ("O", "O", "B-LOC", "I-LOC", "O", "O")
    assert spoken(first) == 'In "New York".' and second.words == ("Hi",)


@pytest.mark.parametrize(
    "text",
    [
        "-DOCSTART- -X- -X- O\n\nNew NNP B-NP B-LOC\n# NN B-NP O\n\n\nHi UH O O\n",
        "New B-LOC \n# O\n\nHi O",
        "New\tB-LOC\n#\tO\n\nHi\tO\n",
        "en:New\tB-LOC\nen:#\tO\n\nen:Hi\tO\n",
        '{"words": ["New", "#"], "tags": ["B-LOC", "O"]}\n{"tokens": ["Hi"], "tags": ["O"]}\n',
    ],
)
def test_words_with_their_tags(tmp_path, text, caplog):
    first, second = read(tmp_path, text)
    assert (first.words, first.tags) == (("New", "#"), ("B-LOC", "O"))
    assert (second.words, second.tags) == (("Hi",), ("O",))
    assert first.blanks == (True, True) and not caplog.records


def test_words_of_json_may_come_with_their_text(tmp_path):
    row = {"words": ["Hi", "!", "No"], "tags": ["O"] * 3, "text": "Hi!  No"}
    [sentence] = read(tmp_path, json.dumps(row))
    assert sentence.blanks == (True, False, True)


def test_words_that_are_not_those_of_the_text_stand_apart():
    assert blanks_in("zum See.", ["zu", "dem", "See", "."]) == (True,) * 4
    assert blanks_in(" a  b c", ["a", "b c"]) == (True, True)
    assert running_text([], []) == ("", [])
    assert running_text(["a", "b", "c"], [False, False, True]) == ("ab c", [0, 1, 3])


def test_a_sentence_with_an_empty_word_is_counted(tmp_path, caplog):
    [kept] = read(tmp_path, "a O\n O\n\nb O\n")
    assert kept.words == ("b",) and "1 sentences are left out: with an empty word" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\nb\n", "line 2: 'b' is not a word and its tag"),
        ("1\ta\tO\t-\t-\n2\tb\n", "line 2: 2 columns, and 3 are due"),
        (CONLLU + "\n1\ta\tb\tNOUN\n", "line 24: 4 columns, and 10 are due"),
        ("en:a\tO\nb\tO\n", r"line 2: 'b\\tO' does not begin with its language"),
        ('{"words": ["a"], "tags": ["O", "O"]}\n', "line 1: 1 words and 2 tags"),
        ('{"words": "a", "tags": ["O"]}\n', "line 1: no list of texts under the key 'words'"),
        ('{"words": ["\\ud800"], "tags": ["O"]}\n', "line 1"),
        ("\n\n", "holds no sentence with tags"),
        ("# text = a\n", "holds no sentence with tags"),
    ],
)
def test_what_is_refused_is_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


# Sentences, and the count of each tag, by awk.
PACK = {
    "ner/de_pud-ud-test.iob2": (
        1000,
        "B-PER 418 I-PER 200 B-LOC 429 B-ORG 192 I-ORG 138 I-LOC 118 O 19836",
    ),
    "ner/en_ewt-ud-dev.iob2": (
        2001,
        "B-PER 343 I-PER 196 B-LOC 399 B-ORG 224 I-LOC 148 I-ORG 186 O 23653",
    ),
    "ner/en_ewt-ud-test.iob2": (
        2077,
        "B-PER 449 I-PER 243 B-LOC 317 B-ORG 322 I-ORG 276 I-LOC 72 O 23418",
    ),
    "ner/sw_masakhaner2-dev.txt": (
        942,
        "B-PER 564 I-PER 396 B-LOC 813 I-LOC 200 B-ORG 337 I-ORG 313 B-DATE 304 I-DATE 204 O 22120",
    ),
    "ner/sw_masakhaner2-test.txt": (
        1883,
        "B-PER 1180 I-PER 770 B-LOC 1924 I-LOC 462 B-ORG 628 I-ORG 675 B-DATE 597 "
        "I-DATE 370 O 44573",
    ),
    "pos/ar_pud-ud-test.conllu": (
        1000,
        "ADJ 2026 ADP 3576 ADV 404 AUX 186 CCONJ 653 DET 166 NOUN 5578 NUM 371 PART 566 "
        "PRON 1299 PROPN 1728 PUNCT 2226 SCONJ 187 SYM 30 VERB 1750 X 1",
    ),
    "pos/de_pud-ud-test.conllu": (
        1000,
        "ADJ 1413 ADP 2107 ADV 1106 AUX 872 CCONJ 742 DET 3095 NOUN 4190 NUM 356 "
        "PART 233 PRON 980 PROPN 1218 PUNCT 2771 SCONJ 327 SYM 22 VERB 1870 X 30",
    ),
    "pos/el_gdt-ud-test.conllu": (
        456,
        "ADJ 883 ADP 864 ADV 448 AUX 476 CCONJ 363 DET 2016 NOUN 2304 NUM 156 PART 70 "
        "PRON 367 PROPN 325 PUNCT 1093 SCONJ 178 VERB 1002 X 127",
    ),
    "pos/en_lines-ud-dev.conllu": (
        1118,
        "ADJ 1415 ADP 2176 ADV 1137 AUX 1209 CCONJ 712 DET 2028 INTJ 33 NOUN 3936 "
        "NUM 118 PART 534 PRON 2273 PROPN 633 PUNCT 2551 SCONJ 358 SYM 2 VERB 2506 X 16",
    ),
    "pos/en_lines-ud-test.conllu": (
        1121,
        "ADJ 1320 ADP 1949 ADV 1059 AUX 1127 CCONJ 606 DET 1839 INTJ 39 NOUN 3566 "
        "NUM 142 PART 533 PRON 2097 PROPN 599 PUNCT 2438 SCONJ 339 VERB 2326 X 5",
    ),
    "pos/en_lines-ud-train.conllu": (
        3457,
        "ADJ 4019 ADP 6376 ADV 3542 AUX 3596 CCONJ 2039 DET 6054 INTJ 106 NOUN 11444 "
        "NUM 431 PART 1699 PRON 6823 PROPN 1848 PUNCT 7807 SCONJ 1144 SYM 4 VERB 7725 "
        "X 27",
    ),
    "pos/sw_masakhane-dev.txt": (
        138,
        "ADJ 732 ADP 246 ADV 221 AUX 75 CCONJ 105 DET 2 NOUN 1113 NUM 73 PART 28 PRON 35 "
        "PROPN 313 PUNCT 324 SCONJ 182 VERB 368",
    ),
    "pos/sw_masakhane-test.txt": (
        553,
        "ADJ 3181 ADP 1050 ADV 854 AUX 351 CCONJ 427 DET 16 NOUN 4790 NUM 212 PART 100 "
        "PRON 134 PROPN 1583 PUNCT 1292 SCONJ 631 VERB 1452 X 1",
    ),
    "pos/vi_vtb-ud-test.conllu": (
        800,
        "ADJ 719 ADP 645 ADV 1020 AUX 242 CCONJ 144 DET 161 INTJ 17 NOUN 3029 NUM 269 "
        "PART 89 PRON 531 PROPN 560 PUNCT 1703 SCONJ 382 SYM 7 VERB 2134 X 40",
    ),
}


@pytest.mark.parametrize("name", PACK)
def test_every_file_of_the_data_pack(shared_data, name, caplog):
    count, tags = PACK[name]
    found = read_tagged_file(shared_data / f"tagging/{name}.xz")
    numbers = tags.split()
    expected = dict(zip(numbers[::2], map(int, numbers[1::2]), strict=True))
    assert len(found) == count
    assert Counter(tag for sentence in found for tag in sentence.tags) == expected
    assert not caplog.records  # nothing is left out


@pytest.mark.parametrize(
    ("name", "blanks"), [("pos/ar_pud-ud-test.conllu", 4833), ("pos/vi_vtb-ud-test.conllu", 0)]
)
def test_words_without_a_blank_before_them(shared_data, name, blanks):
    found = read_tagged_file(shared_data / f"tagging/{name}.xz")
    assert sum(not blank for sentence in found for blank in sentence.blanks) == blanks
    with lzma.open(shared_data / f"tagging/{name}.xz", "rt", encoding="utf-8") as file:
        texts = [line.partition("=")[2].strip() for line in file if line.startswith("# text =")]
    same = sum(spoken(one) == text for one, text in zip(found, texts, strict=True))
    assert same > 0.95 * len(texts), same
