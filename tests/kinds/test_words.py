"""Words to tokens: each has a first one of its own; and windows that cut none."""

import random

import numpy
import pytest
import sentencepiece

from fairseq_minimodel.kinds.tagged import read_tagged_file
from fairseq_minimodel.kinds.windows import AligningVocabulary
from fairseq_minimodel.kinds.words import (
    NO_PIECE,
    WordTokens,
    encode_text,
    encode_words,
    word_windows,
    words_of_text,
)
from fairseq_minimodel.vocabulary.tokenizers import (
    dictionary_pieces,
    load_sentencepiece,
    write_dictionary,
)


def make_vocabulary(folder, texts, size, **options):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=str(folder / "spm"), vocab_size=size,
        minloglevel=2, hard_vocab_limit=False, **options,
    )  # fmt: skip
    pieces = [piece for piece, _ in dictionary_pieces(load_sentencepiece(folder / "spm.model"))]
    write_dictionary(folder / "dict.txt", pieces, [1] * len(pieces))
    return AligningVocabulary(folder / "spm.model", folder / "dict.txt")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    texts = ["do not don't stop, (a dog) in New York. bắt chuyện dont't don't don't"] * 30
    return make_vocabulary(tmp_path_factory.mktemp("words"), texts, 60)


def pieces(vocabulary, encoded):
    return [vocabulary.symbols[index] for index in encoded.ids]


def of_word(vocabulary, encoded, number):
    """The tokens from a word's first one to the next word's."""
    firsts = [*encoded.firsts[encoded.firsts != NO_PIECE], len(encoded.ids)]
    place = firsts.index(encoded.firsts[number])
    tokens = pieces(vocabulary, encoded)[firsts[place] : firsts[place + 1]]
    return "".join(tokens).replace("\u2581", " ").strip()


def test_words_are_the_tokens_of_their_text(vocabulary):
    words, blanks = (
        ["(", "a", "dog", ")", "in", "York", "."],
        [True, False, True, False] + [True] * 2,
    )
    encoded = encode_words(words, [*blanks, False], vocabulary)
    assert encoded.ids.tolist() == vocabulary.encode("(a dog) in York.").tolist()
    assert [of_word(vocabulary, encoded, number) for number in range(7)] == words
    apart = encode_words(words, [True] * 7, vocabulary)
    assert apart.ids.tolist() == vocabulary.encode(" ".join(words)).tolist() != encoded.ids.tolist()


def test_a_token_never_reaches_over_the_end_of_a_word(vocabulary):
    whole = [vocabulary.symbols[index] for index in vocabulary.encode("do don't stop")]
    assert "\u2581don" in whole  # a piece that has a part of "n't"
    encoded = encode_words(["do", "do", "n't", "stop"], [True, True, False, True], vocabulary)
    assert [of_word(vocabulary, encoded, number) for number in range(4)] == [
        "do", "do", "n't", "stop",
    ]  # fmt: skip
    assert len(set(encoded.firsts.tolist())) == 4


def test_a_word_that_normalises_to_nothing_has_no_token(vocabulary):
    encoded = encode_words(["a", "\u200b", "dog"], [True] * 3, vocabulary)
    assert encoded.firsts[1] == NO_PIECE and of_word(vocabulary, encoded, 2) == "dog"
    assert encode_words(["\u200b"], [True], vocabulary).firsts.tolist() == [NO_PIECE]
    assert encode_words([], [], vocabulary).ids.shape == (0,)
    inside = encode_words(["bắt chuyện", "a"], [True, True], vocabulary)
    assert of_word(vocabulary, inside, 0) == "bắt chuyện"


def test_plain_text_is_encoded_as_it_stands(vocabulary):
    text = ' "Don\'t stop,"  (a dog) in U.S. ...\n'
    places = words_of_text(text)
    assert [text[begin:end] for begin, end in places] == [
        '"', "Don't", "stop", ",", '"', "(", "a", "dog", ")", "in", "U.S", ".", ".", ".", ".",
    ]  # fmt: skip
    encoded = encode_text(text, places, vocabulary)
    assert encoded.ids.tolist() == vocabulary.encode(text).tolist()
    assert len(encoded.firsts) == len(places) and (encoded.firsts != NO_PIECE).all()
    assert words_of_text("") == words_of_text(" \n") == []


@pytest.mark.parametrize("name", ["pos/ar_pud-ud-test.conllu", "pos/vi_vtb-ud-test.conllu"])
def test_every_word_of_real_text_has_a_token(shared_data, tmp_path, name):
    """Arabic, where clitics stand without a blank; Vietnamese, whose words have blanks inside."""
    sentences = read_tagged_file(shared_data / f"tagging/{name}.xz")[:150]
    vocabulary = make_vocabulary(tmp_path, [" ".join(one.words) for one in sentences], 1500)
    for sentence in sentences:
        encoded = encode_words(sentence.words, sentence.blanks, vocabulary)
        assert len(set(encoded.firsts.tolist())) == len(sentence.words)
        assert (numpy.diff(encoded.firsts) > 0).all() and encoded.firsts[-1] < len(encoded.ids)


def test_windows_cut_no_word_and_lose_none():
    generator = random.Random(1)
    for _ in range(1000):
        sizes = generator.choices((0, 1, 1, 2, 3, 9), k=generator.randint(0, 30))
        lead = generator.choice((0, 0, 1))
        begins = numpy.cumsum([lead, *sizes])
        firsts = [begin if size else NO_PIECE for begin, size in zip(begins, sizes, strict=False)]
        ids, longest = numpy.arange(10, 10 + begins[-1]), generator.randint(3, 14)
        asked = []
        for window in word_windows(WordTokens(ids, numpy.array(firsts, int)), longest):
            assert len(window.ids) <= longest and window.ids[0] == 0 and window.ids[-1] == 2
            for word, place in zip(window.words, window.firsts, strict=True):
                size = min(sizes[word], longest - 2)  # a longer word is cut
                own = ids[firsts[word] : firsts[word] + size]
                assert window.ids[place : place + size].tolist() == own.tolist()
                asked.append(word)
        assert asked == [number for number, size in enumerate(sizes) if size]


def test_in_a_long_sentence_a_word_has_words_on_both_sides():
    windows = word_windows(WordTokens(numpy.arange(10, 110), numpy.arange(100)), 22)
    assert len(windows) == 9
    for before, window in zip(windows, windows[1:], strict=False):
        assert window.firsts[0] >= 5 and len(before.ids) - 2 - before.firsts[-1] >= 5
