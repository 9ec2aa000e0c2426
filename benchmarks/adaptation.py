"""Training speed over a frozen body, or frozen bottom layers, beside what a user would use instead.

    python benchmarks/adaptation.py [--quick] [--json FILE]

Every variant lives in a process of its own with one thread, and the processes take turns; a ratio is
the median over the turns of the ratio within a turn, so that what else the machine does hits both
alike. A step is all that fairseq's trainer does with a batch: forward and backward pass, clipping,
optimiser, metrics. Needs `transformers` for the comparison with it. Prints Markdown tables.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

WIDTH, FFN, HEADS, TOKENS = 256, 1024, 4, 1024
MASKED = 0.15

# name: (kind, settings of `run_worker`)
VARIANTS = {
    "fairseq, 12 layers": ("fairseq", {"layers": 12}),
    "fairseq, 4 layers": ("fairseq", {"layers": 4}),
    "ours, 4 layers": ("ours", {"layers": 4}),
    "ours, 4 layers, bf16": ("ours", {"layers": 4, "bfloat16": True}),
    "products alone, 4 layers": ("floor", {"layers": 4}),
    "products alone, 4 layers, MKL": ("floor", {"layers": 4, "mkl": True}),
    "products alone, 4 layers, bf16": ("floor", {"layers": 4, "bfloat16": True}),
    "transformers, 12 layers, V 50,000": ("transformers", {"layers": 12, "vocabulary": 50_000}),
    "fairseq, 4 layers, V 50,000": ("fairseq", {"layers": 4, "vocabulary": 50_000}),
    "ours, 4 layers, V 50,000": ("ours", {"layers": 4, "vocabulary": 50_000}),
    "ours, 4 layers, V 50,000, bf16": (
        "ours",
        {"layers": 4, "vocabulary": 50_000, "bfloat16": True},
    ),
    "fairseq, 4 layers, 512 tokens": ("fairseq", {"layers": 4, "length": 512}),
    "ours, 4 layers, 512 tokens": ("ours", {"layers": 4, "length": 512}),
    "ours, 4 layers, 512 tokens, bf16": ("ours", {"layers": 4, "length": 512, "bfloat16": True}),
    "step 1b, fairseq": ("fairseq", {"layers": 6, "bottom": 4}),
    "step 1b, ours": ("ours", {"layers": 6, "bottom": 4}),
    "step 1b, ours, bf16": ("ours", {"layers": 6, "bottom": 4, "bfloat16": True}),
    "pretraining, 12 layers": ("pretraining", {"layers": 12}),
    "MiniJoint pretraining": ("pretraining", {"layers": 12, "auxiliary": 4}),
    "pretraining, V 50,000": ("pretraining", {"layers": 12, "vocabulary": 50_000}),
    "MiniJoint pretraining, V 50,000": (
        "pretraining",
        {"layers": 12, "vocabulary": 50_000, "auxiliary": 4},
    ),
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
    "same_depth_fp32_50k": ("ours, 4 layers, V 50,000", "fairseq, 4 layers, V 50,000", None),
    "same_depth_bf16_50k": ("ours, 4 layers, V 50,000, bf16", "fairseq, 4 layers, V 50,000", None),
    "same_depth_fp32_512": ("ours, 4 layers, 512 tokens", "fairseq, 4 layers, 512 tokens", None),
    "same_depth_bf16_512": (
        "ours, 4 layers, 512 tokens, bf16",
        "fairseq, 4 layers, 512 tokens",
        None,
    ),
    "post_step": ("step 1b, ours, bf16", "step 1b, fairseq", 1.8),
    "post_step_fp32": ("step 1b, ours", "step 1b, fairseq", None),
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
    parser.add_argument("--worker", metavar="VARIANT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        run_worker(*VARIANTS[options.worker])
        return
    names = [name for name in VARIANTS if options.only in name]
    if not names:
        sys.exit(f'no variant has "{options.only}" in its name: {"; ".join(VARIANTS)}')
    times, peaks = measure(names, turns=3 if options.quick else 9)
    results = {
        name: {
            "milliseconds": round(1000 * statistics.median(times[name]), 2),
            "tokens_per_second": round(TOKENS / statistics.median(times[name]), 1),
            "peak_megabytes": peaks[name],
        }
        for name in names
    }
    ratios = ratios_of(times)
    print_results(results, ratios)
    if options.json:
        from fairseq_minimodel.files.atomic import atomic_file

        with atomic_file(options.json) as partial:
            record = {"machine": machine(), "variants": results, "ratios": ratios}
            partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def measure(names: list[str], turns: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of a step in every turn, and peak memory in megabytes, of each variant."""
    workers = {name: Worker(name) for name in names}
    times = {name: [] for name in names}
    for turn in range(turns + 1):
        for name, worker in workers.items():
            seconds = statistics.mean(worker.steps(2))
            if turn:  # the first turn warms up
                times[name].append(seconds)
        print(f"turn {turn} of {turns}", file=sys.stderr, flush=True)
    return times, {name: worker.close() for name, worker in workers.items()}


