"""Rows from translations: what is read, what is weighted, what is copied, and the commands."""

import lzma
import random
import re

import numpy as np
import pytest
import scipy.sparse
import torch
from conftest import LENGTH, make_sentence, run, state_of, train

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.identity import lineage_of
from fairseq_minimodel.bodies.language_side import EMBEDDING, OUTPUT_BIAS, LanguageSide
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.packs.options import RULES as NAMES
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.packs.start import RULES, Pair
from fairseq_minimodel.packs.start.aligned import Aligned, weights_of
from fairseq_minimodel.packs.start.focus import Focus
from fairseq_minimodel.packs.start.mean import Mean
from fairseq_minimodel.packs.start.translations import Reader, read_translations
from fairseq_minimodel.packs.start.vectors import TokenVectors
from fairseq_minimodel.vocabulary.tokenizers import Vocabulary

SOURCE = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    *(f"▁e{i}" for i in range(20)),
    "▁same",
    "▁case",
    "<mask>",
]
TARGET = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    *(f"▁f{i}" for i in range(9)),
    "▁same",
    "▁CASE",
    "<mask>",
]


def by_formula(counts, source, best=5, enough=1):
    """Each row of the rule, a dimension at a time; None: it has no translation."""
    rows = []
    for column in counts.T.tolist():
        kept = sorted(range(len(column)), key=lambda one: -column[one])[:best]
        total = sum(column[one] for one in kept)
        rows.append(
            [sum(column[one] * value[one] for one in kept) / total for value in source.T.tolist()]
            if total >= enough
            else None
        )
    return rows


def test_a_row_is_the_mean_of_its_five_best_by_their_counts():
    generator = np.random.default_rng(0)
    counts = generator.exponential(size=(12, 40)) * (generator.random((12, 40)) < 0.4)
    counts[:, ::3] *= 0.1  # some reach the count of 1, others do not
    rows = generator.normal(size=(12, 3))
    weights = weights_of(scipy.sparse.csr_array(counts))
    wanted = by_formula(counts, rows)
    assert 5 < sum(row is None for row in wanted) < 30
    for row, found in zip(wanted, weights @ rows, strict=True):
        assert found == pytest.approx([0] * 3 if row is None else row)
    assert np.diff(weights.indptr).max() == 5


def counts_for(*entries):
    counts = np.zeros((len(SOURCE), len(TARGET)))
    for source, target, count in entries:
        counts[SOURCE.index(source), TARGET.index(target)] = count
    return scipy.sparse.csr_array(counts)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    side = LanguageSide(
        torch.randn(len(SOURCE), 6, generator=generator),
        torch.randn(len(SOURCE), generator=generator),
    )
    return Pair.of(side, SOURCE, TARGET, str.lower)


