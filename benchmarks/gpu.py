"""Adaptation on a GPU: losses and gradients beside the CPU's, speed beside that of other programs.

    python benchmarks/gpu.py --json FILE [--budget SECONDS] [--tokens NUMBER] [--smoke]

benchmarks/gpu.sh runs it after the tests that need a GPU. The model has the shape of RoBERTa-base with
random weights. Every way of training lives in a process of its own, and the processes take turns
(`workers.py`). Prints Markdown tables, writes all as JSON, and what the processes print beside it
(.log). Ends with 1 if a comparison or a way fails. `--smoke` is small and runs on the CPU.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import training
from training import Case, flops_of, machine
from workers import LateError, Worker, WorkerError, ratio_of_speeds, receive_all

from fairseq_minimodel.cost.gpus import peak_of
from fairseq_minimodel.errors import InputError, print_input_errors_plainly
from fairseq_minimodel.files.atomic import write_json
from fairseq_minimodel.terminal.table import counted, format_table

BUDGET = 540.0  # seconds


@dataclass(frozen=True)
class Form:
    """How large a run is.

    Attributes:
        sizes: of all models.
        shapes: layers and length of sequences, what matters most first.
        tokens: of a batch.
        turns, steps: of each way at each shape, and of a turn.
        device: "cuda" or "cpu".
        compiler: the backend of torch.compile.
        updates: of the comparison with the CPU.
    """

    sizes: dict[str, int]
    shapes: Sequence[tuple[int, int]]
    tokens: int
    turns: int
    steps: int
    device: str
    compiler: str
    updates: int = 5


FULL = Form(
    {"width": 768, "ffn": 3072, "heads": 12, "vocabulary": 50_265},
    [(4, 128), (12, 128), (4, 512), (12, 512), (6, 128), (6, 512)],
    tokens=16_384,
    turns=5,
    steps=10,
    device="cuda",
    compiler="inductor",
)
SMOKE = Form(
    {"width": 64, "ffn": 128, "heads": 2, "vocabulary": 200},
    [(1, 32), (2, 64)],
    tokens=256,
    turns=1,
    steps=1,
    device="cpu",
    compiler="eager",  # which traces the model and compiles nothing
    updates=2,
)
# What stands first is what the others are compared with.
WAYS = {
    "ours, body in bf16": {"kind": "ours", "precision": "body"},
    "ours, --fp16": {"kind": "ours", "precision": "fp16"},
    "ours, --bf16": {"kind": "ours", "precision": "bf16"},
    "fairseq, --fp16": {"kind": "fairseq", "precision": "fp16"},
    "fairseq, --bf16": {"kind": "fairseq", "precision": "bf16"},
    "transformers, torch.compile, bf16": {"kind": "transformers", "precision": "bf16"},
    "ours, body in bf16, two processes": {"kind": "ours", "precision": "body", "processes": 2},
}
# Compared with the same in float32 on the CPU; without dropout, which differs by device.
COMPARED = {
    "adaptation": ({"kind": "ours", "layers": 4}, ("float32", "body", "fp16", "bf16")),
    "step 1b": ({"kind": "ours", "layers": 4, "bottom": 2}, ("float32", "body", "fp16", "bf16")),
    "MiniJoint": (
        {"kind": "pretraining", "layers": 4, "auxiliary": 2},
        ("float32", "fp16", "bf16"),
    ),
}
# How far a loss, and a gradient, may be from those of the CPU, as a share of them.
NEAR = {"float32": (1e-4, 1e-3), "16 bits": (0.01, 0.1)}


def main() -> None:
    print_input_errors_plainly()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="all results")
    parser.add_argument(
        "--budget",
        type=float,
        default=BUDGET,
        metavar="SECONDS",
        help="what does not fit is left out",
    )
    parser.add_argument("--tokens", type=int, help=f"of a batch (default: {FULL.tokens:,})")
    parser.add_argument(
        "--smoke", action="store_true", help="small, on the CPU, to see that it runs"
    )
    parser.add_argument(
        "--tests", type=Path, metavar="LOG", help="of pytest; its last line is kept"
    )
    options = parser.parse_args()
    form = SMOKE if options.smoke else FULL
    tokens = options.tokens or form.tokens
    check(form, tokens)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        open(options.json.with_suffix(".log"), "wb") as log,
    ):
        run = Run(form, tokens, Clock(options.budget), options.json, Path(folder), log)
        if options.tests:
            run.record["tests"] = last_line(options.tests)
        run.compare()
        run.measure()
        write_json(options.json, run.record)
    print_results(run.record)
    sys.exit(1 if has_failed(run.record) else 0)


def check(form: Form, tokens: int) -> None:
    """Raises: InputError: there is no GPU, or the batch cannot be split into sequences."""
    if form.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "PyTorch finds no GPU here: SMOKE=1 (--smoke) shows on a CPU that the benchmark runs"
        )
    longest = max(length for _, length in form.shapes)
    if tokens < longest or tokens % longest:
        raise InputError(
            f"a batch of {tokens} tokens does not divide into sequences of {longest}: give a "
            f"multiple of {longest}"
        )


def last_line(path: Path) -> str:
    """Raises: InputError: there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        raise InputError(f"{path} cannot be read: name the log of the tests") from None
    return next((line.strip(" =") for line in reversed(lines) if line.strip()), "nothing")


