"""An exported tokenizer normalises as SentencePiece: letters in parts, compatibility forms, marks."""

import json
import lzma
import random
import unicodedata

import pytest
import sentencepiece
from support.huggingface_models import is_a_tie, train_sentencepiece

from fairseq_minimodel.corpus.prepare import prepare
from fairseq_minimodel.interop.normaliser import mapping_steps, read_rules
from fairseq_minimodel.interop.tokenizer import fast_tokenizer
from fairseq_minimodel.packs.pack import LanguagePack
from fairseq_minimodel.vocabulary.sentencepiece_model import read_model
from fairseq_minimodel.vocabulary.tokenizers import (
    MASK_SYMBOL,
    SENTENCEPIECE_FILE,
    SPECIAL_SYMBOLS,
    Vocabulary,
    write_dictionary,
)

tokenizers = pytest.importorskip("tokenizers")

# Letters of words, as Unicode composes them: consonants, and what may follow them.
HANGUL = [
    chr(0xAC00 + 588 * first + 28 * vowel + end)
    for first in range(19)
    for vowel in (0, 4, 8, 20)
    for end in (0, 4, 16)
]


def letters(first, last):
    return [chr(code) for code in range(first, last)]


SCRIPTS = {
    "Hangul": (HANGUL,),
    "Kannada": (letters(0xC95, 0xCA8), "\u0cbe\u0cbf\u0cc0\u0cc6\u0cc7\u0cc8\u0cca\u0ccb"),
    "Sinhala": (letters(0xD9A, 0xDA8), "\u0dcf\u0dd9\u0dda\u0ddc\u0ddd\u0dde"),
    "Tamil": ("\u0b95\u0b9a\u0b9f\u0ba3\u0ba4\u0ba8", "\u0bbe\u0bc6\u0bc7\u0bca\u0bcb\u0bcc"),
    "Bengali": (letters(0x995, 0x9A8), "\u09be\u09bf\u09c7\u09c8\u09cb\u09cc"),
    "Malayalam": (letters(0xD15, 0xD28), "\u0d3e\u0d46\u0d47\u0d4a\u0d4b\u0d4c"),
    "Oriya": (letters(0xB15, 0xB28), "\u0b3e\u0b47\u0b48\u0b4b\u0b4c"),
    "Burmese": ("\u1000\u1001\u1002\u1025\u1026", "\u102c\u102d\u102e"),
    "Devanagari": ("\u0915\u0928\u0929\u0930\u0931\u0933\u0934", "\u093e\u093f\u0940"),
    "Arabic": ("\u0627\u0622\u0623\u0624\u0625\u0626\u0628\u0644", "\u064b\u064e\u0650\u0651"),
    "Hebrew": ("\u05d0\u05d1\u05d2\u05e9", "\u05b4\u05b7\u05bc\u05c1"),
    "Japanese": ("\u304b\u304c\u306f\u3070\u3071\u30a6\u30f4\u30ab\u30ac\u30cf\u30d1",),
    "Vietnamese": ("bcdghmnt", "a\u00e1\u1ea1\u1ea5\u1ead\u1ec7\u1ebf\u1ee3\u1edb\u1ef1"),
    "Greek": ("\u03ba\u03bb\u03bc", "\u03ac\u03ad\u1f00\u1f04\u1f84\u1f97\u1fa7\u1fb3\u1ff7"),
    "Balinese": ("\u1b13\u1b14\u1b15\u1b06\u1b08", "\u1b35\u1b3e\u1b40\u1b41"),
    "Cyrillic": ("\u043a\u043b\u043c", "\u0438\u0439\u0451\u0457\u04d1"),
}  # fmt: skip
MARKS = "\u0301\u0302\u0308\u0323\u0345\u064e\u0651\u0653\u093c\u0bbe\u0cd5\u3099\u1161\u11ab\uff9e"


def words_of(script, generator, count):
    parts = SCRIPTS[script]
    return [
        "".join(generator.choice(part) for _ in range(generator.randint(1, 3)) for part in parts)
        for _ in range(count)
    ]


def forms_of(words, generator):
    """The words decomposed, in compatibility forms, and with marks in places that no writer chose."""
    compatibility = {}
    for form in map(chr, range(0xA0, 0x30000)):
        if unicodedata.decomposition(form).startswith("<"):
            compatibility.setdefault(unicodedata.normalize("NFKD", form), []).append(form)
    for word in words:
        apart = unicodedata.normalize("NFD", word)
        yield apart
        yield unicodedata.normalize("NFKC", word)
        yield "".join(generator.choice(compatibility.get(part, [part])) for part in apart)
        place = generator.randint(0, len(apart))
        yield apart[:place] + generator.choice(MARKS) + apart[place:]
        yield "".join(part + generator.choice(["", "", "", *MARKS]) for part in word)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """One vocabulary for words of all scripts: with SentencePiece, and as it is exported."""
    folder, generator = tmp_path_factory.mktemp("pack"), random.Random(6)
    texts = [" ".join(words_of(script, generator, 5)) for script in SCRIPTS for _ in range(100)]
    path = folder / "sentencepiece.bpe.model"
    train_sentencepiece(path, texts, 3000, character_coverage=1.0)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = [processor.id_to_piece(index) for index in range(3, len(processor))]
    write_dictionary(folder / "dict.txt", pieces, [1] * len(pieces))
    pack = LanguagePack(None, None, [*SPECIAL_SYMBOLS, *pieces, MASK_SYMBOL], folder)
    content = fast_tokenizer(pack, pack.symbols)
    exported = tokenizers.Tokenizer.from_str(json.dumps(content))
    return Vocabulary(pack.tokenizer, pack.dictionary), exported, processor


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.slow
def test_letters_in_parts_have_the_ids_of_sentencepiece(script, both):
    vocabulary, exported, processor = both
    generator = random.Random(7)
    texts = list(forms_of(words_of(script, generator, 100), generator))
    ours = vocabulary.encode_batch(texts)
    assert sum(3 not in ids for ids in ours[::5]) > 15  # decomposed, of letters it has
    theirs = exported.encode_batch(texts, add_special_tokens=False)
    differing = [
        (text, ids.tolist(), encoding.ids)
        for text, ids, encoding in zip(texts, ours, theirs, strict=True)
        if ids.tolist() != encoding.ids
    ]
    assert len(differing) < 8  # of 500, each between two ways of the same score
    for text, ids, other in differing:
        assert is_a_tie(ids, other, processor), ascii(text)


