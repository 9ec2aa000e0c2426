import numpy
import pytest
import sentencepiece

from fairseq_minimodel.corpus.indexed import IndexedDatasetWriter, read_split, token_type
from fairseq_minimodel.corpus.text_counts import count_text
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.report.tokenizers import tokenizer_cells
from fairseq_minimodel.vocabulary.symbols import read_symbols
from fairseq_minimodel.vocabulary.tokenizers import EOS, UNK, Vocabulary, write_dictionary

SYMBOLS = ["▁the", "▁ca", "t", "s", "▁", "<0xC3>", "<0xA9>"]  # ids from 4 on
THE, CA, T, S, SPACE, C3, A9 = range(4, 11)
RECORD = {"counts": {"train": {"tokens": 77, "unknown_share": 0.5}}, "shards": 1}


def write_text(prefix, lines, vocabulary_size):
    with IndexedDatasetWriter(prefix, token_type(vocabulary_size)) as writer:
        for line in lines:
            writer.write(numpy.array([*line, EOS]), numpy.array([len(line) + 1]))


@pytest.fixture
def folder(tmp_path):
    write_dictionary(tmp_path / "dict.txt", SYMBOLS, [1] * len(SYMBOLS))
    # the cats / caé ? ("?" unknown, after its space) / the
    write_text(tmp_path / "valid", [[THE, CA, T, S], [CA, C3, A9, SPACE, UNK], [THE]], 12)
    return tmp_path


def test_counts_worked_out_by_hand(folder):
    counts = count_text(read_split(folder / "valid"), read_symbols(folder / "dict.txt"), {THE, T})
    assert counts.tokens == 4 + 5 + 1
    assert counts.words == 2 + 2 + 1
    assert counts.characters == len("the cats") + len("caé ?") + len("the")
    assert counts.unknown == 1
    assert counts.shared == 3


def test_figures_of_a_language(folder):
    source = ["<s>", "<pad>", "</s>", "<unk>", "▁the", "▁s", "t", "<mask>"]
    assert tokenizer_cells(folder, RECORD, source) == [
        "12", "2.00", "1.60", "10.000 %", "50.000 %", "77",
        ("2", "16.7 %"), "30.0 %",  # " the" and "t"; the special symbols are not words
    ]  # fmt: skip
    assert tokenizer_cells(folder, None, []) == ["12", *[""] * 7]  # a pack: no text


def test_counts_equal_those_of_the_text_itself(tmp_path):
    """On a tokenizer of pieces, against SentencePiece and Python's own words and characters."""
    generator = numpy.random.default_rng(1)
    syllables = ["ka", "ri", "to", "mé", "shu", "нэ", "lo", "pa"]
    lines = [
        " ".join("".join(generator.choice(syllables, generator.integers(1, 5))) for _ in range(8))
        for _ in range(300)
    ]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(tmp_path / "sentencepiece.bpe"),
        vocab_size=60, minloglevel=2,
    )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(str(tmp_path / "sentencepiece.bpe.model"))
    pieces = [model.id_to_piece(index) for index in range(3, len(model))]
    write_dictionary(tmp_path / "dict.txt", pieces, [1] * len(pieces))
    vocabulary = Vocabulary(tmp_path / "sentencepiece.bpe.model", tmp_path / "dict.txt")
    write_text(tmp_path / "valid", vocabulary.encode_batch(lines), len(vocabulary))
    counts = count_text(read_split(tmp_path / "valid"), read_symbols(tmp_path / "dict.txt"), set())
    assert counts.tokens == sum(map(len, model.encode(lines)))
    assert counts.words == sum(len(line.split()) for line in lines) == 2400
    assert counts.characters == sum(map(len, lines))
    assert counts.unknown == 0
    assert counts.tokens > 1.2 * counts.words


def test_data_that_does_not_fit_is_refused(folder):
    (folder / "dict.txt").write_text("▁the 1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"valid\.bin has ids beyond its dict\.txt"):
        tokenizer_cells(folder, RECORD, [])
    (folder / "valid.bin").unlink()
    with pytest.raises(InputError, match=r"no .*valid\.bin"):
        tokenizer_cells(folder, RECORD, [])
