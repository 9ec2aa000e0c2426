"""Memory and speed of `fairseq-minimodel prepare`, beside SentencePiece + fairseq-preprocess.

    python benchmarks/prepare.py --gigabytes 2 --folder /tmp/benchmark

Generates text (words by Zipf's law over a million types), prepares it while the memory of the whole
process tree is sampled from /proc, and prepares a smaller part of it once more, with the vocabulary
given, in turns with the usual way: SentencePiece's Python interface to pieces, then
`fairseq-preprocess --srcdict`. Needs Linux, and disk for five times the text.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import sentencepiece

ROOT = Path(__file__).resolve().parents[1]
COMMAND = (
    "import sys; sys.argv[0] = 'fairseq-minimodel'; "
    "from fairseq_minimodel.cli import main; sys.exit(main())"
)
SECONDS_BETWEEN_SAMPLES = 0.2


def generate_text(path, size, types=1_000_000, seed=0):
    """Write `size` bytes: words of two to twelve letters, about 18 per line and 12 lines per document.

    The r-th most frequent of the types has a frequency of 1 / (r + 2.7) (Zipf-Mandelbrot).
    """
    generator = np.random.default_rng(seed)
    letters = np.frombuffer(b"etaoinshrdlucmfwygpbvkxqjz", np.uint8)
    weights = 1 / np.arange(1, 27)
    drawn = generator.choice(letters, (types, 12), p=weights / weights.sum())
    ranks = np.arange(types)
    lengths = np.clip(2 + np.log10(ranks + 1) * 1.3 + generator.normal(0, 1.5, types), 1, 12)
    words = [row[:length].tobytes() for row, length in zip(drawn, lengths.astype(int), strict=True)]
    ended = np.array([word + end for end in (b" ", b"\n", b"\n\n") for word in words], object)
    frequency = 1 / (ranks + 2.7)
    ends = np.cumsum(frequency / frequency.sum())
    # A table in place of a search: as many entries of a type as its frequency asks for.
    table = np.searchsorted(ends, (np.arange(1 << 24) + 0.5) / (1 << 24)).astype(np.int32)
    written = 0
    with open(path, "wb") as file:
        while written < size:
            drawn = table[generator.integers(len(table), size=1 << 20)]
            ending = generator.random(len(drawn))
            drawn += types * ((ending < 1 / 18).astype(np.int32) + (ending < 1 / 216))
            written += file.write(b"".join(ended[drawn].tolist()))


def process_tree(root):
    """Process ids of `root` and all its descendants."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    tree = {root}
    while more := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return tree


def memory_of(pid):
    """(resident bytes, proportional bytes, is the vocabulary trainer); zeros when it has ended."""
    try:
        trainer = b"SentencePieceTrainer" in Path(f"/proc/{pid}/cmdline").read_bytes()
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0, 0, False
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return sizes.get("Rss", 0), sizes.get("Pss", 0), trainer


def prepare(text, output, *options, show=True):
    """Run the command. Returns its seconds, those with the trainer, and peaks in bytes."""
    command = [sys.executable, "-c", COMMAND, "prepare", "--text", text, "--output", output]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    process = subprocess.Popen(
        list(map(str, [*command, *options])),
        env=environment,
        stdout=None if show else subprocess.DEVNULL,
        stderr=None if show else subprocess.DEVNULL,
    )
    result = {"seconds": 0, "trainer_seconds": 0, "rss": 0, "pss": 0, "trainer_pss": 0}
    previous = started
    while process.poll() is None:
        now = time.monotonic()
        samples = [memory_of(pid) for pid in process_tree(process.pid)]
        own = [sample for sample in samples if not sample[2]]
        trainer = sum(pss for _, pss, is_trainer in samples if is_trainer)
        result["rss"] = max(result["rss"], sum(rss for rss, _, _ in own))
        result["pss"] = max(result["pss"], sum(pss for _, pss, _ in own))
        result["trainer_pss"] = max(result["trainer_pss"], trainer)
        result["trainer_seconds"] += (now - previous) * (trainer > 0)
        previous = now
        time.sleep(SECONDS_BETWEEN_SAMPLES)
    result["seconds"] = time.monotonic() - started
    if process.returncode:
        sys.exit(f"prepare ended with exit code {process.returncode}")
    return result


def prepare_the_usual_way(text, model, dictionary, folder, workers):
    """Seconds for SentencePiece to pieces on all cores, and for fairseq-preprocess on them."""
    started = time.monotonic()
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    with (
        open(text, encoding="utf-8") as lines,
        open(folder / "pieces", "w", encoding="utf-8") as file,
    ):
        while batch := lines.readlines(1 << 20):
            pieces = processor.encode(batch, out_type=str, num_threads=workers)
            file.writelines(" ".join(line) + "\n" for line in pieces)
    encoded = time.monotonic()
    # With W workers, fairseq binarises in W - 1 processes and then the last part alone.
    command = [sys.executable, "-m", "fairseq_cli.preprocess", "--only-source"]
    command += ["--trainpref", folder / "pieces", "--srcdict", dictionary]
    command += ["--destdir", folder / "usual", "--workers", 4 * workers]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return encoded - started, time.monotonic() - encoded


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--comparison-megabytes", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=2, help="of the comparison")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--folder", type=Path, required=True, help="is made, and removed at the end"
    )
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True)
    try:
        measure(folder, arguments)
    finally:
        shutil.rmtree(folder)


def measure(folder, arguments):
    workers = arguments.workers
    text, part = folder / "text.txt", folder / "part.txt"
    generate_text(text, arguments.gigabytes * 1e9)
    size = text.stat().st_size
    whole = prepare(text, folder / "data", "--workers", workers)
    megabytes = size / 1e6
    seconds = whole["seconds"] - whole["trainer_seconds"]
    print(f"{megabytes:,.0f} MB of text, {workers} workers: {whole['seconds']:.0f} s, of which")
    print(f"  vocabulary training: {whole['trainer_seconds']:.0f} s")
    print(f"  all else: {seconds:.0f} s, {megabytes / seconds:.1f} MB/s")
    proportional, resident = whole["pss"] / 1e6, whole["rss"] / 1e6
    print("peak memory of all processes together")
    print(f"  without the trainer: {proportional:,.0f} MB (PSS; sum of RSS {resident:,.0f} MB)")
    print(f"  the trainer: {whole['trainer_pss'] / 1e6:,.0f} MB")

    with open(text, "rb") as source, open(part, "wb") as file:
        file.write(source.read(int(arguments.comparison_megabytes * 1e6)))
    megabytes = part.stat().st_size / 1e6
    model, dictionary = folder / "data" / "sentencepiece.bpe.model", folder / "data" / "dict.txt"
    vocabulary = ("--sentencepiece-model", model, "--dict", dictionary)
    ours, usual = [], []
    for number in range(arguments.rounds):
        output = folder / f"part{number}"
        result = prepare(part, output, "--workers", workers, *vocabulary, show=False)
        ours.append(result["seconds"])
        usual.append(prepare_the_usual_way(part, model, dictionary, folder, workers))
        shutil.rmtree(folder / "usual")
    for mine, (encoding, preprocessing) in zip(ours, usual, strict=True):
        total = encoding + preprocessing
        print(
            f"{megabytes:.0f} MB with the vocabulary given: prepare {mine:.1f} s "
            f"({megabytes / mine:.1f} MB/s); SentencePiece {encoding:.1f} s + fairseq-preprocess "
            f"{preprocessing:.1f} s = {total:.1f} s ({megabytes / total:.1f} MB/s); "
            f"ratio {total / mine:.1f}"
        )


if __name__ == "__main__":
    main()
