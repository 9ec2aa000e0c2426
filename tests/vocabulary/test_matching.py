import json

import pytest

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.vocabulary.matching import BYTES, matches, spelled_out, texts

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def test_the_table_of_bytes_is_that_of_gpt2():
    """Characters that can be read in any published vocabulary of GPT-2 or RoBERTa."""
    assert len(BYTES) == 256 and sorted(BYTES.values()) == list(range(256))
    assert (BYTES["Ġ"], BYTES["Ċ"], BYTES["a"], BYTES["Ã"], BYTES["¼"]) == (32, 10, 97, 0xC3, 0xBC)


def test_the_table_of_bytes_is_that_of_fairseq():
    from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

    assert {character: byte for byte, character in bytes_to_unicode().items()} == BYTES


def test_all_families_give_the_same_text():
    sentencepiece = [*SPECIAL, "▁für", "ung", "▁", ",", "▁das", "<0xC3>", "<mask>"]
    # "für" in UTF-8 is f, 0xC3, 0xBC, r
    byte_level = [*SPECIAL, "ĠfÃ¼r", "ung", "Ġ", ",", "Ġdas", "Ã", "<mask>"]
    wordpiece = [*SPECIAL, "für", "##ung", "##s", ",", "das", "<mask>"]
    wanted = [*SPECIAL, " für", "ung", " ", ",", " das", "\udcc3", "<mask>"]
    assert texts(sentencepiece) == texts(byte_level) == wanted
    assert texts(wordpiece) == [*SPECIAL, " für", "ung", "s", ",", " das", "<mask>"]


def test_a_letter_is_no_mark():
    """Ġ is a letter of Maltese: only the mark that begins most symbols counts."""
    assert texts(["▁ġurnata", "▁Malta", "Ġ", "Ġorġ"]) == [" ġurnata", " Malta", "Ġ", "Ġorġ"]
    assert texts(["a", "##", "b"]) == [" a", "##", " b"]


def test_rows_are_matched_by_text_and_special_symbols_by_symbol():
    target = [*SPECIAL, "▁new", "▁old", "ing", "<mask>"]
    source = ["<pad>", "<s>", "</s>", "<unk>", "ing", "Ġold", "Ġolder", "<mask>"]
    assert matches(target, source) == {0: 1, 1: 0, 2: 2, 3: 3, 5: 5, 6: 4, 7: 7}


def test_the_beginning_of_a_word_is_not_its_inside():
    assert matches(["▁in", "in"], ["Ġin", "Ġa"]) == {0: 0}


def test_a_text_that_is_there_twice_counts_where_it_comes_first():
    """WordPiece has punctuation with and without its mark."""
    assert matches(["▁a", "."], ["a", "##.", "."]) == {0: 0, 1: 1}


def test_within_a_family_the_same_string_and_no_other_matches():
    symbols = ["▁a", "a", "▁", "▁▁a", "<0xE2>", "<0x41>", "A", "â"]
    assert matches(symbols, symbols) == {row: row for row in range(len(symbols))}


def test_numbers_are_spelled_out_by_the_bpe_beside_them(tmp_path):
    symbols = [*SPECIAL, "13", "262", "madeupword0000", *map(str, range(500, 520)), "<mask>"]
    (tmp_path / "encoder.json").write_text(json.dumps({".": 13, "Ġthe": 262}))
    spelled = spelled_out(symbols, tmp_path / "dict.txt")
    assert spelled[:7] == [*SPECIAL, ".", "Ġthe", "madeupword0000"] and spelled[-1] == "<mask>"


def test_numbers_alone_are_refused(tmp_path):
    with pytest.raises(InputError, match="encoder.json"):
        spelled_out(["13", "262"], tmp_path / "dict.txt")
    (tmp_path / "encoder.json").write_text("[]")
    with pytest.raises(InputError, match="is not a JSON object"):
        spelled_out(["13", "262"], tmp_path / "dict.txt")


def test_other_symbols_stay(tmp_path):
    symbols = ["▁a", "13", "▁2"]
    assert spelled_out(symbols, tmp_path / "dict.txt") == symbols
