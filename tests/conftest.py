"""What several tests share: a tiny corpus in two vocabularies, and fairseq's commands.

One thread everywhere: two spinning OpenMP pools are slower than one.
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy
import pytest
import sentencepiece
import torch
from support import forked
from support.once import Once

import fairseq_minimodel

USER_DIR = Path(fairseq_minimodel.__file__).parent


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # the processes of pytest-xdist share what it makes
        forked.make_home()


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        forked.stop()


def pytest_collection_modifyitems(items):
    """Files with slow tests begin first, so that all workers end at about the same time.

    What needs a GPU is skipped where there is none.
    """
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no GPU"))
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real text and benchmarks; the test is skipped where there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FAIRSEQ_MINIMODEL_DATA", default))
    if not (folder / "mono").is_dir():
        pytest.skip(f"no real data: {folder} has no folder mono (set FAIRSEQ_MINIMODEL_DATA)")
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Iterator[Once]:
    """Makes a folder once for all workers: `once(name, make)`."""
    made = Once(tmp_path_factory.getbasetemp())
    yield made
    made.check()


@pytest.fixture(scope="session")
def source_data(once) -> Path:
    """A binarised corpus of 60 words."""
    words = [f"word{index}" for index in range(60)]
    return once("source", lambda folder: write_corpus(folder, words, seed=1))


@pytest.fixture(scope="session")
def target_data(once) -> Path:
    """A binarised corpus of 75 other words, with 5 that the source has too."""
    words = [f"wort{index}" for index in range(70)] + [f"word{index}" for index in range(5)]
    return once("target", lambda folder: write_corpus(folder, words, seed=2))


def write_corpus(folder: Path, words: list[str], seed: int, sentences: int = 200) -> Path:
    """So many training and 40 validation sentences of Zipf-distributed words, as fairseq reads them.

    One symbol per word, in the order of `words`, with a SentencePiece model that splits at spaces.
    """
    from fairseq.data import Dictionary
    from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder

    generator = random.Random(seed)
    dictionary = Dictionary()
    for word in words:
        dictionary.add_symbol(f"\u2581{word}", n=generator.randint(1, 99))
    dictionary.save(str(folder / "dict.txt"))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words)] * 2),
        model_prefix=str(folder / "sentencepiece.bpe"),
        model_type="word",
        vocab_size=len(words) + 3,
        minloglevel=2,
    )
    weights = [1 / (rank + 1) for rank in range(len(words))]
    for split, count in (("train", sentences), ("valid", 40)):
        builder = MMapIndexedDatasetBuilder(str(folder / f"{split}.bin"), dtype=numpy.uint16)
        for _ in range(count):
            text = make_sentence(generator, words, weights)
            pieces = " ".join(f"\u2581{word}" for word in text.split())
            builder.add_item(dictionary.encode_line(pieces, add_if_not_exist=False).int())
        builder.finalize(str(folder / f"{split}.idx"))
    return folder


def make_sentence(generator: random.Random, words: list[str], weights: list[float]) -> str:
    return " ".join(generator.choices(words, weights, k=generator.randint(4, 12)))


def write_pairs(path: Path, words: list[str], seed: int, count: int = 48) -> Path:
    """A TSV of labelled sentence pairs; the label says whether both start with the same word."""
    generator = random.Random(seed)
    rows = ["premise\thypothesis\tlabel"]
    for index in range(count):
        first, second = (make_sentence(generator, words, [1] * len(words)) for _ in range(2))
        label = ("same", "other", "neither")[index % 3]
        if label == "same":
            second = f"{first.split()[0]} {second}"
        rows.append(f"{first}\t{second}\t{label}")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="session")
def pair_data(once, source_data) -> Path:
    """Binarised sentence pairs of three classes in the source vocabulary."""
    words = [f"word{index}" for index in range(60)]

    def make(folder: Path) -> None:
        result = run(
            ["fairseq-minimodel", "prepare-classification", "--output", folder / "data",
             "--train", write_pairs(folder / "train.tsv", words, seed=1),
             "--valid", write_pairs(folder / "valid.tsv", words, seed=2, count=15),
             "--text-columns", "premise", "hypothesis", "--label-column", "label",
             "--labels", "same", "other", "neither", "--dict", source_data / "dict.txt",
             "--sentencepiece-model", source_data / "sentencepiece.bpe.model"]
        )  # fmt: skip
        assert result.returncode == 0, result.stderr

    return once("pairs", make) / "data"


SMALL_MODEL = [
    "--arch", "minimodel_roberta", "--encoder-layers", "3", "--encoder-embed-dim", "16",
    "--encoder-ffn-embed-dim", "32", "--encoder-attention-heads", "2",
]  # fmt: skip
OPTIMISER = [
    "--optimizer", "adam", "--adam-betas", "(0.9,0.98)", "--lr", "0.01", "--lr-scheduler", "fixed",
    "--weight-decay", "0.01", "--batch-size", "8", "--cpu", "--num-workers", "0", "--seed", "3",
    "--log-format", "json", "--log-interval", "1",
]  # fmt: skip
LENGTH = ["--tokens-per-sample", "32", "--sample-break-mode", "complete"]


def run(
    command: list[object], fresh: bool | None = None, **options: object
) -> subprocess.CompletedProcess:
    """Run a command of this environment, capturing what it prints.

    By its real program, which imports all anew, where `fresh` (by default for Python alone) or with
    an environment of its own; else in a fork of a process that has everything imported.
    """
    command = [str(part) for part in command]
    if fresh is None:
        fresh = command[0] == "python" or "env" in options
    program = (Path(sys.executable).parent if fresh else forked.folder()) / command[0]
    return subprocess.run(
        [str(program), *command[1:]], capture_output=True, text=True, check=False, **options
    )


def train(data: Path, save_dir: Path, *options: object) -> str:
    """Run fairseq-train with the plugin; returns its log. Fails the test with the log."""
    result = run(
        ["fairseq-train", data, "--user-dir", USER_DIR, "--save-dir", save_dir,
         *OPTIMISER, "--max-update", "4", "--no-epoch-checkpoints", *options]
    )  # fmt: skip
    log = result.stdout + result.stderr
    assert result.returncode == 0, log[-4000:]
    return log


@pytest.fixture(scope="session")
def joint_checkpoint(once, source_data) -> Path:
    """A model of 3 layers with a second head after layer 2, after 4 updates."""
    options = ["--task", "masked_lm", "--criterion", "joint_masked_lm", *SMALL_MODEL, *LENGTH]
    options += ["--auxiliary-head-layers", "2"]
    folder = once("joint", lambda folder: train(source_data, folder, *options))
    return folder / "checkpoint_last.pt"


def state_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True)["model"]
