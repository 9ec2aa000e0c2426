"""Perplexity of masked tokens: against plain computations, fairseq's masking, and known models."""

import gzip
import json
import math
import random
import re
import tracemalloc

import numpy
import pytest
import torch
from conftest import make_sentence, state_of
from fairseq.data import Dictionary, MaskTokensDataset, data_utils

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.identity import lineage_of
from fairseq_minimodel.bodies.language_side import LanguageSide, language_side_of
from fairseq_minimodel.bodies.surgery import HEAD, truncate
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.evaluation import perplexity
from fairseq_minimodel.evaluation.perplexity import read_lines
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.kinds.batches import Batches
from fairseq_minimodel.kinds.masked import mask_lines, masked_bits, ratio_interval
from fairseq_minimodel.kinds.masking import Masking
from fairseq_minimodel.packs.pack import Description, save_pack
from fairseq_minimodel.vocabulary.symbols import fingerprint, read_symbols
from fairseq_minimodel.vocabulary.tokenizers import Vocabulary

WORDS = [f"word{index}" for index in range(60)]
MASKING = Masking(mask=64, random_from=4, random_to=65)


@pytest.fixture(scope="module")
def packs(joint_checkpoint, source_data, tmp_path_factory):
    """The source language; the same without any knowledge; and one of another lineage."""
    folder, state = tmp_path_factory.mktemp("packs"), state_of(joint_checkpoint)
    side, symbols = language_side_of(state), read_symbols(source_data / "dict.txt")
    uniform = LanguageSide(torch.zeros_like(side.embedding), torch.zeros_like(side.bias))
    for name, kept, lineage in (
        ("source", side, lineage_of(state)),
        ("uniform", uniform, lineage_of(state)),
        ("foreign", side, "0" * 16),
    ):
        description = Description(name, lineage, fingerprint(symbols), 65, 16, depth=3)
        files = source_data / "dict.txt", source_data / "sentencepiece.bpe.model"
        save_pack(folder / name, kept, description, *files)
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """300 sentences as those of training, and blank lines."""
    generator, weights = random.Random(8), [1 / (rank + 1) for rank in range(60)]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(make_sentence(generator, WORDS, weights) + "\n\n" for _ in range(300)))
    return path


def measure(tmp_path, *arguments):
    output = tmp_path / "scores.json"
    assert main(["perplexity", *map(str, arguments), "--json", str(output)]) == 0
    return json.loads(output.read_text())


def encoded(text, data):
    vocabulary = Vocabulary(data / "sentencepiece.bpe.model", data / "dict.txt")
    return vocabulary.encode_batch([line for line in text.read_text().split("\n") if line])


def model_of(checkpoint, data):
    return build_model(read_checkpoint(checkpoint), read_symbols(data / "dict.txt"))


def test_lines_are_masked_between_s_and_s():
    lines = [numpy.arange(4, 4 + size) for size in (7, 60, 30, 0, 31)]
    sequences = mask_lines(lines, MASKING, longest=32, seed=1)
    assert [item.line for item in sequences] == [0, 1, 1, 2, 4, 4]  # at most 30 between the ends
    for number, line in enumerate(lines):
        parts = [item for item in sequences if item.line == number]
        for item in parts:
            assert item.tokens[0] == 0 and item.tokens[-1] == 2 and len(item.tokens) <= 32
            assert not item.predicted[[0, -1]].any()
        original = []
        for item in parts:
            restored = item.tokens.copy()
            restored[item.predicted] = item.targets
            original += restored[1:-1].tolist()
        assert original == line.tolist()


