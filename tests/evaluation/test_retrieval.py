"""Retrieval of translations: its mathematics by plain loops, its verb on models that are known."""

import json
import math
import random
import re

import numpy
import pytest
import torch
from conftest import make_sentence, state_of, write_corpus

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.identity import lineage_of
from fairseq_minimodel.bodies.language_side import LanguageSide, language_side_of
from fairseq_minimodel.cli import main
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.kinds.batches import Batches
from fairseq_minimodel.kinds.vectors import (
    FROM_ENGLISH,
    TO_ENGLISH,
    cosines,
    csls,
    found,
    middle_layer,
    sentence_vectors,
)
from fairseq_minimodel.packs.pack import Description, load_pack, save_pack
from fairseq_minimodel.packs.plug import plug
from fairseq_minimodel.vocabulary.symbols import fingerprint, read_symbols
from fairseq_minimodel.vocabulary.tokenizers import Vocabulary

WORDS = [f"word{index}" for index in range(60)]
GERMAN = [f"wort{index}" for index in range(60)]


def write_pack(folder, language, side, data, lineage):
    symbols = read_symbols(data / "dict.txt")
    size, width = side.embedding.shape
    description = Description(language, lineage, fingerprint(symbols), size, width, depth=3)
    save_pack(folder, side, description, data / "dict.txt", data / "sentencepiece.bpe.model")
    return folder


@pytest.fixture(scope="module")
def packs(joint_checkpoint, source_data, tmp_path_factory):
    """English; German, which is English with other words; Turkish, which is English shuffled."""
    folder, state = tmp_path_factory.mktemp("packs"), state_of(joint_checkpoint)
    german = write_corpus(tmp_path_factory.mktemp("german"), GERMAN, seed=1, sentences=9)
    side, lineage = language_side_of(state), lineage_of(state)
    order = torch.randperm(len(side.bias), generator=torch.Generator().manual_seed(1))
    shuffled = LanguageSide(side.embedding[order], side.bias[order])
    write_pack(folder / "en", "en", side, source_data, lineage)
    write_pack(folder / "de", "de", side, german, lineage)
    write_pack(folder / "tr", "tr", shuffled, german, lineage)
    write_pack(folder / "foreign", "de", side, german, "0" * 16)
    write_pack(folder / "xx", "xx", side, german, lineage)
    return folder


@pytest.fixture(scope="module")
def tatoeba(tmp_path_factory):
    """80 sentences, word by word the same in English, German and Turkish."""
    folder, generator = tmp_path_factory.mktemp("tatoeba"), random.Random(5)
    sentences = [make_sentence(generator, WORDS, [1] * len(WORDS)) for _ in range(80)]
    for code in ("deu", "tur"):
        (folder / f"tatoeba.{code}-eng.eng").write_text("\n".join(sentences) + "\n")
        foreign = "\n".join(sentences).replace("word", "wort")
        (folder / f"tatoeba.{code}-eng.{code}").write_text(foreign + "\n")
    return folder


def random_vectors(rows, seed):
    return numpy.random.default_rng(seed).normal(size=(rows, 7)).astype(numpy.float32)


def plain_cosine(x, y):
    dot = sum(float(a) * float(b) for a, b in zip(x, y, strict=True))
    return dot / math.sqrt(sum(float(a) ** 2 for a in x) * sum(float(b) ** 2 for b in y))


def test_cosines_are_the_plain_ones():
    x, y = random_vectors(9, 1), random_vectors(6, 2)
    plain = [[plain_cosine(a, b) for b in y] for a in x]
    assert numpy.allclose(cosines(x, y), plain, atol=1e-12)


@pytest.mark.parametrize("neighbours", [1, 3, 6])
def test_csls_is_that_of_the_paper(neighbours):
    x, y = random_vectors(9, 3), random_vectors(6, 4)

    def mean_of_nearest(vector, others):
        nearest = sorted((plain_cosine(vector, other) for other in others), reverse=True)
        return sum(nearest[:neighbours]) / neighbours

    plain = [
        [2 * plain_cosine(a, b) - mean_of_nearest(a, y) - mean_of_nearest(b, x) for b in y]
        for a in x
    ]
    assert numpy.allclose(csls(cosines(x, y), neighbours), plain, atol=1e-12)


def test_csls_takes_a_hub_out_of_the_way():
    """Column 2 is near to every row, so that by the cosine rows 0 and 1 both choose it."""
    similarities = numpy.array([[0.6, 0.1, 0.7], [0.1, 0.6, 0.7], [0.2, 0.2, 0.9]])
    assert found(similarities).correct == 1
    assert found(csls(similarities, 2)).correct == 3


def test_found_counts_the_diagonal():
    vectors = random_vectors(40, 6)
    others = vectors + 0.8 * random_vectors(40, 7)
    similarities = cosines(vectors, others)
    correct = 0
    for row, vector in enumerate(vectors):
        best = max(range(40), key=lambda column: plain_cosine(vector, others[column]))
        correct += best == row
    assert found(similarities)[3:] == (correct, 40) and 4 < correct < 40
    assert found(similarities.T).correct != correct  # the other direction is another question