class Worker:
    """A process that runs steps of one variant when asked to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ, OMP_NUM_THREADS="1"),
        )
        self.process.stdout.readline()  # it is ready

    def steps(self, count: int) -> list[float]:
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"the variant {self.name} failed")
        return json.loads(answer)

    def close(self) -> int:
        self.process.stdin.write("0\n")
        self.process.stdin.flush()
        peak = json.loads(self.process.stdout.readline())
        self.process.wait()
        return peak


def run_worker(kind: str, settings: dict) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # fairseq prints
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        step = STEPS[kind](Path(folder), **settings)
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            if line == "0\n":
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
                print(peak, file=answers, flush=True)
                return
            seconds = []
            for _ in range(int(line)):
                start = time.perf_counter()
                step()
                seconds.append(time.perf_counter() - start)
            print(json.dumps(seconds), file=answers, flush=True)


def fairseq_step(
    folder: Path,
    layers: int,
    vocabulary: int = 8000,
    length: int = 128,
    bottom: int | None = None,
) -> Callable[[], None]:
    """fairseq's own model, criterion and optimiser, frozen by hand: the body or its `bottom` layers."""
    arguments = ["--arch", "roberta", "--criterion", "masked_lm", "--optimizer", "adam"]

    def freeze(model: object) -> None:
        for name, parameter in model.named_parameters():
            trained = name.endswith(("embed_tokens.weight", "lm_head.weight", "lm_head.bias"))
            if bottom is not None:  # MiniPost's step 1b
                upper = tuple(f".layers.{layer}." for layer in range(bottom, layers))
                trained = not trained and ("lm_head" in name or any(one in name for one in upper))
            parameter.requires_grad_(trained)

    return trainer_step(folder, layers, vocabulary, length, arguments, freeze)


def our_step(
    folder: Path,
    layers: int,
    vocabulary: int = 8000,
    length: int = 128,
    bfloat16: bool = False,
    bottom: int | None = None,
) -> Callable[[], None]:
    """The step of the task language_adaptation; with `bottom` layers frozen, MiniPost's step 1b."""
    from fairseq_minimodel.nn.cpu import prepare_process

    prepare_process()
    arguments = [
        *("--arch", "minimodel_roberta", "--criterion", "joint_masked_lm"),
        *("--freeze", "body" if bottom is None else f"bottom:{bottom}"),
        *("--optimizer", "fused_adam"),
        *("--body-precision", "bfloat16" if bfloat16 else "parameters"),
    ]
    return trainer_step(folder, layers, vocabulary, length, arguments)


def pretraining_step(
    folder: Path, layers: int, vocabulary: int = 8000, auxiliary: int = 0
) -> Callable[[], None]:
    """Everything is trained; with one head this is fairseq's model and loss."""
    arguments = ["--arch", "minimodel_roberta", "--criterion", "joint_masked_lm"]
    arguments += ["--optimizer", "adam"]
    if auxiliary:
        arguments += ["--auxiliary-head-layers", str(auxiliary)]
    return trainer_step(folder, layers, vocabulary, 128, arguments)


def trainer_step(
    folder: Path,
    layers: int,
    vocabulary: int,
    length: int,
    arguments: list[str],
    freeze: Callable[[object], None] = lambda model: None,
) -> Callable[[], None]:
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq.logging import metrics
    from fairseq.trainer import Trainer

    import fairseq_minimodel

    fairseq_minimodel.register()
    symbols = vocabulary - 5  # <s>, <pad>, </s>, <unk>, <mask>
    (folder / "dict.txt").write_text("".join(f"w{i} 1\n" for i in range(symbols)))
    sizes = {"layers": layers, "embed-dim": WIDTH, "ffn-embed-dim": FFN, "attention-heads": HEADS}
    given = [str(folder), "--task", "masked_lm", "--tokens-per-sample", "512", "--cpu", *arguments]
    for name, size in sizes.items():
        given += [f"--encoder-{name}", str(size)]
    given += ["--clip-norm", "1.0", "--lr", "1e-4", "--max-positions", "512", "--dropout", "0.1"]
    given += ["--attention-dropout", "0.1", "--adam-betas", "(0.9,0.98)", "--adam-eps", "1e-6"]
    parser = options.get_training_parser()
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, given))
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    freeze(model)
    trainer = Trainer(cfg, task, model, task.build_criterion(cfg.criterion))
    batch = make_batch(vocabulary, length)

    def step() -> None:
        with metrics.aggregate("train_inner"):
            trainer.train_step([batch])

    return step