class Clock:
    """Counts a budget of seconds down."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        return self.end - time.monotonic()


def gpus_of(form: Form) -> list[str]:
    """The names of the GPUs that are used."""
    if form.device == "cpu":
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def reason_against(way: dict, gpus: Sequence[str]) -> str | None:
    """Why a way of training, or a precision alone, cannot run here; None: it can."""
    if way["precision"] == "fp16" and not gpus:
        return "fairseq trains with it on a GPU alone"
    has_bf16 = not gpus or torch.cuda.is_bf16_supported(including_emulation=False)
    if way["precision"] in ("body", "bf16") and not has_bf16:
        return f"{gpus[0]} does not compute in bf16"
    if way.get("kind") == "transformers" and find_spec("transformers") is None:
        return "transformers is not installed"
    if way.get("processes") == 2 and len(gpus) == 1:
        return "there is one GPU"
    return None


class Team:
    """The processes of one way of training: one, or two with a GPU each that train together.

    After a `WorkerError`, which all that they are asked for may raise, they are gone, and `make`
    starts new ones.
    """

    def __init__(self, name: str, run: "Run") -> None:
        self.way, self.run = WAYS[name], run
        self.workers: list[Worker] = []

    def make(self, layers: int, length: int) -> None:
        """Get ready for a shape."""
        if not self.workers:
            self._start()
        case = self.case(layers, length)
        ranks = [{**asdict(case), "rank": rank} for rank in range(case.processes)]
        self._ask([{"make": rank} for rank in ranks])
        self.steps(1)  # compiles, and fills what is kept

    def case(self, layers: int, length: int) -> Case:
        form = self.run.form
        compiler = form.compiler if self.way["kind"] == "transformers" else ""
        return Case(
            **self.way, **form.sizes, layers=layers, length=length, tokens=self.run.tokens,
            device=form.device, compiler=compiler, meeting=self.meeting,
        )  # fmt: skip

    def steps(self, count: int) -> float:
        """Seconds of a step, of the slowest process."""
        return max(self._ask([{"steps": count}] * len(self.workers)))

    def peak(self) -> int:
        """Megabytes, of the process that takes most."""
        return max(self._ask([{"peak": None}] * len(self.workers)))

    def _start(self) -> None:
        # by such a file processes find each other once
        self.meeting = str(self.run.folder / f"meeting-{time.monotonic_ns()}")
        processes = self.way.get("processes", 1)
        self.workers = [self.run.worker(gpu) for gpu in range(processes)]

    def _ask(self, requests: Sequence[dict]) -> list:
        try:
            for worker, request in zip(self.workers, requests, strict=True):
                worker.send(request)
            return receive_all(self.workers, self.run.clock.left())
        except WorkerError:
            self.close()
            raise

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.workers = []


@dataclass
class Run:
    """A run and what it has found so far, which is written again after each part."""

    form: Form
    tokens: int
    clock: Clock
    path: Path
    folder: Path
    log: BinaryIO
    record: dict = field(init=False)

    def __post_init__(self) -> None:
        self.gpus = gpus_of(self.form)
        self.peak = peak_of(self.gpus[0]) if self.gpus else None
        self.longest = 0.0  # seconds that a part has taken
        self.record = {
            "machine": {**machine(), "gpus": self.gpus, "cuda": torch.version.cuda},
            "budget_seconds": round(self.clock.left()),
            "form": {**asdict(self.form), "tokens": self.tokens},
            "tests": None,
            "compared": [],
            "speed": [],
            "left_out": [],
        }
        if self.gpus and not self.peak:
            self.leave_out("utilisation", f"the peak rate of {self.gpus[0]} is not in cost/gpus.py")

    def worker(self, gpu: int = 0) -> Worker:
        """A process that sees one GPU; none, on the CPU."""
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        visible = given.split(",") if given else [str(gpu)] * (gpu + 1)
        seen = visible[gpu] if self.form.device == "cuda" else ""
        # processes of one machine meet on it, where there is no network either
        return Worker(
            training.__file__, log=self.log, CUDA_VISIBLE_DEVICES=seen, GLOO_SOCKET_IFNAME="lo"
        )

    def leave_out(self, what: str, reason: str) -> None:
        self.record["left_out"].append(f"{what}: {reason}")

    @contextmanager
    def part(self, what: str) -> Iterator[None]:
        """A part of the run; then the results so far are written, and it is shown how far the run is.

        Raises: LateError: inside or at once, if less time is left than an earlier part has taken.
        """
        before = self.clock.left()
        if before <= self.longest:
            raise LateError("the budget is spent")
        yield
        self.longest = max(self.longest, before - self.clock.left())
        write_json(self.path, self.record)
        print(f"{what}: {self.clock.left():.0f} s left", file=sys.stderr, flush=True)

    # ---- losses and gradients

    def compare(self) -> None:
        """Losses and gradients of our trainings in each precision, with the CPU's in float32."""
        workers = [self.worker(), self.worker()]  # the first for the CPU
        try:
            for what in COMPARED:
                with self.part(what):
                    self._compare(what, *workers)
        except LateError as error:
            self.leave_out(f"{what} beside the CPU", str(error))
        except WorkerError as error:
            row = {"what": what, "precision": "float32 on the CPU", "failed": str(error)}
            self.record["compared"].append(row)
        finally:
            for worker in workers:
                worker.kill()

    def _compare(self, what: str, cpu: Worker, device: Worker) -> None:
        settings, precisions = COMPARED[what]
        sizes = {**self.form.sizes, "vocabulary": min(8000, self.form.sizes["vocabulary"])}
        case = Case(**settings, **sizes, tokens=256, length=64, dropout=0.0)
        reference = self.folder / "reference.npy"
        cpu.send(self._learn(case, reference))
        found = {}
        for precision in precisions:
            if reason := reason_against({"precision": precision}, self.gpus):
                self.leave_out(f"{what} in {precision}", reason)
                continue
            there = {**asdict(case), "precision": precision, "device": self.form.device}
            path = self.folder / f"{precision}.npy"
            try:
                losses = device.ask(self._learn(Case(**there), path), self.clock.left())
            except LateError:
                raise
            except WorkerError as error:
                row = {"what": what, "precision": precision, "failed": str(error)}
                self.record["compared"].append(row)
                continue
            found[precision] = losses, path
        expected = cpu.receive(self.clock.left())
        for precision, (losses, path) in found.items():
            row = distances(losses, expected, np.load(path), np.load(reference))
            row["is_near"] = is_near(row, *NEAR["float32" if precision == "float32" else "16 bits"])
            self.record["compared"].append({"what": what, "precision": precision, **row})

    def _learn(self, case: Case, gradient: Path) -> dict:
        request = {"case": asdict(case), "updates": self.form.updates, "gradient": str(gradient)}
        return {"learn": request}

    # ---- speed

    def measure(self) -> None:
        """Every way at every shape, until the budget is spent."""
        teams = {}
        for name, way in WAYS.items():
            if reason := reason_against(way, self.gpus):
                self.leave_out(name, reason)
            else:
                teams[name] = Team(name, self)
        try:
            for layers, length in self.form.shapes:
                shape = f"{counted(layers, 'layer')}, {length} tokens"
                try:
                    with self.part(shape):
                        self.record["speed"] += self._measure(teams, layers, length)
                except LateError as error:
                    self.leave_out(shape, str(error))
        finally:
            for team in teams.values():
                team.close()

    def _measure(self, teams: dict[str, Team], layers: int, length: int) -> list[dict]:
        """A row for each way; of one that fails, or takes too long, with the reason."""
        lost: dict[str, dict] = {}
        seconds: dict[str, list[float]] = {name: [] for name in teams}
        peaks: dict[str, int] = {}

        def each(act: Callable[[str, Team], object]) -> None:
            for name, team in teams.items():
                if name not in lost:
                    try:
                        act(name, team)
                    except LateError as error:
                        lost[name] = {"left_out": str(error)}
                    except WorkerError as error:
                        lost[name] = {"failed": str(error)}

        each(lambda name, team: team.make(layers, length))
        taken, turns = 0.0, 0
        while turns < self.form.turns and taken <= self.clock.left():
            before = self.clock.left()
            each(lambda name, team: seconds[name].append(team.steps(self.form.steps)))
            taken, turns = before - self.clock.left(), turns + 1
        each(lambda name, team: peaks.update({name: team.peak()}))
        rows = []
        first = next((name for name in teams if name not in lost), None)
        for name, team in teams.items():
            row = {"layers": layers, "length": length, "way": name}
            if name not in lost:
                row |= self._rates(team.case(layers, length), statistics.median(seconds[name]))
                row |= {"turns": turns, "peak_megabytes": peaks[name], "first": first}
                ratio = ratio_of_speeds(seconds[first], seconds[name])  # of batches
                row["speed_of_first_over_this"] = ratio / team.case(layers, length).processes
            rows.append(row | lost.get(name, {}))
        return rows

    def _rates(self, case: Case, seconds: float) -> dict:
        """What a step of so many seconds comes to."""
        rate = flops_of(case) / seconds
        peak = self.peak and case.processes * self.peak
        return {
            "milliseconds": 1000 * seconds,
            "tokens_per_second": case.processes * case.tokens / seconds,
            "tflops_per_second": rate / 1e12,
            "utilisation_percent": 100 * rate / peak if peak else None,
        }