def test_masks_follow_from_seed_and_line_alone():
    lines = [numpy.arange(4, 34) for _ in range(200)]
    first, again = (mask_lines(lines, MASKING, 512, seed=1) for _ in range(2))
    other = mask_lines(lines, MASKING, 512, seed=2)
    fewer = mask_lines(lines[:3], MASKING, 512, seed=1)
    assert all((a.tokens == b.tokens).all() for a, b in zip(first, again, strict=True))
    assert all((a.tokens == b.tokens).all() for a, b in zip(first, fewer, strict=False))
    assert any((a.tokens != b.tokens).any() for a, b in zip(first, other, strict=True))
    assert (first[0].predicted != first[1].predicted).any()
    # 15 % of 6,000, of which 80 % become the mask; standard deviations 10 and 12 at most
    predicted = sum(item.predicted.sum() for item in first)
    masks = sum((item.tokens == 64).sum() for item in first)
    assert abs(predicted - 900) < 50 and abs(masks - 0.8 * predicted) < 60


def test_bits_are_those_of_each_sequence_by_itself(joint_checkpoint, source_data, text):
    model = model_of(joint_checkpoint, source_data)
    sequences = mask_lines(encoded(text, source_data)[:40], MASKING, 32, seed=1)
    together = masked_bits(model, sequences, Batches(10_000))
    for item, bits in zip(sequences, together, strict=True):
        with torch.no_grad():
            logits, _ = model(torch.from_numpy(item.tokens)[None])
        probabilities = logits[0].double().softmax(dim=-1)
        places = item.predicted.nonzero()[0]
        expected = [
            -math.log2(probabilities[place, target])
            for place, target in zip(places, item.targets, strict=True)
        ]
        assert numpy.allclose(bits, expected, atol=1e-4)
    assert len({len(bits) for bits in together}) > 1


def test_the_interval_is_that_of_a_ratio():
    generator = numpy.random.default_rng(0)
    counts = generator.integers(0, 6, size=400)
    sums = numpy.array([generator.normal(5, 2, size=count).sum() for count in counts])
    mean, low, high = ratio_interval(sums, counts)
    assert mean == pytest.approx(sums.sum() / counts.sum())
    # the bootstrap over lines, an independent way to the same
    draws = generator.integers(400, size=(4000, 400))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    assert [low, high] == pytest.approx(numpy.percentile(means, [2.5, 97.5]).tolist(), abs=0.02)
    assert high - low > 0.1
    # two lines, by hand: mean 3, residuals -1 and 1, variance 2 / 1 / 2 / 1.5^2
    half = 1.959964 * math.sqrt(1 / 2.25)
    assert ratio_interval(numpy.array([2.0, 7.0]), numpy.array([1, 2])) == pytest.approx(
        (3, 3 - half, 3 + half)
    )


def test_knowing_nothing_costs_the_logarithm_of_the_vocabulary(
    joint_checkpoint, packs, text, tmp_path, capsys
):
    source, uniform = measure(
        tmp_path, "--body", joint_checkpoint, "--pack", packs / "source", text,
        "--pack", packs / "uniform", text,
    )  # fmt: skip
    assert uniform["bits"] == pytest.approx(math.log2(65), abs=1e-5)
    assert uniform["perplexity"] == pytest.approx(65, abs=1e-3)
    assert uniform["high"] - uniform["low"] < 1e-5
    assert source["bits"] < 6 and source["low"] < source["bits"] < source["high"]
    for score in (source, uniform):  # both see the same masks
        lines = text.read_text().split()
        assert score["tokens"] == len(lines) and score["lines"] == 300 and score["depth"] == 3
        characters = sum(len(line) for line in text.read_text().split("\n"))
        assert score["characters"] == characters and score["unknown"] == 0
        assert score["masked"] == source["masked"]
        for end in ("", "_low", "_high"):
            bits = score[end.removeprefix("_") or "bits"]
            assert score[f"perplexity{end}"] == pytest.approx(2**bits)
            expected = bits * score["tokens"] / characters
            assert score[f"bits_per_character{end}"] == pytest.approx(expected)
    printed = capsys.readouterr().out
    assert f"{source['bits']:.3f} (" in printed and "6.022 (6.022 to 6.022)" in printed


def test_in_bfloat16_the_loss_is_close_and_the_row_says_so(
    joint_checkpoint, packs, text, tmp_path, capsys
):
    arguments = "--body", joint_checkpoint, "--pack", packs / "source", text
    (exact,), (rounded,) = measure(tmp_path, *arguments), measure(tmp_path, *arguments, "--bf16")
    assert 0 < abs(rounded["bits"] - exact["bits"]) < 0.05
    assert rounded["bfloat16"] and "bfloat16" not in exact