def test_the_layer_is_the_one_above_the_middle():
    assert [middle_layer(layers) for layers in (1, 2, 3, 4, 12, 24)] == [1, 2, 2, 3, 7, 13]


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_vectors_are_means_over_real_tokens_whatever_the_batch(
    layer, joint_checkpoint, source_data
):
    model = build_model(read_checkpoint(joint_checkpoint), read_symbols(source_data / "dict.txt"))
    generator = numpy.random.default_rng(0)
    sequences = [
        numpy.concatenate([[0], generator.integers(4, 64, size=size), [2]])
        for size in (3, 20, 7, 1, 30, 5)
    ]
    together = sentence_vectors(model, sequences, layer, Batches(10_000))
    for sequence, vector in zip(sequences, together, strict=True):
        with torch.no_grad():
            states = model(torch.from_numpy(sequence)[None], True, True)[1]["inner_states"]
        expected = states[layer][1:-1, 0].mean(dim=0).numpy()
        assert numpy.allclose(vector, expected, atol=1e-5)
    alone = sentence_vectors(model, sequences, layer, Batches(1))
    assert numpy.allclose(together, alone, atol=1e-5)
    assert not numpy.allclose(together[0], together[1], atol=1e-2)


def test_a_sentence_without_tokens_is_0(joint_checkpoint, source_data):
    model = build_model(read_checkpoint(joint_checkpoint), read_symbols(source_data / "dict.txt"))
    sequences = [numpy.array([0, 2]), numpy.array([0, 9, 2])]
    vectors = sentence_vectors(model, sequences, 1, Batches(99))
    assert not vectors[0].any() and vectors[1].any()
    assert not cosines(vectors, vectors)[0].any()