def distances(
    losses: Sequence[float], expected: Sequence[float], gradient: np.ndarray, reference: np.ndarray
) -> dict[str, float]:
    """How far losses (the first and the last) and a gradient are from what is expected, as shares."""
    first, last = (abs(losses[i] - expected[i]) / abs(expected[i]) for i in (0, -1))
    difference = np.linalg.norm(gradient - reference) / np.linalg.norm(reference)
    return {
        "loss": losses[0],
        "loss_differs": first,
        "gradient_differs": float(difference),
        "last_loss": losses[-1],
        "last_loss_differs": last,
    }


def is_near(row: dict, loss: float, gradient: float) -> bool:
    """Whether the distances of a row are within such shares; after updates the loss has ten times."""
    return (
        row["loss_differs"] <= loss
        and row["gradient_differs"] <= gradient
        and row["last_loss_differs"] <= 10 * loss
    )


def has_failed(record: dict) -> bool:
    rows = [*record["compared"], *record["speed"]]
    return any("failed" in row or not row.get("is_near", True) for row in rows)


def print_results(record: dict) -> None:
    if record["tests"]:
        print(f"Tests: {record['tests']}\n")
    if record["compared"]:
        after = f"after {counted(record['form']['updates'], 'update')}"
        print(
            format_table(
                ["training", "precision", "loss (bits)", "differs by (%)", "its gradient (%)", after,
                 "differs by (%)", ""],
                [compared_cells(row) for row in record["compared"]],
            )
        )  # fmt: skip
        print()
    if record["speed"]:
        print(
            format_table(
                ["layers", "length", "training", "tokens/s", "TFLOP/s", "utilisation (%)",
                 "peak memory (MB)", "speed of the first over it"],
                [speed_cells(row) for row in record["speed"]],
            )
        )  # fmt: skip
        print()
    if record["left_out"]:
        print("Left out:\n")
        print("\n".join(f"- {text}" for text in record["left_out"]), end="\n\n")
    gpus = ", ".join(record["machine"]["gpus"]) or "no GPU"
    others = [f"{name} {value}" for name, value in record["machine"].items() if name != "gpus"]
    print(f"{gpus}; {', '.join(others)}")


def compared_cells(row: dict) -> list[object]:
    if "failed" in row:
        return [row["what"], row["precision"], *[None] * 5, row["failed"]]
    shares = [100 * row[f"{name}_differs"] for name in ("loss", "gradient", "last_loss")]
    verdict = "" if row["is_near"] else "too far"
    return [
        row["what"], row["precision"], row["loss"], *shares[:2], row["last_loss"], shares[2], verdict,
    ]  # fmt: skip


def speed_cells(row: dict) -> list[object]:
    start = [row["layers"], row["length"], row["way"]]
    if reason := row.get("failed", row.get("left_out")):
        return [*start, None, None, None, None, reason]
    names = ("tokens_per_second", "tflops_per_second", "utilisation_percent", "peak_megabytes")
    return [*start, *(row[name] for name in names), row["speed_of_first_over_this"]]


if __name__ == "__main__":
    main()