def test_the_loss_is_fairseqs_within_sampling_error(
    joint_checkpoint, source_data, packs, text, tmp_path
):
    """fairseq masks the special tokens too; of its losses those of other tokens are compared."""
    (score,) = measure(tmp_path, "--body", joint_checkpoint, "--pack", packs / "source", text)
    dictionary = Dictionary.load(str(source_data / "dict.txt"))
    mask = dictionary.add_symbol("<mask>")
    lines = [
        torch.from_numpy(numpy.concatenate([[0], ids, [2]])) for ids in encoded(text, source_data)
    ]
    model, losses = model_of(joint_checkpoint, source_data), []
    options = {"pad_idx": 1, "mask_idx": mask, "mask_prob": 0.15}
    for seed in range(2):
        sides = MaskTokensDataset.apply_mask(lines, dictionary, seed=seed, **options)
        inputs, targets = (
            data_utils.collate_tokens([side[index] for index in range(len(lines))], 1)
            for side in sides
        )
        wanted = targets > 3
        with torch.no_grad():
            logits, _ = model(inputs, masked_tokens=wanted)
        losses.append(torch.nn.functional.cross_entropy(logits, targets[wanted]).item())
    fairseq = sum(losses) / len(losses) / math.log(2)
    assert abs(fairseq - score["bits"]) < 1.5 * (score["high"] - score["low"]) / 2
    assert score["high"] - score["low"] < 0.5


def test_the_head_is_that_of_the_depth(joint_checkpoint, packs, text, tmp_path):
    at = {
        depth: measure(tmp_path, "--body", joint_checkpoint, "--pack", packs / "source", text,
                       *depth)[0]
        for depth in ((), ("--depth", 2), ("--depth", 3))
    }  # fmt: skip
    assert at["--depth", 3] == at[()] and at["--depth", 2]["bits"] != at[()]["bits"]
    write_checkpoint(tmp_path / "mini.pt", truncate(read_checkpoint(joint_checkpoint), 2)[0])
    mini = measure(tmp_path, "--body", tmp_path / "mini.pt", "--pack", packs / "source", text)[0]
    assert mini == at["--depth", 2] and mini["depth"] == 2


def test_neither_batches_nor_compression_change_the_numbers(
    joint_checkpoint, packs, text, tmp_path
):
    compressed = tmp_path / "text.txt.gz"
    compressed.write_bytes(gzip.compress(text.read_bytes()))
    fixed = ("--body", joint_checkpoint, "--pack", packs / "source")
    (first,) = measure(tmp_path, *fixed, text)
    (other,) = measure(tmp_path, *fixed, compressed, "--max-tokens", 100)
    seeded = measure(tmp_path, *fixed, text, "--seed", 2)[0]
    assert other["bits"] == pytest.approx(first["bits"], abs=1e-5)
    assert seeded["bits"] != pytest.approx(first["bits"], abs=1e-5)


def test_a_long_line_is_measured_in_parts(joint_checkpoint, source_data, packs, tmp_path):
    (tmp_path / "x.txt").write_text(" ".join(WORDS) + "\n" + " ".join(WORDS[::-1]) + "\n")
    (score,) = measure(
        tmp_path, "--body", joint_checkpoint, "--pack", packs / "source", tmp_path / "x.txt"
    )
    sequences = mask_lines(encoded(tmp_path / "x.txt", source_data), MASKING, 32, seed=1)
    assert len(sequences) == 4
    model = model_of(joint_checkpoint, source_data)
    bits = numpy.concatenate(masked_bits(model, sequences, Batches(9999)))
    assert score["bits"] == pytest.approx(bits.mean()) and score["masked"] == len(bits)


def test_unknown_tokens_are_counted(joint_checkpoint, packs, tmp_path):
    (tmp_path / "x.txt").write_text("word1 word2 strange word3\n" * 20)
    (score,) = measure(
        tmp_path, "--body", joint_checkpoint, "--pack", packs / "source", tmp_path / "x.txt"
    )
    assert score["unknown"] == 0.25 and score["tokens"] == 80


