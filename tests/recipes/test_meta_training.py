"""examples/meta_training/updates_to_loss.py on logs written by hand."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# validation losses at 0, 10 and 20 updates
LOSSES = {
    "tarp-plain": [9, 8, 6],
    "tarp-joint": [8, 7, 5],  # 6 half way between updates 10 and 20
    "tarp-meta": [7, 6, 5],
    "tarp+tams-plain": [9, 8, 7],  # never 6
    "tarp+tams-joint": [8, 6, 5],
    "tarp+tams-meta": [6, 5, 4],  # before training
}


def write_logs(folder):
    folder.mkdir()
    for name, losses in LOSSES.items():
        start = {"valid_loss": str(losses[0]), "valid_num_updates": "1"}
        (folder / f"adapt-{name}-start.log").write_text(f"| INFO | valid | {json.dumps(start)}\n")
        lines = [
            f"| valid | {json.dumps({'valid_loss': str(loss), 'valid_num_updates': str(update)})}"
            for update, loss in zip((10, 20), losses[1:], strict=True)
        ]
        (folder / f"adapt-{name}.log").write_text("\n".join([*lines, lines[-1]]) + "\n")


def test_updates_to_the_losses_without_preparation(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "examples" / "meta_training")
    script = importlib.import_module("updates_to_loss")
    with pytest.raises(script.InputError, match="run run.sh to its end first"):
        script.main(tmp_path)
    write_logs(tmp_path / "logs")
    script.main(tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    reached = [result["updates_to_loss_of"] for result in results]
    assert [updates["tarp"] for updates in reached] == [20, 15, 10, None, 10, 0]
    assert [updates["tarp+tams"] for updates in reached] == [15, 10, 0, 20, 5, 0]
    printed = capsys.readouterr().out
    assert "updates to 6.000 (tarp)" in printed and "meta-training" in printed
