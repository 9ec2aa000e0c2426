"""examples/initialisers/compare.py on logs written by hand: every figure can be worked out."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# validation losses at 0, 10, 20, 30 and 40 updates
LOSSES = {
    "random": [12, 11, 10, 9, 8],
    "overlap": [11, 9, 8.5, 7.5, 7],  # 8 half way between updates 20 and 30
    "clp": [10, 8, 7, 6, 6],  # 8 at update 10
    "clp-top-10": [8, 7, 6, 6, 6],  # 8 before training
    "mean": [12, 12, 11, 10, 9],  # never 8
}
MEGA = 1e6


def write_logs(folder):
    folder.mkdir()
    helper = {"train_num_updates": "5", "train_flops": str(10 * MEGA), "train_lr": "0.1"}
    (folder / "de-helper.log").write_text(f"2026 | INFO | train | {json.dumps(helper)}\n")
    for name, losses in LOSSES.items():
        start = {"valid_loss": str(losses[0]), "valid_num_updates": "1"}
        (folder / f"de-{name}-start.log").write_text(f"| INFO | valid | {json.dumps(start)}\n")
        lines = ["| INFO | {'task': 'no JSON'}", f"| INFO | initialise {name[:3]}: 5 rows copied"]
        for step, loss in enumerate(losses[1:], start=1):
            inner = {"num_updates": str(10 * step - 5), "flops": str((10 * step - 5) * MEGA)}
            valid = {"valid_loss": str(loss), "valid_num_updates": str(10 * step)}
            lines += [f"| train_inner | {json.dumps(inner)}", f"| valid | {json.dumps(valid)}"]
        end = {"train_num_updates": "40", "train_flops": str(40 * MEGA), "train_loss": "5"}
        lines += [lines[-1], f"| INFO | train | {json.dumps(end)}"]  # the last validation twice
        (folder / f"de-{name}.log").write_text("\n".join(lines) + "\n")


@pytest.fixture
def results(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "examples" / "initialisers")
    write_logs(tmp_path / "logs")
    importlib.import_module("compare").main(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    return {result["initialiser"]: result for result in content}, capsys.readouterr().out


def test_updates_and_flops_to_the_loss_of_random(results):
    by_name, printed = results
    assert {result["loss_to_reach"] for result in by_name.values()} == {8}
    assert by_name["random"]["updates"] == 40
    overlap = by_name["overlap"]
    assert overlap["updates"] == 25
    assert overlap["flops"] == pytest.approx(25 * MEGA)
    assert overlap["flops_saved_with_helper"] == overlap["flops_saved"] == pytest.approx(15 / 40)
    assert by_name["mean"]["updates"] is None and by_name["mean"]["flops"] is None
    assert by_name["clp-top-10"]["updates"] == 0
    assert "de: to reach 8.000 bits" in printed and "overlap: 5 rows copied" in printed


def test_the_helper_is_counted_for_clp_and_for_clp_alone(results):
    by_name, _ = results
    clp = by_name["clp"]
    assert (clp["updates"], clp["helper_flops"]) == (10, 10 * MEGA)
    assert clp["updates_saved"] == clp["flops_saved"] == pytest.approx(0.75)
    assert clp["flops_saved_with_helper"] == pytest.approx(0.5)
    assert by_name["clp-top-10"]["flops_saved_with_helper"] == pytest.approx(0.75)
    assert by_name["overlap"]["helper_flops"] == 0
