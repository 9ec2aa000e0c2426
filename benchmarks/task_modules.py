"""Task modules beside full fine-tuning: what they train, what they store, and how they score.

    python benchmarks/task_modules.py --body FILE --packs FOLDER --data FOLDER --output FOLDER
    python benchmarks/task_modules.py --forward

The first trains full fine-tuning (language frozen) and every method on English topics (SIB-200) and
inference (SNLI's counterfactual pairs), from all examples, 500 and 100, a fixed number of updates of 32
examples each, with three seeds; and scores each in every language of the packs (SIB-200's and XNLI's
development sets). A seed decides which examples are taken, their order, and what starts at random. The
learning rate of a method is the one of three with the highest accuracy on 100 English training examples
of the topics that were held out, with seed 1; of equal ones the lowest. All else is the same for all:
Adam, warm-up over a tenth of the updates, then a linear decay to 0, dropout 0.1, no weight decay.

Every run is a file in the output folder (runs/TASK-METHOD-EXAMPLES-SEED.json) and is not run again, so
that a stopped benchmark goes on, and instances that have other --methods can share a folder.

parameters and bytes: of the module with its head; of full fine-tuning, of the tensors that it changed.
CPU time and memory (peak, resident): of the training process, one thread, its start included; time,
because other work may use the machine, in seconds of the processor (user and system).

The second compares a forward pass through changed layers with one through plain layers, in evaluation
mode, at RoBERTa-base's width, on 8 sequences of 128 tokens. All models take turns in one process with
one thread; a ratio is the median over the turns of the ratio within a turn, of CPU time.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported

from fairseq_minimodel.plugin.compat import patches as compat  # noqa: F401  isort: skip  (before anything of fairseq)

import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import Checkpoint, read_checkpoint
from fairseq_minimodel.corpus.benchmarks.read import read_benchmark
from fairseq_minimodel.corpus.classification import prepare_classification
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.files.atomic import write_json
from fairseq_minimodel.inference.build import ready_device
from fairseq_minimodel.inference.solve import speaker_of
from fairseq_minimodel.kinds.batches import Batches
from fairseq_minimodel.kinds.classification import Accuracies, Classifier
from fairseq_minimodel.kinds.examples import Example
from fairseq_minimodel.models.minimodel_roberta import MiniModelRoberta, MiniModelRobertaConfig
from fairseq_minimodel.modules.method import SHARED
from fairseq_minimodel.packs.module import WEIGHTS, load_module, save_module
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.packs.plug_module import plug_module
from fairseq_minimodel.terminal.table import format_table

SOURCE = "en"
BATCH = 32
HELD_OUT = 100  # examples by which a learning rate is chosen
MAX_TOKENS = 8192  # of a batch in evaluation
FULL = "full"
RATES = {  # to choose from: the papers' and larger ones, which small models want
    FULL: (1e-4, 3e-4, 1e-3),
    "adapter": (3e-4, 1e-3, 3e-3),
    "compacter": (1e-3, 3e-3, 1e-2),
    "compacter++": (1e-3, 3e-3, 1e-2),
    "mask": (1e-3, 3e-3, 1e-2),
    "tarp": (5e-4, 1.5e-3, 5e-3),
    "tams": (5e-4, 1.5e-3, 5e-3),
    "tarp+tams": (5e-4, 1.5e-3, 5e-3),
    "lora": (1e-3, 3e-3, 1e-2),
}
ALL = "all"

FORWARD = {  # settings of each model; of the last column, whether it is in training mode
    "plain": ({}, False),
    "plain, once more": ({}, False),
    "mask": ({"task_module": "mask"}, False),
    "lora": ({"task_module": "lora"}, False),
    "tarp, bilinear": ({"task_module": "tarp", "tarp_form": "bilinear"}, False),
    "tarp, kronecker": ({"task_module": "tarp", "tarp_form": "kronecker"}, False),
    "tarp, dynamic": ({"task_module": "tarp", "tarp_form": "dynamic"}, False),
    "adapter": ({"task_module": "adapter"}, False),
    "compacter": ({"task_module": "compacter"}, False),
    "compacter++": ({"task_module": "compacter++"}, False),
    "tams, a structure drawn at random": ({"task_module": "tams"}, False),
    "tams, all operations (as in training)": ({"task_module": "tams"}, True),
}


@dataclass(frozen=True)
class Task:
    """What is learned, and what it is tested on.

    Attributes:
        train, test: name of a benchmark, and its folder below --data.
        updates: of a training.
    """

    train: tuple[str, str]
    test: tuple[str, str]
    updates: int


TASKS = {
    "topics": Task(("sib200", "topic/sib200"), ("sib200", "topic/sib200"), 220),
    "inference": Task(
        ("snli-counterfactual", "nli/snli-counterfactual"), ("xnli", "nli/xnli"), 400
    ),
}
CHOSEN_ON = "topics"


@dataclass(frozen=True)
class Data:
    """The rows of a task: English ones to train on, and those to test on in each language."""

    train: Sequence[Example]
    test: dict[str, Sequence[Example]]

    @property
    def labels(self) -> list[str]:
        return sorted({example.label for example in self.train})


@dataclass(frozen=True)
class Usage:
    """Of a process: seconds of the processor, peak memory in megabytes."""

    seconds: float
    megabytes: float


class Benchmark:
    """All runs that were asked for, and the folder of those that are done."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.output = options, options.output
        self.device = ready_device("cpu")
        self.body = read_checkpoint(options.body)
        self.packs = {
            pack.description.language: pack
            for pack in map(load_pack, sorted(path.parent for path in find_packs(options.packs)))
        }
        if SOURCE not in self.packs:
            raise InputError(f"{options.packs} has no pack of the language {SOURCE}: make it first")
        self._data: dict[str, Data] = {}
        self._keep_settings()

    def _keep_settings(self) -> None:
        """Refuse to go on in a folder whose runs were made otherwise."""
        path = self.output / "settings.json"
        settings = {
            "body": str(self.options.body.resolve()),
            "updates": self.options.updates,
            "rows": self.options.rows,
            "quick": self.options.quick,
        }
        if path.exists() and json.loads(path.read_text(encoding="utf-8")) != settings:
            raise InputError(
                f"{self.output} has runs with other settings ({path}): give another --output"
            )
        write_json(path, settings)

    def run(self) -> None:
        for method in self.options.methods:
            rate = self.choose_rate(method)
            for task in self.options.tasks:
                for examples in self.options.examples:
                    for seed in self.options.seeds:
                        self.score(task, method, examples, seed, rate)

    def choose_rate(self, method: str) -> float:
        """The learning rate, by held-out English examples."""
        rates = RATES[method][1:2] if self.options.quick else RATES[method]
        if len(rates) == 1:
            return rates[0]
        accuracies = {rate: self.hold_out(method, rate) for rate in rates}
        return max(rates, key=lambda rate: (accuracies[rate], -rate))

    def hold_out(self, method: str, rate: float) -> float:
        path = self.output / "runs" / f"choice-{method}-{rate:g}.json"
        if not path.exists():
            rows = self.data(CHOSEN_ON).train
            shuffled = random.Random(1).sample(rows, len(rows))
            tests = {SOURCE: shuffled[:HELD_OUT]}
            with self.trained(
                CHOSEN_ON, method, shuffled[HELD_OUT:], 1, rate, path.stem
            ) as trained:
                [score] = self.scores(trained.model, trained.labels, tests).values()
            write_json(path, {"method": method, "rate": rate, "accuracy": score.accuracy})
            report(f"{path.stem}: {score.accuracy:.3f}", trained.usage)
        return json.loads(path.read_text(encoding="utf-8"))["accuracy"]

    def score(self, task: str, method: str, examples: str, seed: int, rate: float) -> None:
        """One run, unless it is done."""
        path = self.output / "runs" / f"{task}-{method}-{examples}-{seed}.json"
        if path.exists():
            return
        rows = self.data(task).train
        if examples != ALL:
            if int(examples) > len(rows):
                raise InputError(f"{task} has {len(rows)} examples to train on, not {examples}")
            rows = random.Random(seed).sample(rows, int(examples))
        with self.trained(task, method, rows, seed, rate, path.stem) as trained:
            scores = self.scores(trained.model, trained.labels, self.data(task).test)
        by_language = {language: score.accuracy for language, score in scores.items()}
        write_json(
            path,
            {
                "task": task,
                "method": method,
                "examples": examples,
                "seed": seed,
                "rate": rate,
                "parameters": trained.parameters,
                "bytes": trained.bytes,
                "seconds": trained.usage.seconds,
                "megabytes": trained.usage.megabytes,
                "accuracy": by_language,
                "majority": {language: score.majority for language, score in scores.items()},
                "rows": {language: score.examples for language, score in scores.items()},
                "chance": next(iter(scores.values())).chance,
            },
        )
        source, others = split_source(by_language)
        report(f"{path.stem}: {source:.3f}, zero-shot {others:.3f}", trained.usage)

    @contextmanager
    def trained(
        self, task: str, method: str, rows: Sequence[Example], seed: int, rate: float, name: str
    ) -> Iterator[SimpleNamespace]:
        """A trained model, what it is made of, and what its training used.

        Yields `model` (a checkpoint), `labels` (their dictionary), `parameters`, `bytes` and `usage`.
        Its files are there while the context is.
        """
        folder = self.output / "work" / f"{name}-{os.getpid()}"
        folder.mkdir(parents=True)
        data, made = folder / "data", folder / "module"
        self.prepare(task, rows, folder / "train.jsonl", data)
        usage = self.train(task, method, data, seed, rate, folder)
        checkpoint, labels = read_checkpoint(folder / "checkpoint_last.pt"), data / "label/dict.txt"
        if method == FULL:
            changed = changed_tensors(self.body, checkpoint)
            parameters = sum(tensor.numel() for tensor in changed)
            size = sum(tensor.nbytes for tensor in changed)
        else:
            save_module(made, checkpoint, labels)
            module = load_module(made)
            checkpoint = plug_module(self.body, module)[0]
            parameters, size = module.description.parameters, (made / WEIGHTS).stat().st_size
        yield SimpleNamespace(
            model=checkpoint, labels=labels, parameters=parameters, bytes=size, usage=usage
        )
        shutil.rmtree(folder)

    def prepare(self, task: str, rows: Sequence[Example], file: Path, folder: Path) -> None:
        """Binarised examples in English; the labels are those of all of the task's examples."""
        columns = [f"text{number}" for number in range(1, 1 + len(rows[0].texts))]
        with open(file, "w", encoding="utf-8") as lines:
            for row in rows:
                record = {**dict(zip(columns, row.texts, strict=True)), "label": row.label}
                lines.write(json.dumps(record) + "\n")
        pack = self.packs[SOURCE]
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            prepare_classification(
                train=file,
                valid=file,  # there must be one; it is not read
                sentencepiece_model=pack.tokenizer,
                dictionary=pack.dictionary,
                output=folder,
                text_columns=columns,
                label_column="label",
                labels=self.data(task).labels,
            )

    def train(
        self, task: str, method: str, data: Path, seed: int, rate: float, folder: Path
    ) -> Usage:
        updates = self.updates(task)
        kind = ["--freeze", "language"] if method == FULL else ["--task-module", method]
        sizes = {
            f"--{name.replace('_', '-')}": value
            for name, value in self.body.body_settings().items()
        }
        given = {
            "--user-dir": Path(fairseq_minimodel.__file__).parent,
            "--task": "sentence_prediction",
            "--num-classes": len(self.data(task).labels),
            "--criterion": "sentence_prediction",
            "--init-token": 0,
            "--separator-token": 2,
            "--shorten-method": "truncate",
            "--finetune-from-model": self.options.body,
            "--arch": "minimodel_roberta",
            **sizes,
            "--pooler-dropout": 0.1,
            "--batch-size": BATCH,
            "--required-batch-size-multiple": 1,
            "--optimizer": "fused_adam",
            "--adam-betas": "(0.9,0.98)",
            "--lr": rate,
            "--lr-scheduler": "polynomial_decay",
            "--warmup-updates": updates // 10,
            "--total-num-update": updates,
            "--max-update": updates,
            "--seed": seed,
            "--num-workers": 0,
            "--log-format": "simple",
            "--save-dir": folder,
            "--save-interval": updates,  # in epochs: at the end alone
        }
        command = [Path(sys.executable).with_name("fairseq-train"), data, *kind]
        command += [word for pair in given.items() for word in pair]
        command += ["--cpu", "--disable-validation", "--no-epoch-checkpoints"]
        command += ["--no-save-optimizer-state"]
        return measure([str(word) for word in command], folder / "log")

    def updates(self, task: str) -> int:
        return self.options.updates or TASKS[task].updates

    def data(self, task: str) -> Data:
        """Read once."""
        if task not in self._data:
            (name, folder), (test, test_folder) = TASKS[task].train, TASKS[task].test
            train = read_benchmark(name, self.options.data / folder, "train", [SOURCE])
            tests = read_benchmark(test, self.options.data / test_folder, "dev", list(self.packs))
            self._data[task] = Data(
                train[SOURCE].rows,
                {language: split.rows[: self.options.rows] for language, split in tests.items()},
            )
        return self._data[task]

    def scores(
        self, model: Checkpoint, labels: Path, tests: dict[str, Sequence[Example]]
    ) -> dict[str, Accuracies]:
        classifier, scores = Classifier(str(model.path), model, labels), {}
        for language, rows in tests.items():
            classifier.check(rows, language, "test")
            speaker = speaker_of(model, self.packs[language], Batches(MAX_TOKENS, self.device))
            scores[language] = classifier.score(speaker, rows, language)
        return scores