def transformers_step(folder: Path, layers: int, vocabulary: int) -> Callable[[], None]:
    """`RobertaForMaskedLM`, body frozen, PyTorch's fused AdamW."""
    import torch
    from transformers import RobertaConfig, RobertaForMaskedLM

    model = RobertaForMaskedLM(
        RobertaConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            num_hidden_layers=layers,
            num_attention_heads=HEADS,
            intermediate_size=FFN,
            max_position_embeddings=514,
            type_vocab_size=1,
        )
    ).train()
    model.requires_grad_(False)
    trained = [model.get_input_embeddings().weight, model.lm_head.bias]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.98), eps=1e-6, fused=True)
    batch = make_batch(vocabulary, 128)
    tokens = batch["net_input"]["src_tokens"]
    labels = batch["target"].masked_fill(batch["target"].eq(1), -100)

    def step() -> None:
        optimiser.zero_grad()
        model(input_ids=tokens, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()

    return step


def floor_step(
    folder: Path,
    layers: int,
    vocabulary: int = 8000,
    length: int = 128,
    bfloat16: bool = False,
    mkl: bool = False,
) -> Callable[[], None]:
    """The matrix products of our step and nothing else, on operands that lie ready.

    Those of the last layer at the predicted positions, as in our step: a floor for what is computed,
    lower than the products of all layers at all positions.
    """
    import torch
    from torch.nn.functional import linear

    from fairseq_minimodel.nn.cpu import prepare_process

    if not mkl:
        prepare_process()
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    sequences, size = TOKENS // length, WIDTH // HEADS
    predicted = sequences * round(MASKED * length)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape).to(dtype)

    def products(rows: int, inputs: int, outputs: int) -> Callable[[], None]:
        x, weight, gradient = random(rows, inputs), random(outputs, inputs), random(rows, outputs)
        return lambda: (linear(x, weight), gradient @ weight)

    def attention(queries: int) -> Callable[[], None]:
        batch = sequences * HEADS
        q, k = random(batch, queries, size), random(batch, length, size)
        scores = random(batch, queries, length)
        return lambda: (
            *(q @ k.transpose(1, 2), scores @ k),  # forward
            *(q @ k.transpose(1, 2), scores.transpose(1, 2) @ q),  # of the weights, of the values
            *(scores @ k, scores.transpose(1, 2) @ q),  # of the queries, of the keys
        )

    def layer(rows: int, queries: int) -> list[Callable[[], None]]:
        qkv = (
            [products(rows, WIDTH, 3 * WIDTH)]
            if rows == TOKENS
            else [products(TOKENS, WIDTH, 2 * WIDTH), products(rows, WIDTH, WIDTH)]
        )
        shapes = [(WIDTH, WIDTH), (WIDTH, FFN), (FFN, WIDTH)]
        return [*qkv, attention(queries), *(products(rows, *shape) for shape in shapes)]

    hidden, logits = random(predicted, WIDTH), random(predicted, vocabulary)
    work = [one for _ in range(layers - 1) for one in layer(TOKENS, length)]
    work += layer(predicted, predicted // sequences)
    work += [products(predicted, WIDTH, WIDTH), products(predicted, WIDTH, vocabulary)]
    work += [lambda: logits.t() @ hidden]

    def step() -> None:
        for one in work:
            one()

    return step


def make_batch(vocabulary: int, length: int) -> dict:
    """A batch of `masked_lm` of random tokens without padding."""
    import numpy as np
    import torch

    from fairseq_minimodel.kinds.masking import Masking

    sequences = TOKENS // length
    tokens = np.random.default_rng(1).integers(4, vocabulary - 1, (sequences, length))
    tokens[:, 0], lengths = 0, np.full(sequences, length)
    masking = Masking(vocabulary - 1, 4, vocabulary - 1, MASKED)
    masked, predicted = masking(tokens, lengths, np.random.default_rng(2))
    return {
        "id": torch.arange(sequences),
        "net_input": {
            "src_tokens": torch.from_numpy(masked),
            "src_lengths": torch.from_numpy(lengths),
        },
        "target": torch.from_numpy(np.where(predicted, tokens, 1)),
        "nsentences": sequences,
        "ntokens": TOKENS,
    }


STEPS = {
    "fairseq": fairseq_step,
    "ours": our_step,
    "pretraining": pretraining_step,
    "transformers": transformers_step,
    "floor": floor_step,
}


def ratios_of(times: dict[str, list[float]]) -> dict[str, float]:
    """Of speeds for RATIOS, of times for TIME_RATIOS."""
    ratios = {}
    for key, (variant, reference, _) in (RATIOS | TIME_RATIOS).items():
        if variant in times and reference in times:
            pairs = zip(times[variant], times[reference], strict=True)
            in_turns = [ours / theirs for ours, theirs in pairs]
            ratio = statistics.median(in_turns)
            ratios[key] = round(1 / ratio if key in RATIOS else ratio, 3)
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


def machine() -> dict[str, str]:
    from importlib.metadata import version

    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    packages = ("torch", "fairseq-fixed", "transformers")
    return {"processor": cpu, **{package: version(package) for package in packages}}


if __name__ == "__main__":
    main()
