"""SentencePiece ids, fairseq ids, and training a vocabulary."""

import io
import json
import lzma
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import sentencepiece
from fairseq.data import Dictionary
from support.generated_text import make_documents

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.vocabulary.tokenizers import (
    SPECIAL_SYMBOLS,
    UNK,
    Vocabulary,
    dictionary_pieces,
    load_sentencepiece,
    read_counts,
    read_dictionary,
    write_dictionary,
)
from fairseq_minimodel.vocabulary.training import train_sentencepiece, write_sample


def train_plainly(texts, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, minloglevel=2, **options
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model with all kinds of pieces, and its dict.txt in another order and without two pieces"""
    folder = tmp_path_factory.mktemp("vocabulary")
    proto = train_plainly(
        make_documents(200),
        vocab_size=150,
        pad_id=1,
        bos_id=5,
        eos_id=3,
        unk_id=9,
        user_defined_symbols=["<mask>", "<extra>"],
        control_symbols=["<control>"],
    )
    (folder / "model").write_bytes(proto)
    pieces = [piece for piece, _ in dictionary_pieces(load_sentencepiece(folder / "model"))]
    write_dictionary(
        folder / "dict.txt", [*pieces[:1:-1], "madeupword0000"], range(len(pieces) - 1)
    )
    return folder / "model", folder / "dict.txt", pieces


def test_no_special_symbol_is_a_dictionary_piece(files):
    model, _, pieces = files
    assert not {"<s>", "<pad>", "</s>", "<unk>", "<mask>", "<control>"} & set(pieces)
    assert "<extra>" in pieces
    assert len(pieces) == len(load_sentencepiece(model)) - 6


def test_ids_are_those_of_fairseq(files):
    model, dictionary, pieces = files
    vocabulary = Vocabulary(model, dictionary)
    theirs = Dictionary.load(str(dictionary))
    assert list(vocabulary.symbols) == theirs.symbols
    assert len(vocabulary) == len(theirs)
    reference = load_sentencepiece(model)
    for text in [*make_documents(20, seed=3), "<extra> <mask>", "ω", ""]:
        expected = [theirs.index(piece) for piece in reference.encode(text, out_type=str)]
        assert vocabulary.encode(text).tolist() == expected
    left_out = load_sentencepiece(model).piece_to_id(pieces[0])
    assert vocabulary._to_fairseq[left_out] == UNK


def test_batches_equal_single_texts(files):
    vocabulary = Vocabulary(*files[:2])
    texts = ["", *make_documents(5), "", "x"]
    batch = vocabulary.encode_batch(texts)
    assert [ids.tolist() for ids in batch] == [vocabulary.encode(text).tolist() for text in texts]
    ids, sizes = vocabulary.encode_flat(texts)
    assert ids.tolist() == np.concatenate(batch).tolist()
    assert sizes.tolist() == [len(ids) for ids in batch]


def test_decode_leaves_out_what_is_no_text(files):
    vocabulary = Vocabulary(*files[:2])
    ids = vocabulary.encode("ab cd").tolist()
    mask, made_up = len(vocabulary), vocabulary.symbols.index("madeupword0000")
    assert vocabulary.decode([0, *ids, mask, made_up, 2, 1]) == vocabulary.decode(ids)
    assert "\u2047" in vocabulary.decode([*ids, UNK])


def test_training_gives_the_same_bytes_again(tmp_path):
    sample = tmp_path / "sample.txt"
    sample.write_text("\n".join(make_documents(2000, types=3000)), encoding="utf-8")
    first, messages = train_sentencepiece(sample, 600, 0.9998)
    assert train_sentencepiece(sample, 600, 0.9998)[0] == first
    assert messages == []
    model = sentencepiece.SentencePieceProcessor(model_proto=first)
    assert len(model) == 600
    assert str(tmp_path).encode() not in first


def test_little_text_gives_a_small_vocabulary_and_a_message(tmp_path):
    sample = tmp_path / "sample.txt"
    sample.write_text("\n".join(make_documents(2000, types=3000)), encoding="utf-8")
    proto, messages = train_sentencepiece(sample, 50_000, 0.9998)
    characters = len(" ".join(sample.read_text(encoding="utf-8").split()))
    size = len(sentencepiece.SentencePieceProcessor(model_proto=proto))
    assert 0.9 * characters // 200 < size <= characters // 200
    assert "instead of 50,000" in messages[0]


@pytest.mark.parametrize(
    "text",
    ["a", "ab ab ab", "1 2 3 4 5 6 7 8 9", "字" * 50, "".join(map(chr, range(0x4E00, 0x5000))),
     "x" * 30_000, "\u2581 <s> <unk> </s>\t\0"],
)  # fmt: skip
def test_any_text_trains(tmp_path, text):
    write_sample([text.encode()], tmp_path / "sample.txt", 1e6)
    proto, _ = train_sentencepiece(tmp_path / "sample.txt", 50_000, 0.9998)
    assert len(sentencepiece.SentencePieceProcessor(model_proto=proto)) > 3


def test_a_sample_is_the_first_texts_with_long_lines_cut(tmp_path):
    texts = [b"one\ntwo", b"word " * 3000, b"three", b"four"]
    size = write_sample(texts, tmp_path / "sample.txt", 15_000)
    data = (tmp_path / "sample.txt").read_bytes()
    assert size == len(data)
    lines = data.split(b"\n")
    assert lines[:2] == [b"one", b"two"]
    assert b"".join(lines[2:]) == texts[1]  # and here 15 kB are reached
    assert 3900 < max(map(len, lines)) <= 4000
    assert all(line.endswith(b"word ") for line in lines[2:-1])


def test_a_size_below_the_characters_is_refused(tmp_path):
    (tmp_path / "sample.txt").write_text("".join(map(chr, range(0x4E00, 0x5000))))
    with pytest.raises(InputError, match="--vocabulary-size 100 is too small.* give at least 533"):
        train_sentencepiece(tmp_path / "sample.txt", 100, 1.0)
    assert train_sentencepiece(tmp_path / "sample.txt", 533, 1.0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a 1\nb\n", "line 2: 'b' is not a symbol"),
        (b"a 1\nb x\n", "line 2: 'b x' is not a symbol"),
        (b"a 1\nb 2\na 3\n", "line 3: the symbol 'a' is there twice"),
        (b"a 1\n<pad> 2\n", "line 2: the symbol '<pad>' is there twice"),
        (b"\xff 1\n", "not UTF-8"),
        (b"", "do not belong together: none of its pieces"),
        (b"nothing 1\nin 1\ncommon 1\n", "do not belong together"),
    ],
)
def test_bad_dictionaries_are_named(files, tmp_path, data, message):
    (tmp_path / "dict.txt").write_bytes(data)
    with pytest.raises(InputError, match=f"dict.txt.*{message}|{message}"):
        Vocabulary(files[0], tmp_path / "dict.txt")


OVERWRITTEN = (  # as CamemBERT's begins
    "<unk> 999 #fairseq:overwrite\n<s> 999 #fairseq:overwrite\n</s> 999 #fairseq:overwrite\n"
    ", 999\n\u2581de 999\ndouble 5\ndouble 4 #fairseq:overwrite\nnew 3 #fairseq:overwrite\na b 2\n"
)


def test_the_flag_of_fairseq_is_read_as_fairseq_reads_it(tmp_path):
    path = tmp_path / "dict.txt"
    path.write_text(OVERWRITTEN, encoding="utf-8")
    theirs = Dictionary.load(str(path))
    assert list(SPECIAL_SYMBOLS) + read_dictionary(path) == theirs.symbols
    assert [count for _, count in read_counts(path)] == theirs.count[theirs.nspecial :]
    write_dictionary(tmp_path / "again.txt", *zip(*read_counts(path), strict=True))
    again = Dictionary.load(str(tmp_path / "again.txt"))
    assert (again.symbols, again.indices, again.count) == (
        theirs.symbols,
        theirs.indices,
        theirs.count,
    )


def test_ids_are_those_of_fairseq_where_all_symbols_are_there_twice(files, tmp_path):
    model, dictionary, _ = files
    path = tmp_path / "dict.txt"
    lines = dictionary.read_text(encoding="utf-8").splitlines()
    again = [f"{line} #fairseq:overwrite" for line in ("<unk> 9", *lines)]
    path.write_text("\n".join([*lines, *again]) + "\n", encoding="utf-8")
    theirs, ours = Dictionary.load(str(path)), Vocabulary(model, path)
    pieces = load_sentencepiece(model)
    for text in make_documents(20):
        line = " ".join(pieces.encode(text, out_type=str))
        expected = [theirs.index(piece) for piece in line.split(" ")]
        found = ours.encode(text).tolist()
        # of text that is not in the vocabulary fairseq's own <unk> remains
        assert [UNK if index == len(lines) + 4 else index for index in expected] == found
        assert max(found) > len(lines) + 4


@pytest.mark.parametrize("flag", ["#fairseq:overwrites", "#overwrite", "#fairseq:overwrite 5 x"])
def test_other_flags_are_refused(flag, tmp_path):
    (tmp_path / "dict.txt").write_text(f"a 1 {flag}\n")
    with pytest.raises(InputError, match="line 1: .* is not a symbol, a space and a count"):
        read_dictionary(tmp_path / "dict.txt")


def test_symbols_with_spaces_are_read_as_fairseq_reads_them(tmp_path):
    (tmp_path / "dict.txt").write_text("a b 1\nc\u00a0 2\n", encoding="utf-8")
    symbols = read_dictionary(tmp_path / "dict.txt")
    assert symbols == Dictionary.load(str(tmp_path / "dict.txt")).symbols[4:] == ["a b", "c\u00a0"]


def test_a_damaged_model_is_named(files, tmp_path):
    (tmp_path / "model").write_bytes(files[0].read_bytes()[:-100])
    for path in (tmp_path / "model", tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            load_sentencepiece(path)


def real_lines(path):
    """Lines of one file of real text."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        if ".jsonl" in path.name:
            for line in file:
                yield from json.loads(line)["text"].split("\n")
        elif ".xml" in path.name:
            for verse in ElementTree.parse(file).iter("seg"):
                yield verse.text or ""
        else:
            yield from file


@pytest.mark.parametrize("language", ["en", "de", "vi", "el", "tr", "sw", "ru", "hi", "ar"])
@pytest.mark.slow
def test_round_trip_in_every_language(shared_data, tmp_path, language):
    """decode(encode(text)) is the text as SentencePiece normalises it, wherever no character is
    unknown; and no more are unknown than the coverage allows."""
    paths = sorted((shared_data / "mono" / language).iterdir())
    lines = []
    for path in paths:
        size = 0
        for line in map(str.strip, real_lines(path)):
            if line and size < 150_000:
                lines.append(line)
                size += len(line.encode())
    sample = tmp_path / "sample.txt"
    sample.write_text("\n".join(lines), encoding="utf-8")
    proto, _ = train_sentencepiece(sample, 50_000, 0.9998)
    (tmp_path / "model").write_bytes(proto)
    model = load_sentencepiece(tmp_path / "model")
    pieces = [piece for piece, _ in dictionary_pieces(model)]
    write_dictionary(tmp_path / "dict.txt", pieces, [1] * len(pieces))
    vocabulary = Vocabulary(tmp_path / "model", tmp_path / "dict.txt")

    known = unknown = characters = 0
    for line, ids in zip(lines, vocabulary.encode_batch(lines), strict=True):
        normalised = model.normalize(line).replace("\u2581", " ").strip()
        characters += len(normalised)
        if UNK in ids:
            unknown += int((ids == UNK).sum())
        else:
            assert vocabulary.decode(ids) == normalised
            known += 1
    assert known > 0.9 * len(lines)
    assert unknown <= 0.0002 * characters + 1
