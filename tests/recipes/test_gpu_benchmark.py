"""benchmarks/gpu.sh at its SMOKE=1 size, and what it says of runs that end in another way."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
sys.path.append(str(BENCHMARKS))

gpu, training, workers = map(importlib.import_module, ("gpu", "training", "workers"))


def run(*command, **variables):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "PATH": path, **{name: str(text) for name, text in variables.items()}},
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(result):
    """The one sentence of a refusal."""
    assert result.returncode == 2, result.stdout + result.stderr
    (sentence,) = result.stderr.strip().splitlines()
    return sentence.partition(": error: ")[2]


@pytest.mark.slow
def test_the_small_form_has_a_row_for_everything(tmp_path):
    result = run(BENCHMARKS / "gpu.sh", SMOKE="1", OUT=tmp_path / "out")
    log = tmp_path / "out-smoke/results.log"
    assert result.returncode == 0, result.stdout + result.stderr + log.read_text()[-3000:]
    record = json.loads((tmp_path / "out-smoke/results.json").read_text())
    assert " skipped" in record["tests"] and "passed" not in record["tests"]

    compared = {(row["what"], row["precision"]): row for row in record["compared"]}
    assert compared.keys() == {
        (what, precision)
        for what, (_, precisions) in gpu.COMPARED.items()
        for precision in precisions
        if precision != "fp16"
    }
    for (_, precision), row in compared.items():
        assert 0 < row["last_loss"] < row["loss"]  # the batch is learned
        assert (row["gradient_differs"] > 0) == (precision != "float32")

    ways = [name for name, way in gpu.WAYS.items() if way["precision"] != "fp16"]
    expected = [(*shape, way) for shape in gpu.SMOKE.shapes for way in ways]
    assert [(row["layers"], row["length"], row["way"]) for row in record["speed"]] == expected
    for row in record["speed"]:
        per_second = 1000 / row["milliseconds"]
        processes = gpu.WAYS[row["way"]].get("processes", 1)
        assert row["tokens_per_second"] == pytest.approx(256 * processes * per_second)
        assert row["utilisation_percent"] is None
        assert row["way"] in result.stdout
    assert "ours, --fp16: fairseq trains with it on a GPU alone" in record["left_out"]
    assert not any(text.startswith("transformers") for text in record["left_out"])


@pytest.mark.slow
def test_without_time_everything_is_left_out(tmp_path):
    path = tmp_path / "results.json"
    result = run("python", BENCHMARKS / "gpu.py", "--smoke", "--budget", 0, "--json", path)
    assert result.returncode == 0, result.stdout + result.stderr
    record = json.loads(path.read_text())
    assert not record["speed"] and not record["compared"]
    assert "- 2 layers, 64 tokens: the budget is spent" in result.stdout.splitlines()
    assert "adaptation beside the CPU: the budget is spent" in record["left_out"]


@pytest.mark.parametrize("kind", ["ours", "fairseq", "transformers"])
def test_flops_are_those_that_pytorch_counts(kind, tmp_path):
    case = training.Case(kind, 2, 32, 64, 2, vocabulary=70, tokens=96, length=24)
    step = training.STEPS[kind](case, tmp_path)
    step()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    # A frozen body spends a little on the gaps of the last layer's scores.
    assert training.flops_of(case) == pytest.approx(counter.get_total_flops(), rel=0.02)


def make_run(folder, log, seconds, form=gpu.SMOKE):
    return gpu.Run(form, form.tokens, gpu.Clock(seconds), folder / "results.json", folder, log)


def test_a_part_for_which_there_is_no_time_is_not_begun(tmp_path):
    run = make_run(tmp_path, None, seconds=100)
    left = iter([100, 40, 40, 40])  # the first part takes 60 seconds
    run.clock.left = lambda: next(left)
    with run.part("first"):
        run.record["speed"].append({"layers": 1})
    assert json.loads(run.path.read_text())["speed"] == [{"layers": 1}]
    with pytest.raises(workers.LateError, match="the budget is spent"), run.part("second"):
        pytest.fail("it has begun")


@pytest.mark.slow
def test_a_way_that_fails_is_a_row_and_the_others_go_on(tmp_path, monkeypatch):
    """As where the memory of a GPU is not enough; and one that takes too long is not a failure."""
    monkeypatch.setattr(
        gpu, "WAYS", {"good": {"kind": "ours", "precision": "float32"},
                      "bad": {"kind": "nonsense", "precision": "float32"}},
    )  # fmt: skip
    with open(tmp_path / "log", "wb") as log:
        run = make_run(tmp_path, log, seconds=300)
        run.measure()
        assert [row["way"] for row in run.record["speed"]] == ["good", "bad", "good", "bad"]
        good, bad, *_ = run.record["speed"]
        assert good["tokens_per_second"] > 0 and good["speed_of_first_over_this"] == 1
        assert bad["failed"] == "KeyError: 'nonsense'" and gpu.has_failed(run.record)

        monkeypatch.setattr(gpu, "WAYS", {"late": {"kind": "ours", "precision": "float32"}})
        run = make_run(tmp_path, log, seconds=0.2)
        run.measure()
    row, *_ = run.record["speed"]
    assert row["left_out"] == "it took too long" and not gpu.has_failed(run.record)
    assert gpu.speed_cells(row)[-1] == "it took too long"
    assert run.record["left_out"][-1] == "2 layers, 64 tokens: the budget is spent"


@pytest.mark.parametrize(
    ("losses", "gradient", "near"),
    [
        ([4.0, 3.0], [1.0, 2.0], True),
        ([4.03, 3.2], [1.0, 2.1], True),
        ([4.0, 3.0], [1.0, 2.5], False),
        ([4.1, 3.0], [1.0, 2.0], False),
        ([4.0, 3.5], [1.0, 2.0], False),
        ([float("nan"), 3.0], [1.0, 2.0], False),
        ([4.0, 3.0], [1.0, float("inf")], False),
    ],
)
def test_what_is_far_from_the_cpu_is_a_failure(losses, gradient, near):
    row = gpu.distances(losses, [4.0, 3.0], np.array(gradient), np.array([1.0, 2.0]))
    assert gpu.is_near(row, *gpu.NEAR["16 bits"]) == near
    row |= {"what": "adaptation", "precision": "bf16", "is_near": near}
    assert gpu.has_failed({"compared": [row], "speed": []}) != near
    assert gpu.compared_cells(row)[-1] == ("" if near else "too far")


@pytest.mark.parametrize(
    ("way", "gpus", "bf16", "reason"),
    [
        ("ours, body in bf16", ["A100"], True, None),
        ("ours, body in bf16", ["T4"], False, "T4 does not compute in bf16"),
        ("fairseq, --fp16", ["T4"], False, None),
        ("fairseq, --fp16", [], False, "fairseq trains with it on a GPU alone"),
        ("ours, body in bf16, two processes", ["A100"], True, "there is one GPU"),
        ("ours, body in bf16, two processes", ["A100", "A100"], True, None),
        ("transformers, torch.compile, bf16", ["A100"], True, "transformers is not installed"),
    ],
)
def test_what_a_machine_does_not_have_is_left_out_with_a_reason(
    way, gpus, bf16, reason, monkeypatch
):
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    assert gpu.reason_against(gpu.WAYS[way], gpus) == reason


def test_a_share_of_the_peak_is_of_all_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "gpus_of", lambda form: ["NVIDIA A100-SXM4-80GB"] * 2)
    run = make_run(tmp_path, None, 100)
    case = training.Case("ours", 4, precision="body")
    one = run._rates(case, 0.5 * training.flops_of(case) / 312e12)
    assert one["utilisation_percent"] == pytest.approx(200)
    two = training.Case("ours", 4, precision="body", processes=2)
    assert run._rates(two, training.flops_of(case) / 312e12)["utilisation_percent"] == 100
    monkeypatch.setattr(gpu, "gpus_of", lambda form: ["A GPU"])
    run = make_run(tmp_path, None, 100)
    assert run._rates(case, 1.0)["utilisation_percent"] is None
    assert run.record["left_out"] == ["utilisation: the peak rate of A GPU is not in cost/gpus.py"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "arguments", "sentence"),
    [
        ({"BUDGET": "soon"}, [], "BUDGET is a whole number above 0, not soon"),
        ({"TOKENS": "0"}, [], "TOKENS is a whole number above 0, not 0"),
        ({"TOKENS": "100", "SMOKE": "1"}, [], "a batch of 100 tokens does not divide into sequ"),
        ({}, ["no-such-folder"], "no-such-folder has no fairseq-minimodel: install it there"),
        ({"CUDA_VISIBLE_DEVICES": ""}, [], "PyTorch finds no GPU here; SMOKE=1 shows on a CPU"),
    ],
)
def test_bad_input_is_one_sentence(variables, arguments, sentence, tmp_path):
    result = run(BENCHMARKS / "gpu.sh", *arguments, **{"OUT": tmp_path / "out", **variables})
    assert refusal(result).startswith(sentence)


CARRIED = """
import sys
print("measured by", sys.executable)
"""
TESTS = """
import pytest

