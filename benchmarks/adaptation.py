"""Speed of adaptation, step 1b and fine-tuning, beside what a user would use instead.

    python benchmarks/adaptation.py [--quick] [--json FILE]

Every variant lives in a process of its own, with one thread unless its name says two, and the
processes take turns; a ratio is the median over the turns of the ratio within a turn, so that what
else the machine does hits both alike. A step is all that fairseq's trainer does with a batch: forward
and backward pass, clipping, optimiser, metrics. Needs `transformers` for the comparison with it. Prints
Markdown tables.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from training import MASKED, STEPS, Case, Runner, Step, machine, task_lengths
from workers import Worker, WorkerError, ratio_of_speeds, serve

# The shape of RoBERTa-base.
BASE = Case("ours", 4, width=768, ffn=3072, heads=12, vocabulary=50_000)
# Six layers, of which two attend to all tokens; a feed-forward of 1.5 widths, as in the published ones.
MODERN = Case("transformers", 6, ffn=384, family="modernbert")
FINE_TUNING = Case(
    "fairseq", 6, width=384, ffn=1536, heads=12, tokens=sum(task_lengths()), fine_tuning=True
)
VARIANTS = {
    "fairseq, 12 layers": Case("fairseq", 12),
    "fairseq, 4 layers": Case("fairseq", 4),
    "ours, 4 layers": Case("ours", 4),
    "ours, 4 layers, bf16": Case("ours", 4, precision="body"),
    "products alone, 4 layers": Case("products", 4),
    "products alone, 4 layers, MKL": Case("products, MKL", 4),
    "products alone, 4 layers, bf16": Case("products", 4, precision="body"),
    "transformers, 12 layers, V 50,000": Case("transformers", 12, vocabulary=50_000),
    "fairseq, 4 layers, V 50,000": Case("fairseq", 4, vocabulary=50_000),
    "ours, 4 layers, V 50,000": Case("ours", 4, vocabulary=50_000),
    "ours, 4 layers, V 50,000, bf16": Case("ours", 4, vocabulary=50_000, precision="body"),
    "fairseq, 4 layers, 512 tokens": Case("fairseq", 4, length=512),
    "ours, 4 layers, 512 tokens": Case("ours", 4, length=512),
    "ours, 4 layers, 512 tokens, bf16": Case("ours", 4, length=512, precision="body"),
    "step 1b, fairseq": Case("fairseq", 6, bottom=4),
    "step 1b, ours": Case("ours", 6, bottom=4),
    "step 1b, ours, bf16": Case("ours", 6, bottom=4, precision="body"),
    "fine-tuning, fairseq": FINE_TUNING,
    "fine-tuning, ours": replace(FINE_TUNING, kind="ours"),
    "fine-tuning, ours, bf16": replace(FINE_TUNING, kind="ours", precision="body"),
    "ModernBERT, transformers": MODERN,
    "ModernBERT, ours": replace(MODERN, kind="ours"),
    "ModernBERT, ours, bf16": replace(MODERN, kind="ours", precision="body"),
    "ModernBERT, transformers, 512 tokens": replace(MODERN, length=512),
    "ModernBERT, ours, 512 tokens": replace(MODERN, kind="ours", length=512),
    "ModernBERT, ours, 512 tokens, bf16": replace(
        MODERN, kind="ours", length=512, precision="body"
    ),
    "ours, width 768": BASE,
    "ours, width 768, bf16": replace(BASE, precision="body"),
    "ours, width 768, bf16, two threads": replace(BASE, precision="body", threads=2),
    "products alone, width 768": replace(BASE, kind="products"),
    "products alone, width 768, bf16": replace(BASE, kind="products", precision="body"),
    "pretraining, 12 layers": Case("pretraining", 12),
    "MiniJoint pretraining": Case("pretraining", 12, auxiliary=4),
    "pretraining, V 50,000": Case("pretraining", 12, vocabulary=50_000),
    "MiniJoint pretraining, V 50,000": Case("pretraining", 12, vocabulary=50_000, auxiliary=4),
}
# name of a ratio of tokens per second: (variant, compared with, at least)
RATIOS = {
    "depth4_vs_fairseq12": ("ours, 4 layers, bf16", "fairseq, 12 layers", 6.5),
    "depth4_vs_hf12_50k": (
        "ours, 4 layers, V 50,000, bf16",
        "transformers, 12 layers, V 50,000",
        10,
    ),
    "same_depth_fp32": ("ours, 4 layers", "fairseq, 4 layers", 1.7),
    "same_depth_bf16": ("ours, 4 layers, bf16", "fairseq, 4 layers", 2.4),
    "vs_floor": ("ours, 4 layers, bf16", "products alone, 4 layers, bf16", 0.6),
    "onednn_vs_mkl": ("products alone, 4 layers", "products alone, 4 layers, MKL", None),
    "vs_floor_fp32": ("ours, 4 layers", "products alone, 4 layers", 0.6),
    "vs_floor_768": ("ours, width 768, bf16", "products alone, width 768, bf16", 0.75),
    "vs_floor_fp32_768": ("ours, width 768", "products alone, width 768", 0.85),
    "two_threads": ("ours, width 768, bf16, two threads", "ours, width 768, bf16", 1.7),
    "same_depth_fp32_50k": ("ours, 4 layers, V 50,000", "fairseq, 4 layers, V 50,000", None),
    "same_depth_bf16_50k": ("ours, 4 layers, V 50,000, bf16", "fairseq, 4 layers, V 50,000", None),
    "same_depth_fp32_512": ("ours, 4 layers, 512 tokens", "fairseq, 4 layers, 512 tokens", None),
    "same_depth_bf16_512": (
        "ours, 4 layers, 512 tokens, bf16",
        "fairseq, 4 layers, 512 tokens",
        None,
    ),
    "post_step": ("step 1b, ours, bf16", "step 1b, fairseq", 1.8),
    "modern_vs_hf": ("ModernBERT, ours, bf16", "ModernBERT, transformers", 2),
    "modern_vs_hf_fp32": ("ModernBERT, ours", "ModernBERT, transformers", None),
    "modern_vs_hf_512": (
        "ModernBERT, ours, 512 tokens, bf16",
        "ModernBERT, transformers, 512 tokens",
        2,
    ),
    "modern_vs_hf_fp32_512": (
        "ModernBERT, ours, 512 tokens",
        "ModernBERT, transformers, 512 tokens",
        None,
    ),
    "post_step_fp32": ("step 1b, ours", "step 1b, fairseq", None),
    "finetuning": ("fine-tuning, ours, bf16", "fine-tuning, fairseq", None),
    "finetuning_fp32": ("fine-tuning, ours", "fine-tuning, fairseq", None),
}
# of time, not of speed: (variant, compared with, at most)
TIME_RATIOS = {
    "minijoint_vs_plain": ("MiniJoint pretraining", "pretraining, 12 layers", 1.10),
    "minijoint_vs_plain_50k": ("MiniJoint pretraining, V 50,000", "pretraining, V 50,000", None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write times and ratios there")
    parser.add_argument("--quick", action="store_true", help="a third of the turns")
    parser.add_argument("--only", metavar="TEXT", default="", help="variants with this in the name")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(Runner(STEPS | PRODUCTS))
        return
    names = [name for name in VARIANTS if options.only in name]
    if not names:
        sys.exit(f'no variant has "{options.only}" in its name: {"; ".join(VARIANTS)}')
    times, peaks = measure(names, turns=3 if options.quick else 9)
    results = {
        name: {
            "milliseconds": round(1000 * statistics.median(times[name]), 2),
            "tokens_per_second": round(VARIANTS[name].tokens / statistics.median(times[name]), 1),
            "peak_megabytes": peaks[name],
        }
        for name in names
    }
    ratios = ratios_of(times)
    print_results(results, ratios)
    if options.json:
        from fairseq_minimodel.files.atomic import write_json

        record = {"machine": machine(), "variants": results, "ratios": ratios}
        write_json(options.json, record)


def measure(names: list[str], turns: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of a step in every turn, and peak memory in megabytes, of each variant."""
    workers = {name: Worker(__file__, "--worker") for name in names}
    times = {name: [] for name in names}
    for name, worker in workers.items():
        answer(name, worker, "make", asdict(VARIANTS[name]))
    for turn in range(turns + 1):
        for name, worker in workers.items():
            seconds = answer(name, worker, "steps", 2)
            if turn:  # the first turn warms up
                times[name].append(seconds)
        print(f"turn {turn} of {turns}", file=sys.stderr, flush=True)
    peaks = {name: answer(name, worker, "peak", None) for name, worker in workers.items()}
    for worker in workers.values():
        worker.close()
    return times, peaks