def find_packs(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*/language.json"))
    if not found:
        raise InputError(f"{folder} has no packs: name the folder that holds a folder for each")
    return found


def changed_tensors(before: Checkpoint, after: Checkpoint) -> list[torch.Tensor]:
    """The tensors that training changed, or made."""
    return [
        tensor
        for name, tensor in after.state.items()
        if name not in before.state or not torch.equal(tensor, before.state[name])
    ]


# Starts a command, with its log, and prints what it used. In a process of its own: on Linux the peak
# memory of a process counts from that of the one that starts it, and this one holds PyTorch.
MEASURE = """
import json, os, subprocess, sys
with open(sys.argv[1], "w") as log:
    process = subprocess.Popen(sys.argv[2:], stdout=log, stderr=log)
    _, status, usage = os.wait4(process.pid, 0)
print(json.dumps([status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
"""


def measure(command: Sequence[str], log: Path) -> Usage:
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE, log, *command], check=True, stdout=subprocess.PIPE
    )
    status, seconds, megabytes = json.loads(answer.stdout)
    if status:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        sys.exit(f"{last}\n\nfairseq-train failed; its log is {log}")
    return Usage(seconds, megabytes)


def report(text: str, usage: Usage) -> None:
    print(f"{text} ({usage.seconds:.0f} s of CPU)", file=sys.stderr, flush=True)