@pytest.mark.slow
def test_a_vocabulary_that_folds_case_has_the_same_ids_on_real_text(shared_data, tmp_path):
    """As it is written, in capitals, and decomposed: German, Greek, Turkish and Vietnamese."""
    texts = []
    for language in ("de", "el", "tr", "vi"):
        with lzma.open(shared_data / f"mono/{language}/common-voice.txt.xz", "rt") as file:
            lines = [line.strip() for line, _ in zip(file, range(500), strict=False)]
        (tmp_path / f"{language}.txt").write_text("\n".join(lines))
        texts += [*lines, *map(str.upper, lines), *(unicodedata.normalize("NFD", x) for x in lines)]
    files = sorted(tmp_path.glob("*.txt"))
    prepare(
        files,
        tmp_path / "data",
        workers=1,
        vocabulary_size=1000,
        case="fold",
        document_per_line=True,
    )
    vocabulary = Vocabulary(tmp_path / "data" / SENTENCEPIECE_FILE, tmp_path / "data/dict.txt")
    symbols = [*vocabulary.symbols, MASK_SYMBOL]
    pack = LanguagePack(None, None, symbols, tmp_path / "data")
    exported = tokenizers.Tokenizer.from_str(json.dumps(fast_tokenizer(pack, symbols)))
    theirs = exported.encode_batch(texts, add_special_tokens=False)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(pack.tokenizer))
    differing = [
        text
        for text, ids, other in zip(texts, vocabulary.encode_batch(texts), theirs, strict=True)
        if ids.tolist() != other.ids and not is_a_tie(ids.tolist(), other.ids, processor)
    ]
    assert not differing
    assert vocabulary.encode(lines[0]).tolist() == vocabulary.encode(lines[0].upper()).tolist()


@pytest.mark.parametrize("rule", ["nmt_nfkc", "nfkc_cf"])
@pytest.mark.slow
def test_every_rule_is_kept_wherever_it_meets_others(rule, tmp_path):
    """Rules of all kinds, whole and cut off, marks and other characters, side by side."""
    train_sentencepiece(tmp_path / "a.model", ["a b c"] * 9, 9, normalization_rule_name=rule)
    model = read_model(tmp_path / "a.model")
    rules = read_rules(model.characters)
    kinds = {}  # of rules: by how many characters they have, and of which scripts
    for key in sorted(rules):
        kind = tuple(unicodedata.name(character, "?").split()[0] for character in key)
        kinds.setdefault(kind, []).append(key)
    kinds = list(kinds.values())
    everything = [
        chr(code)
        for code in range(0x20, 0x20000)
        if not (0xD800 <= code < 0xE000 or code in (0xFDD0, 0xFDD1))
    ]
    marks = [one for one in everything if unicodedata.category(one)[0] == "M"]
    generator = random.Random(5)

    def part():
        key = generator.choice(generator.choice(kinds))
        return generator.choice([key, key, key[: generator.randint(1, len(key))],
                                 generator.choice(marks), generator.choice(everything)])  # fmt: skip

    steps = {"type": "Sequence", "normalizers": mapping_steps(model.characters, set(everything))}
    differing = compare(
        steps, tmp_path / "a.model", ["".join(part() for _ in range(4)) for _ in range(4000)]
    )
    assert not differing


def test_rules_of_the_users_own_are_kept(tmp_path):
    """The longest one, of characters that Unicode knows nothing about."""
    rules = {"ab": "c", "abd": "e\u0301", "\u0958": "x", "e\u0301": "y", "q": "", "\u1100": "z"}
    (tmp_path / "rules.tsv").write_text(
        "".join("\t".join(" ".join(f"{ord(one):X}" for one in side) for side in pair) + "\n"
                for pair in rules.items())
    )  # fmt: skip
    train_sentencepiece(
        tmp_path / "a.model", ["a b c"] * 9, 9, normalization_rule_tsv=str(tmp_path / "rules.tsv")
    )
    model = read_model(tmp_path / "a.model")
    assert read_rules(model.characters) == rules
    generator = random.Random(5)
    parts = [*rules, *"abcdeqxyz", "\u0301", "\u1161", "\u11a8", "\u0915\u093c", "\u0929"]
    texts = ["".join(generator.choices(parts, k=6)) for _ in range(3000)]
    alphabet = set("".join([*parts, *rules.values()]))
    steps = {"type": "Sequence", "normalizers": mapping_steps(model.characters, alphabet)}
    assert not compare(steps, tmp_path / "a.model", texts)


def compare(steps, path, texts):
    """The texts that the library's steps and SentencePiece make different things of, but for spaces."""
    normaliser = tokenizers.Tokenizer.from_str(
        json.dumps({"version": "1.0", "added_tokens": [], "normalizer": steps,
                    "model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]]}})
    ).normalizer  # fmt: skip
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return [
        ascii(text)
        for text in texts
        if processor.normalize(text).replace("\u2581", " ").split()
        != normaliser.normalize_str(text).replace("\u2581", " ").split()
    ]