def answer(name: str, worker: Worker, request: str, value: object) -> object:
    try:
        return worker.ask({request: value})
    except WorkerError as error:
        sys.exit(f"the variant {name} failed: {error}")


def products_step(case: Case, folder: Path) -> Step:
    """The matrix products of our step and nothing else, on operands that lie ready.

    Those of the last layer at the predicted positions, as in our step: a floor for what is computed,
    lower than the products of all layers at all positions.
    """
    import torch
    from torch.nn.functional import linear

    from fairseq_minimodel.nn.cpu import prepare_process

    if "MKL" not in case.kind:
        prepare_process()
    dtype = torch.bfloat16 if case.precision == "body" else torch.float32
    width, tokens, length = case.width, case.tokens, case.length
    predicted = case.sequences * round(MASKED * length)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape).to(dtype)

    def products(rows: int, inputs: int, outputs: int) -> Callable[[], None]:
        x, weight, gradient = random(rows, inputs), random(outputs, inputs), random(rows, outputs)
        return lambda: (linear(x, weight), gradient @ weight)

    def attention(queries: int) -> Callable[[], None]:
        batch, size = case.sequences * case.heads, width // case.heads
        q, k = random(batch, queries, size), random(batch, length, size)
        scores = random(batch, queries, length)
        return lambda: (
            *(q @ k.transpose(1, 2), scores @ k),  # forward
            *(q @ k.transpose(1, 2), scores.transpose(1, 2) @ q),  # of the weights, of the values
            *(scores @ k, scores.transpose(1, 2) @ q),  # of the queries, of the keys
        )

    def layer(rows: int, queries: int) -> list[Callable[[], None]]:
        qkv = (
            [products(rows, width, 3 * width)]
            if rows == tokens
            else [products(tokens, width, 2 * width), products(rows, width, width)]
        )
        shapes = [(width, width), (width, case.ffn), (case.ffn, width)]
        return [*qkv, attention(queries), *(products(rows, *shape) for shape in shapes)]

    hidden, logits = random(predicted, width), random(predicted, case.vocabulary)
    work = [one for _ in range(case.layers - 1) for one in layer(tokens, length)]
    work += layer(predicted, predicted // case.sequences)
    work += [products(predicted, width, width), products(predicted, width, case.vocabulary)]
    work += [lambda: logits.t() @ hidden]

    def step() -> None:
        for one in work:
            one()

    return step


PRODUCTS = {"products": products_step, "products, MKL": products_step}


def ratios_of(times: dict[str, list[float]]) -> dict[str, float]:
    """Of speeds for RATIOS, of times for TIME_RATIOS."""
    ratios = {}
    for key, (variant, reference, _) in (RATIOS | TIME_RATIOS).items():
        if variant in times and reference in times:
            ratio = ratio_of_speeds(times[variant], times[reference])
            ratios[key] = round(ratio if key in RATIOS else 1 / ratio, 3)
    return ratios


def print_results(results: dict, ratios: dict) -> None:
    from fairseq_minimodel.terminal.table import format_table

    print(
        format_table(
            ["variant", "ms a step", "tokens/s", "peak memory (MB)"],
            [[name, *result.values()] for name, result in results.items()],
        )
    )
    print()
    rows = []
    for key, ratio in ratios.items():
        variant, reference, bar = (RATIOS | TIME_RATIOS)[key]
        wanted = "" if bar is None else f"{'>=' if key in RATIOS else '<='} {bar}"
        rows.append([f"`{key}`", variant, reference, ratio, wanted])
    print(format_table(["ratio", "of", "to", "measured", "aim"], rows))
    print(f"\n{', '.join(f'{key} {value}' for key, value in machine().items())}")


if __name__ == "__main__":
    main()