def test_rows_are_aligned_or_else_copied_or_else_of_the_other_rule(pair):
    counts = counts_for(
        ("▁e3", "▁f0", 3.0), ("▁e4", "▁f0", 1.0), ("▁e5", "▁f1", 0.5), ("▁e6", "▁same", 2.0),
        ("▁e7", "<mask>", 9.0),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    vectors = TokenVectors(torch.randn(6, 4, generator=generator), TARGET[4:10], "T")
    side, report = Aligned(pair, generator, counts, Focus(pair, generator, vectors)).start()
    rows = torch.cat([side.embedding, side.bias[:, None]], dim=1)

    def source(symbol):
        return pair.rows[SOURCE.index(symbol)]

    torch.testing.assert_close(rows[TARGET.index("▁f0")], (3 * source("▁e3") + source("▁e4")) / 4)
    assert torch.equal(rows[TARGET.index("▁same")], source("▁e6"))  # not copied
    assert torch.equal(
        rows[TARGET.index("▁CASE")], source("▁case")
    )  # copied: the source folds case
    assert torch.equal(rows[TARGET.index("<mask>")], source("<mask>"))
    # what has a translation and a vector is all that the others are near to
    torch.testing.assert_close(rows[TARGET.index("▁f1")], rows[TARGET.index("▁f0")])
    assert (report.special, report.copied, report.aligned) == (5, 1, 2)
    assert (report.combined, report.without_vector, report.drawn) == (5, 3, 3)
    assert "1 other rows copied, 2 rows aligned, 5 rows combined, 3 rows drawn (3 w" in str(report)


def test_of_a_language_with_two_tables_both_are_aligned_by_the_same_counts():
    tables = [torch.randn(len(SOURCE), 6) for _ in range(2)]
    counts = counts_for(("▁e3", "▁f0", 3.0), ("▁e4", "▁f0", 1.0))
    pair = Pair.of(LanguageSide(tables[0], projection=tables[1]), SOURCE, TARGET, str.lower)
    fallback = Mean(pair, torch.Generator())
    side, _ = Aligned(pair, torch.Generator(), counts, fallback).start()
    for found, table in zip((side.embedding, side.projection), tables, strict=True):
        first, second = (table[SOURCE.index(symbol)] for symbol in ("▁e3", "▁e4"))
        torch.testing.assert_close(found[TARGET.index("▁f0")], (3 * first + second) / 4)
        torch.testing.assert_close(found[TARGET.index("▁f1")], table.mean(0))
        assert torch.equal(found[TARGET.index("▁CASE")], table[SOURCE.index("▁case")])


def test_without_a_text_the_other_rows_are_the_mean(pair):
    counts = counts_for(("▁e3", "▁f0", 3.0))
    side, report = Aligned(pair, torch.Generator(), counts, Mean(pair, torch.Generator())).start()
    assert torch.equal(side.bias[TARGET.index("▁f1")], pair.rows[:, -1].mean())
    assert (report.copied, report.aligned, report.combined, report.drawn) == (2, 1, 8, 0)


def test_where_the_text_has_no_known_row_the_others_are_the_mean(pair):
    counts = counts_for(("▁e3", "▁f0", 3.0))
    vectors = TokenVectors(torch.randn(3, 4), TARGET[5:8], "T")  # neither aligned nor copied
    generator = torch.Generator().manual_seed(1)
    side, report = Aligned(pair, generator, counts, Focus(pair, generator, vectors)).start()
    rows = torch.cat([side.embedding, side.bias[:, None]], dim=1)
    for symbol in ("▁f1", "▁f8"):
        torch.testing.assert_close(rows[TARGET.index(symbol)], pair.rows.mean(0))
    assert torch.equal(rows[TARGET.index("▁f0")], pair.rows[SOURCE.index("▁e3")])
    assert (report.copied, report.aligned, report.combined, report.drawn) == (2, 1, 8, 0)


def test_the_verb_names_the_rules_that_there_are():
    assert tuple(RULES) == NAMES


# Reading


@pytest.fixture
def readers(source_data, target_data):
    return [
        Reader(Vocabulary(folder / "sentencepiece.bpe.model", folder / "dict.txt"), str)
        for folder in (source_data, target_data)
    ]


def translation(sentence):
    return sentence.replace("word", "wort")


def write_translations(folder, count=400):
    """en.txt and de.txt: word for word, in another order."""
    generator = random.Random(1)
    words = [f"word{index}" for index in range(60)]
    lines = [make_sentence(generator, words, [1] * 60) for _ in range(count)]
    (folder / "en.txt").write_text("\n".join(lines) + "\n")
    others = [" ".join(reversed(translation(line).split())) for line in lines]
    with lzma.open(folder / "de.txt.xz", "wt") as file:
        file.write("\n".join(others) + "\n")
    return [folder / "en.txt", folder / "de.txt.xz"]


def test_both_sides_lose_the_same_lines(readers, tmp_path):
    (tmp_path / "en").write_text("word1 word2\nother\nword3\n\nword4 other\n" + "word5 " * 300)
    (tmp_path / "de").write_text("wort1\nwort2\nanders\nwort3\nwort4 wort5\nwort6\n")
    (tmp_path / "list").write_text("word7\twort7\nword8\tanders\n")
    files = [tmp_path / "en", tmp_path / "de"]
    found = read_translations(files, tmp_path / "list", *readers)
    source, target = (reader.vocabulary.symbols for reader in readers)
    assert [source[one] for one in found.source.ids] == ["▁word7", "▁word1", "▁word2", "▁word4"]
    assert [target[one] for one in found.target.ids] == ["▁wort7", "▁wort1", "▁wort4", "▁wort5"]
    assert found.source.sizes.tolist() == [1, 2, 1] and found.target.sizes.tolist() == [1, 1, 2]
    assert found.report.startswith(f"3 of 8 pairs of {tmp_path}/en and ")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"en": "word1\n", "de": "wort1\nwort2\n"}, "en has 1 lines and .*de 2: each line of"),
        ({"en": "\n \n", "de": "wort1\nwort2\n"}, "en has no text"),
        ({"en": "word1\n", "de": ""}, "de has no text"),
        ({"en": "word1\n"}, "Cannot read .*de: No such file"),
        ({"en": "word1\n", "de": "anders\n"}, "have no pair in which both sides have 1 to"),
        ({"en": '{"text": "a"}\n{"text": "b"}\n', "de": "a\nb\n"}, "en is JSON Lines, not running"),
        ({"list": "word1 wort1\n"}, "list, line 1: 1 columns, but column 2 is wanted"),
        ({"list": "\n"}, "list has no entries: write a word of"),
        ({}, "needs --parallel SOURCE TARGET .* or both"),
    ],
)
def test_files_that_are_no_translations_are_refused(files, message, readers, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    parallel = [tmp_path / "en", tmp_path / "de"] if "en" in files else None
    dictionary = tmp_path / "list" if "list" in files else None
    with pytest.raises(InputError, match=message):
        read_translations(parallel, dictionary, *readers)


def test_half_a_pair_of_files_is_refused(readers):
    with pytest.raises(InputError, match="--parallel has 3 files: give two for each text"):
        read_translations(["a", "b", "c"], None, *readers)


# The commands


@pytest.fixture(scope="module")
def translations(tmp_path_factory):
    return write_translations(tmp_path_factory.mktemp("translations"))


def check_rows(embedding, bias, base):
    """Each German word has the row of the English word that it translates, above all."""
    for index in range(60):
        ours, theirs = 4 + index, 4 + index
        similarity = torch.cosine_similarity(embedding[ours], base[EMBEDDING])
        assert similarity.argmax() == theirs and similarity[theirs] > 0.9
        assert bias[ours] == pytest.approx(base[OUTPUT_BIAS][theirs].item(), abs=0.01)


def test_the_verb_writes_a_pack_without_training(
    joint_checkpoint, target_data, translations, tmp_path
):
    (tmp_path / "list.tsv").write_text("word59\twort60\n" * 3)
    command = [
        "fairseq-minimodel", "start", "--body", joint_checkpoint, "--data", target_data,
        "--language", "de", "--initialise", "aligned", "--parallel", *translations,
        "--dictionary", tmp_path / "list.tsv", "--output", tmp_path / "pack",
    ]  # fmt: skip
    result = run(command)
    assert result.returncode == 0, result.stderr
    assert "aligning 403 of 403 pairs of" in result.stderr
    assert re.search(
        r"pack: de, 80 x 16, initialise aligned: 5 special symbols copied, 5 other rows copied, "
        r"61 rows aligned, \d+ rows combined, \d+ rows drawn",
        result.stdout,
    )
    pack, base = load_pack(tmp_path / "pack"), read_checkpoint(joint_checkpoint)
    check_rows(pack.side.embedding, pack.side.bias, base.state)
    about = pack.description
    assert (about.lineage, about.depth, about.updates) == (lineage_of(base.state), base.layers, 0)
    before = {path.name: path.read_bytes() for path in (tmp_path / "pack").iterdir()}
    result = run([*command, "--depth", "2"])
    assert result.returncode == 0 and load_pack(tmp_path / "pack").description.depth == 2
    after = {path.name: path.read_bytes() for path in (tmp_path / "pack").iterdir()}
    assert before.pop("language.json") != after.pop("language.json") and before == after
    for options in (["--data", target_data], ["--initialise", "focus"], ["--depth", "9"]):
        assert run([*command, *options]).returncode == (0 if "--data" in options else 2)


def test_every_other_rule_makes_the_pack_that_training_begins_with(
    joint_checkpoint, target_data, tmp_path
):
    train(
        target_data, tmp_path / "run", "--task", "language_adaptation", "--arch",
        "minimodel_roberta", *LENGTH, "--base-checkpoint", joint_checkpoint, "--criterion",
        "masked_lm", "--initialise", "overlap", "--lr", "0", "--weight-decay", "0", "--seed", "3",
    )  # fmt: skip
    result = run(
        ["fairseq-minimodel", "start", "--body", joint_checkpoint, "--data", target_data,
         "--language", "de", "--initialise", "overlap", "--seed", "3", "--output", tmp_path / "p"]
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    trained, side = state_of(tmp_path / "run/checkpoint_last.pt"), load_pack(tmp_path / "p").side
    assert torch.equal(trained[EMBEDDING], side.embedding)
    assert torch.equal(trained[OUTPUT_BIAS], side.bias)


def test_training_starts_from_it(joint_checkpoint, target_data, translations, tmp_path):
    (tmp_path / "list.tsv").write_text("word59\twort60\n" * 3)
    log = train(
        target_data, tmp_path / "run", "--task", "language_adaptation", "--arch",
        "minimodel_roberta", *LENGTH, "--base-checkpoint", joint_checkpoint, "--criterion",
        "masked_lm", "--initialise", "aligned", "--parallel", *translations, "--parallel",
        *translations, "--dictionary", tmp_path / "list.tsv", "--lr", "0", "--weight-decay", "0",
    )  # fmt: skip
    assert "aligning 803 of 803 pairs of" in log and "61 rows aligned" in log
    state = state_of(tmp_path / "run/checkpoint_last.pt")
    check_rows(state[EMBEDDING], state[OUTPUT_BIAS], state_of(joint_checkpoint))