@pytest.mark.{marker}
def test_on_a_gpu():
    assert {passes}

def test_on_any_machine():
    assert False
"""


@pytest.mark.slow
@pytest.mark.parametrize("passes", [True, False])
def test_a_carried_folder_is_installed_once_and_its_tests_count(passes, tmp_path):
    folder, environment = tmp_path / "carried here", tmp_path / "an environment"
    (folder / "benchmarks").mkdir(parents=True)
    (folder / "tests").mkdir()
    for name in ("benchmarks/gpu.sh", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "benchmarks/gpu.py").write_text(CARRIED)
    (folder / "tests/test_something.py").write_text(TESTS.format(marker="gpu", passes=passes))
    (folder / "install.sh").write_text(
        f'mkdir -p "$1/bin"\necho installing\n'
        f'printf \'#!/bin/sh\\nexec {sys.executable} "$@"\\n\' >"$1/bin/python"\n'
        'chmod +x "$1/bin/python"\n'
    )
    for installs in (True, False):
        result = run(folder / "benchmarks/gpu.sh", environment, SMOKE="1", OUT=tmp_path / "out")
        assert result.returncode == (0 if passes else 1), result.stdout + result.stderr
        assert ("installing" in result.stdout) == installs
        assert "measured by" in result.stdout
        assert ("gpu.sh: tests failed: " in result.stderr) != passes
    log = (tmp_path / "out-smoke/tests.log").read_text()
    assert "1 deselected" in log and ("1 passed" if passes else "1 failed") in log