def split_source(by_language: dict[str, float]) -> tuple[float, float]:
    """English, and the mean over the other languages (nan if there is none)."""
    others = [value for language, value in by_language.items() if language != SOURCE]
    return by_language[SOURCE], statistics.mean(others) if others else float("nan")


# ---- tables of all runs in a folder


def print_tables(output: Path) -> None:
    paths = sorted((output / "runs").glob("*.json"))
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    runs = [record for record in records if "task" in record]
    for task in TASKS:
        of_task = [run for run in runs if run["task"] == task]
        if not of_task:
            continue
        numbers = sorted({run["examples"] for run in of_task if run["examples"] != ALL}, key=int)
        if any(run["examples"] == ALL for run in of_task):
            print(f"\n{describe(task, of_task)}, all examples\n")
            print(costs_table([run for run in of_task if run["examples"] == ALL]))
        if numbers:
            print(f"\n{task}, few examples\n")
            print(few_examples_table(of_task, numbers))
    rates = {run["method"]: run["rate"] for run in runs}
    chosen = ", ".join(f"{method} {rates[method]:g}" for method in RATES if method in rates)
    print(f"\nlearning rates: {chosen}")


def describe(task: str, runs: Sequence[dict]) -> str:
    rows = runs[0]["rows"]
    counts = sorted(set(rows.values()))
    seeds = sorted({run["seed"] for run in runs})
    return (
        f"{task}: accuracy (%) on {' to '.join(map(str, counts))} examples per language "
        f"({', '.join(rows)}); mean ± standard deviation over the seeds "
        f"{', '.join(map(str, seeds))}"
    )