def test_the_same_language_twice_is_found_and_another_is_not(
    joint_checkpoint, packs, tatoeba, tmp_path, capsys
):
    code = main(
        ["retrieve", "--body", str(joint_checkpoint), "--source-pack", str(packs / "en"),
         "--pack", str(packs / "de"), "--pack", str(packs / "tr"), "--data", str(tatoeba),
         "--json", str(tmp_path / "scores.json")]
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert code == 0 and "csls, from English (%)" in printed
    german, turkish = json.loads((tmp_path / "scores.json").read_text())
    assert (german["language"], german["pairs"], german["layer"]) == ("de", 80, 2)
    assert german["chance"] == 1 / 80 and german["truncated"] == 0
    for similarity in ("cosine", "csls"):
        for direction in (TO_ENGLISH, FROM_ENGLISH):
            right = german["accuracies"][similarity][direction]
            assert (right["value"], right["correct"], right["count"]) == (1, 80, 80)
            assert 0.95 < right["low"] < 0.96  # Wilson's bound for 80 of 80: 80 / (80 + 1.96^2)
            assert turkish["accuracies"][similarity][direction]["value"] < 0.3
    row = next(line for line in printed.splitlines() if line.startswith("| de"))
    assert row.count("100.0 (95.4 to 100.0)") == 4 and "1.25" in row


def test_in_bfloat16_the_row_says_so(joint_checkpoint, packs, tatoeba, tmp_path):
    code = main(
        ["retrieve", "--body", str(joint_checkpoint), "--source-pack", str(packs / "en"), "--bf16",
         "--pack", str(packs / "de"), "--data", str(tatoeba), f"--json={tmp_path / 'scores.json'}"]
    )  # fmt: skip
    (row,) = json.loads((tmp_path / "scores.json").read_text())
    assert code == 0 and row["bfloat16"]
    assert row["accuracies"]["cosine"][TO_ENGLISH]["value"] == 1  # the same language twice


def test_each_language_has_english_sentences_of_its_own(joint_checkpoint, packs, tatoeba, tmp_path):
    german, turkish = packs / "de", tmp_path / "tr"
    pack = load_pack(german)
    write_pack(turkish, "tr", pack.side, german, pack.description.lineage)
    data = tmp_path / "tatoeba"
    data.mkdir()
    for code in ("deu", "tur"):
        for name in (f"tatoeba.{code}-eng.eng", f"tatoeba.{code}-eng.{code}"):
            lines = (tatoeba / name).read_text().splitlines()
            lines = lines[::-1] if code == "tur" else lines
            (data / name).write_text("\n".join(lines) + "\n")
    both = ["--pack", str(german), "--pack", str(turkish), "--data", str(data)]
    common = ["--body", str(joint_checkpoint), "--source-pack", str(packs / "en")]
    scores = tmp_path / "scores.json"
    assert main(["retrieve", *common, *both, f"--json={scores}"]) == 0
    values = [
        row["accuracies"]["csls"][TO_ENGLISH]["value"] for row in json.loads(scores.read_text())
    ]
    assert values == [1, 1]


def test_the_pairs_of_two_files_are_the_test_of_every_pack(
    joint_checkpoint, packs, tatoeba, tmp_path
):
    english, foreign = (str(tatoeba / f"tatoeba.deu-eng.{code}") for code in ("eng", "deu"))
    common = ["--body", str(joint_checkpoint), "--source-pack", str(packs / "en")]
    both = ["--pack", str(packs / "de"), "--pack", str(packs / "xx")]
    scores = tmp_path / "scores.json"
    assert (
        main(["retrieve", *common, *both, "--parallel", english, foreign, f"--json={scores}"]) == 0
    )
    german, other = json.loads(scores.read_text())
    assert german["data"] == f"{foreign}, {english}" and german["pairs"] == 80
    assert german["accuracies"] == other["accuracies"]  # the same language side, by another name
    assert main(["retrieve", *common, *both[:2], "--data", str(tatoeba), f"--json={scores}"]) == 0
    (known,) = json.loads(scores.read_text())
    assert known["accuracies"] == german["accuracies"]


@pytest.mark.parametrize("layer", [0, 3])
def test_the_options_choose_layer_and_similarity(
    layer, joint_checkpoint, packs, source_data, tatoeba, tmp_path, capsys
):
    code = main(
        ["retrieve", "--body", str(joint_checkpoint), "--source-pack", str(packs / "en"),
         "--pack", str(packs / "tr"), "--data", str(tatoeba), "--layer", str(layer),
         "--similarity", "csls", "--neighbours", "3", "--json", str(tmp_path / "scores.json")]
    )  # fmt: skip
    assert code == 0 and "cosine" not in capsys.readouterr().out
    (score,) = json.loads((tmp_path / "scores.json").read_text())
    assert score["layer"] == layer

    vocabulary = Vocabulary(source_data / "sentencepiece.bpe.model", source_data / "dict.txt")
    lines = (tatoeba / "tatoeba.tur-eng.eng").read_text().splitlines()
    sequences = [numpy.concatenate([[0], vocabulary.encode(line), [2]]) for line in lines]
    body, vectors = read_checkpoint(joint_checkpoint), {}
    for language in ("en", "tr"):  # the ids are the same in both
        pack = load_pack(packs / language)
        model = build_model(plug(body, pack)[0], pack.symbols)
        vectors[language] = sentence_vectors(model, sequences, layer, Batches(999))
    matrix = csls(cosines(vectors["tr"], vectors["en"]), 3)
    expected = {TO_ENGLISH: found(matrix).correct, FROM_ENGLISH: found(matrix.T).correct}
    got = score["accuracies"].pop("csls")
    assert {direction: got[direction]["correct"] for direction in got} == expected
    assert not score["accuracies"]


def test_a_long_sentence_is_cut(joint_checkpoint, packs, tmp_path):
    for code in ("deu", "eng"):
        text = " ".join(["wort1 word1"] * 40) + "\nword2 wort2\n"
        (tmp_path / f"tatoeba.deu-eng.{code}").write_text(text)
    code = main(
        ["retrieve", "--body", str(joint_checkpoint), "--source-pack", str(packs / "en"),
         "--pack", str(packs / "de"), "--data", str(tmp_path), "--neighbours", "1",
         "--json", str(tmp_path / "scores.json")]
    )  # fmt: skip
    assert code == 0
    assert json.loads((tmp_path / "scores.json").read_text())[0]["truncated"] == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"--body": "absent.pt"}, "no checkpoint absent.pt"),
        ({"--layer": "4"}, "--layer 4: .* has the layers 1 to 3"),
        ({"--pack": "{packs}/foreign"}, "belongs to the lineage 0000000000000000"),
        ({"--source-pack": "{packs}/foreign"}, "belongs to the lineage 0000000000000000"),
        ({"--pack": "{packs}/xx"}, "has no language 'xx'; there is deu, tur"),
        ({"--data": "{packs}"}, "has no file called"),
        ({"--neighbours": "81"}, "--neighbours 81: .* has 80 sentences"),
        ({"--device": "nonsense"}, "--device nonsense cannot be used here"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    changes, sentence, joint_checkpoint, packs, tatoeba, tmp_path, capsys
):
    options = {
        "--body": str(joint_checkpoint),
        "--source-pack": "{packs}/en",
        "--pack": "{packs}/de",
        "--data": str(tatoeba),
        "--json": str(tmp_path / "scores.json"),
    } | changes
    arguments = [f"{name}={value.format(packs=packs)}" for name, value in options.items()]
    assert main(["retrieve", *arguments]) == 2
    printed = capsys.readouterr()
    assert re.search(f"^fairseq-minimodel: error: .*{sentence}", printed.err) and not printed.out
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "scores.json").exists()


def test_tatoeba_as_published(joint_checkpoint, packs, shared_data, tmp_path):
    """Real files are read; a model of nonsense words finds next to nothing in them."""
    folder = shared_data / "parallel" / "tatoeba"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    code = main(
        ["retrieve", "--body", str(joint_checkpoint), "--source-pack", str(packs / "en"),
         "--pack", str(packs / "de"), "--data", str(folder),
         "--json", str(tmp_path / "scores.json")]
    )  # fmt: skip
    assert code == 0
    (score,) = json.loads((tmp_path / "scores.json").read_text())
    assert score["pairs"] == 1000
    assert score["accuracies"]["cosine"][TO_ENGLISH]["value"] < 0.05