@pytest.mark.parametrize("name", ["text.jsonl", "c4.json.gz", "wiki_00"])
def test_json_lines_give_what_their_texts_give(tmp_path, text, name):
    lines = [line for line in text.read_text().split("\n") if line]
    rows = "".join(json.dumps({"id": 1, "body": line}) + "\n" for line in lines).encode()
    (tmp_path / name).write_bytes(gzip.compress(rows) if name.endswith("gz") else rows)
    assert read_lines(tmp_path / name, "body") == read_lines(text) == lines


def test_lines_of_a_text_in_json_are_one_line(tmp_path):
    (tmp_path / "x").write_text('{"text": "one\\ntwo"}\n{"text": ""}\n{"text": " three "}\n')
    assert read_lines(tmp_path / "x") == ["one two", "three"]


@pytest.mark.parametrize("line", [b"word1 " * 2000, b"word1\n" * 2000])
def test_more_text_than_memory_is_meant_for_is_refused(tmp_path, monkeypatch, line):
    monkeypatch.setattr(perplexity, "LARGEST_TEXT", 1_000_000)
    (tmp_path / "x.gz").write_bytes(gzip.compress(line * 5000))  # 60 MB of a file of 0.1 MB
    tracemalloc.start()
    with pytest.raises(InputError, match="x.gz has more than 1 MB of text.*first lines"):
        read_lines(tmp_path / "x.gz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"--body": ["absent.pt"]}, "no checkpoint absent.pt"),
        ({"--body": ["{folder}/headless.pt"]}, "headless.pt has no MLM head"),
        ({"--depth": ["1"]}, "no MLM head after layer 1, only after 2, 3"),
        ({"--device": ["nonsense"]}, "--device nonsense cannot be used here"),
        ({"--pack": ["{packs}/foreign", "{text}"]}, "belongs to the lineage 0000000000000000"),
        ({"--pack": ["{packs}/source", "absent.txt"]}, "Cannot read absent.txt"),
        ({"--pack": ["{packs}/source", "{folder}/one.txt"]}, "one.txt has 1 lines of text"),
        ({"--pack": ["{packs}/source", "{folder}/bytes.txt"]}, "bytes.txt, line 2: not UTF-8"),
        ({"--pack": ["{packs}/source", "{folder}/short.txt"]}, "short.txt is too short"),
        ({"--pack": ["{packs}/source", "{folder}/x.json"]}, "x.json, line 1: .*'body': .*--field"),
        ({"--pack": ["{packs}/source", "{folder}/x.tsv"]}, "x.tsv is a table"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    changes, sentence, joint_checkpoint, packs, text, tmp_path, capsys
):
    (tmp_path / "one.txt").write_text("\nword1 word2\n\n")
    (tmp_path / "bytes.txt").write_bytes(b"word1\n\xff\n")
    (tmp_path / "short.txt").write_text("word1\nword2\n")
    (tmp_path / "x.json").write_text('{"body": "word1"}\n' * 2)
    (tmp_path / "x.tsv").write_text("text\tlabel\nword1\t1\n")
    body = read_checkpoint(joint_checkpoint)
    state = {name: tensor for name, tensor in body.state.items() if not name.startswith(HEAD)}
    write_checkpoint(tmp_path / "headless.pt", body.replaced(state))
    options = {
        "--body": [str(joint_checkpoint)],
        "--pack": ["{packs}/source", "{text}"],
        "--json": [str(tmp_path / "scores.json")],
    } | changes
    names = {"packs": packs, "text": text, "folder": tmp_path}
    arguments = []
    for name, values in options.items():
        arguments += [name, *(value.format(**names) for value in values)]
    assert main(["perplexity", *arguments]) == 2
    printed = capsys.readouterr()
    assert re.search(f"^fairseq-minimodel: error: .*{sentence}", printed.err) and not printed.out
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "scores.json").exists()