def costs_table(runs: Sequence[dict]) -> str:
    rows = []
    for method, own in by_method(runs):
        first = own[0]
        rows.append(
            [method, first["parameters"], first["bytes"]]
            + [
                f"{statistics.mean(run[name] for run in own):.0f}"
                for name in ("seconds", "megabytes")
            ]
            + accuracies(own)
        )
    source, others = split_source(runs[0]["majority"])
    chance = f"{100 * runs[0]['chance']:.1f}"
    blank = [None] * 4
    rows.append(["most frequent label", *blank, f"{100 * source:.1f}", f"{100 * others:.1f}"])
    rows.append(["chance", *blank, chance, chance])
    headers = [
        "method",
        "parameters",
        "bytes",
        "CPU time (s)",
        "memory (MB)",
        "English",
        "zero-shot",
    ]
    return format_table(headers, rows)


def few_examples_table(runs: Sequence[dict], numbers: Sequence[str]) -> str:
    rows = []
    for method, own in by_method(runs):
        row = [method]
        for number in numbers:
            row += accuracies([run for run in own if run["examples"] == number])
        rows.append(row)
    headers = [f"{number}: {where}" for number in numbers for where in ("English", "zero-shot")]
    return format_table(["method", *headers], rows)


def by_method(runs: Sequence[dict]) -> Iterator[tuple[str, list[dict]]]:
    for method in RATES:
        own = [run for run in runs if run["method"] == method]
        if own:
            yield method, own


