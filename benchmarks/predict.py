"""Sentences a second of `predict`, beside the pipeline of `transformers` on the same exported model.

    python benchmarks/predict.py [--layers 6 --width 384] [--sentences 600] [--quick]

A classifier of random weights is written as a body and a pack, and by `export-hf` as a folder that
`transformers` loads; all variants label the same generated sentences. Every variant lives in a process
of its own with one thread, and the processes take turns; a ratio is the median over the turns of the
ratio within a turn. Then the command reads so many lines and ten times as many, for its peak memory.
Needs `transformers`, and Linux. Prints Markdown tables.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prepare import generate_text
from workers import Worker, WorkerError, ratios_of_speeds, serve

ROOT = Path(__file__).resolve().parents[1]
COMMAND = (
    "import sys; sys.argv[0] = 'fairseq-minimodel'; "
    "from fairseq_minimodel.cli import main; sys.exit(main())"
)
LABELS = ("travel", "sports", "politics", "science")
POSITIONS = 512
BATCH = 32  # of the pipeline
MAX_TOKENS = 1024  # a batch of ours, padding included, and of those sorted by hand
OURS, OURS_BF16 = "load(...).predict", "load(..., bfloat16=True).predict"
PIPELINE, SORTED = f"transformers pipeline, batch_size={BATCH}", "transformers, sorted by hand"
VARIANTS = (OURS, OURS_BF16, PIPELINE, SORTED)
RATIOS = ((OURS, PIPELINE), (OURS, SORTED), (OURS_BF16, PIPELINE), (SORTED, PIPELINE))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--sentences", type=int, default=600, help="a turn")
    parser.add_argument("--lines", type=int, default=2000, help="of the command's shorter input")
    parser.add_argument("--quick", action="store_true", help="a third of the turns")
    parser.add_argument("--worker", nargs=2, metavar=("VARIANT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        run_worker(options.worker[0], Path(options.worker[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_model(folder, options.layers, options.width)
        generate_text(folder / "text.txt", 2500 * options.lines, types=20_000, seed=1)
        lines = [line for line in (folder / "text.txt").read_text().split("\n") if line]
        (folder / "sentences.txt").write_text("\n".join(lines[: options.sentences]) + "\n")
        compare_speed(folder, options.sentences, turns=3 if options.quick else 9)
        compare_memory(folder, lines, options.lines)
    print(f"\n{platform.machine()}, {len(os.sched_getaffinity(0))} core(s), one thread")


def make_model(folder, layers, width):
    """model/, with body.pt, pack/ and label/dict.txt, and hf/ for `transformers`."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
    from fairseq_minimodel.interop.export_hf import export_hf
    from fairseq_minimodel.interop.import_hf import import_hf
    from fairseq_minimodel.vocabulary.tokenizers import load_sentencepiece
    from fairseq_minimodel.vocabulary.training import train_sentencepiece

    torch.manual_seed(1)
    (folder / "random").mkdir()
    generate_text(folder / "sample.txt", 2_000_000, types=20_000)
    tokenizer = folder / "random/sentencepiece.bpe.model"
    tokenizer.write_bytes(train_sentencepiece(folder / "sample.txt", 8000, 1.0)[0])
    config = XLMRobertaConfig(
        vocab_size=len(load_sentencepiece(tokenizer)) + 2,  # <pad> and <mask>
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        max_position_embeddings=POSITIONS + 2,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    XLMRobertaForMaskedLM(config).save_pretrained(folder / "random")
    import_hf(folder / "random", "xx", folder / "model")
    body = read_checkpoint(folder / "model/body.pt")
    head = "classification_heads.sentence_classification_head"
    body.state.update(
        {
            f"{head}.dense.weight": torch.randn(width, width),
            f"{head}.dense.bias": torch.randn(width),
            f"{head}.out_proj.weight": torch.randn(len(LABELS), width),
            f"{head}.out_proj.bias": torch.zeros(len(LABELS)),
        }
    )
    body.config["task"] = {"_name": "sentence_prediction", "init_token": 0, "separator_token": 2}
    write_checkpoint(folder / "model/body.pt", body)
    (folder / "model/label").mkdir()
    (folder / "model/label/dict.txt").write_text("".join(f"{label} 1\n" for label in LABELS))
    export_hf(folder / "model/body.pt", folder / "model/pack", folder / "hf")


def compare_speed(folder, sentences, turns):
    """Print sentences per second of each variant, and ratios."""
    from fairseq_minimodel.terminal.table import format_table

    workers = {
        name: Worker(__file__, "--worker", name, folder, TOKENIZERS_PARALLELISM="false")
        for name in VARIANTS
    }
    seconds = {name: [] for name in VARIANTS}
    labels = {}
    for turn in range(turns + 1):
        for name, worker in workers.items():
            try:
                taken, labels[name] = worker.ask("label")
            except WorkerError as error:
                sys.exit(f"the variant {name} failed: {error}")
            if turn:  # the first one warms up
                seconds[name].append(taken)
        print(f"turn {turn} of {turns}", file=sys.stderr, flush=True)
    for worker in workers.values():
        worker.close()
    rows = []
    for name in VARIANTS:
        same = [a == b for a, b in zip(labels[name], labels[PIPELINE], strict=True)]
        rate = sentences / statistics.median(seconds[name])
        rows.append([name, f"{rate:.1f}", f"{100 * statistics.mean(same):.1f}"])
    print(format_table(["variant", "sentences/s", "labels as the pipeline's (%)"], rows), "\n")
    print(
        format_table(
            ["speed of", "over that of", "ratio (median)", "lowest", "highest"],
            [[name, other, *ratios_of(seconds, name, other)] for name, other in RATIOS],
        )
    )


def ratios_of(seconds, name, other):
    """Median, lowest and highest of the ratios of speeds within a turn."""
    ratios = ratios_of_speeds(seconds[name], seconds[other])
    return [f"{ratio:.2f}" for ratio in (statistics.median(ratios), min(ratios), max(ratios))]


def run_worker(name, folder):
    import torch

    torch.set_num_threads(1)
    sentences = (folder / "sentences.txt").read_text().split("\n")[:-1]
    label = {
        OURS: lambda: our_labels(folder, bfloat16=False),
        OURS_BF16: lambda: our_labels(folder, bfloat16=True),
        PIPELINE: lambda: pipeline_labels(folder),
        SORTED: lambda: sorted_labels(folder),
    }[name]()

    def turn(_):
        started = time.perf_counter()
        labels = label(sentences)
        return time.perf_counter() - started, labels

    serve(turn)


def our_labels(folder, bfloat16):
    """From sentences to labels, by `fairseq_minimodel.load`."""
    import fairseq_minimodel

    model = fairseq_minimodel.load(
        folder / "model/body.pt", folder / "model/pack", device="cpu", bfloat16=bfloat16
    )
    return lambda sentences: [one.label for one in model.predict(sentences)]


def pipeline_labels(folder):
    """The same by the pipeline."""
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(folder / "hf"), device="cpu")
    return lambda sentences: [one["label"] for one in classify(sentences, batch_size=BATCH)]