def accuracies(runs: Sequence[dict]) -> list[str | None]:
    """Cells: English, zero-shot."""
    if not runs:
        return [None, None]
    pairs = [split_source(run["accuracy"]) for run in runs]
    return [
        mean_and_deviation([100 * value for value in values]) for values in zip(*pairs, strict=True)
    ]


def mean_and_deviation(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"


# ---- the cost of a forward pass


def compare_forward_passes(quick: bool) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    ready_device("cpu")
    width, turns = (384, 3) if quick else (768, 30)
    tokens = torch.randint(4, 1000, (8, 128))
    models = {name: forward_model(width, *variant) for name, variant in FORWARD.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for turn in range(turns + 2):
            for name, model in models.items():
                start = time.process_time()
                model(tokens, features_only=True)
                if turn > 1:  # the first ones warm up
                    times[name].append(time.process_time() - start)
    rows = []
    for name, seconds in times.items():
        ratios = [own / plain for own, plain in zip(seconds, times["plain"], strict=True)]
        milliseconds = f"{1000 * statistics.median(seconds):.1f}"
        rows.append([name, milliseconds, f"{statistics.median(ratios):.2f}"])
    print(f"forward pass, 2 layers, width {width}, 12 heads, 8 x 128 tokens, {turns} turns\n")
    print(format_table(["", "median (ms)", "ratio to plain"], rows))


def forward_model(width: int, settings: dict[str, str], training: bool) -> MiniModelRoberta:
    """Two layers with a task module; no dropout, so that training mode has none either."""
    dictionary = Dictionary()
    for number in range(1000):
        dictionary.add_symbol(f"w{number}")
    config = OmegaConf.structured(MiniModelRobertaConfig)
    config.update({"encoder_layers": 2, "encoder_embed_dim": width, "max_positions": 128})
    config.update({"encoder_ffn_embed_dim": 4 * width, "encoder_attention_heads": 12})
    config.update({"dropout": 0.0, "attention_dropout": 0.0, **settings})
    task = SimpleNamespace(source_dictionary=dictionary)
    model = MiniModelRoberta.build_model(config, task).train(training)
    if settings.get("task_module") == "tams":
        getattr(model.encoder.sentence_encoder, SHARED).embedding.normal_()  # there is a task
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forward", action="store_true", help="compare forward passes, no more")
    parser.add_argument("--body", type=Path, metavar="FILE", help="pretrained checkpoint")
    parser.add_argument(
        "--packs",
        type=Path,
        metavar="FOLDER",
        help="a folder for each language, English among them",
    )
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="with topic/sib200, nli/xnli and so on"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", default=Path("outputs/task_modules")
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument("--examples", nargs="+", default=[ALL, "500", "100"], metavar="NUMBER|all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--updates", type=int, help="of each training (default: the task's own)")
    parser.add_argument("--rows", type=int, help="of a test set, from its start (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="a trial: one seed, few updates and rows, no choice"
    )
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.updates, options.rows = options.seeds[:1], 5, 20
    try:
        if options.forward:
            compare_forward_passes(options.quick)
            return
        for name in ("body", "packs", "data"):
            if getattr(options, name) is None:
                parser.error(f"--{name} is needed, or --forward")
        Benchmark(options).run()
        print_tables(options.output)
    except InputError as error:
        sys.exit(f"task_modules.py: {error}")


if __name__ == "__main__":
    main()