def sorted_labels(folder):
    """The same by the library's model, with sentences of like length in a batch, as a user may do."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "hf")
    model = AutoModelForSequenceClassification.from_pretrained(folder / "hf").eval()

    def label(sentences):
        encoded = tokenizer(sentences)["input_ids"]
        labels, batch = [""] * len(sentences), []

        def finish():
            inputs = tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, return_tensors="pt")
            with torch.inference_mode():
                classes = model(**inputs).logits.argmax(dim=-1).tolist()
            for index, number in zip(batch, classes, strict=True):
                labels[index] = model.config.id2label[number]

        for index in sorted(range(len(encoded)), key=lambda index: len(encoded[index])):
            if batch and (len(batch) + 1) * len(encoded[index]) > MAX_TOKENS:
                finish()
                batch = []
            batch.append(index)
        finish()
        return labels

    return label


def compare_memory(folder, lines, count):
    """Print lines per second and peak memory of the command, on `count` lines and ten times as many."""
    from fairseq_minimodel.terminal.table import format_table

    rows = []
    for number in (count, 10 * count):
        text = folder / f"{number}.txt"
        text.write_text("\n".join(lines[:number]) + "\n")
        command = [sys.executable, "-c", COMMAND, "predict", "--body", folder / "model/body.pt"]
        command += [
            "--pack",
            folder / "model/pack",
            "--input",
            text,
            "--output",
            folder / "out.jsonl",
        ]
        process = subprocess.Popen(
            list(map(str, command)),
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"predict failed: {said}")
        summary = said.strip().split("\n")[-1]
        rows.append([f"{number:,}", usage.ru_maxrss // 1024, summary])
    print("\n" + format_table(["lines", "peak memory (MB)", "what predict says"], rows))


if __name__ == "__main__":
    main()
