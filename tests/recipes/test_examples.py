"""The scripts under examples/ at their SMOKE=1 size: every step runs, and every figure is there."""

import json
import re
from pathlib import Path

import pytest
from conftest import run
from support.scripts import EXAMPLES, run_script

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    out = tmp_path_factory.mktemp("quickstart") / "my results"
    result = run_script(EXAMPLES / "quickstart/run.sh", OUT=out)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return out.with_name("my results-smoke"), result.stdout


@pytest.mark.slow
def test_the_quickstart_prints_a_table_and_writes_results_and_a_picture(quickstart):
    out, printed = quickstart
    results = json.loads((out / "results.json").read_text())
    assert results["chance"] == 0.25
    accuracies = {
        Path(score["pack"]).relative_to(out / "packs"): score["accuracy"]
        for score in json.loads((out / "scores.json").read_text())
    }
    assert results["control_accuracy"] == accuracies[Path("untrained")]
    assert results["start_accuracy"] == accuracies[Path("words")]
    assert results["source_accuracy"] == accuracies[Path("source")]
    variants = {variant["variant"]: variant for variant in results["variants"]}
    assert list(variants) == ["standard", "minijoint", "minipost"]
    for name, variant in variants.items():
        assert variant["updates"] == 10
        (last,) = [pack for pack in accuracies if pack.match(f"{name}/checkpoint_*_10")]
        assert variant["target_accuracy"] == accuracies[last]
        assert variant["mlm_loss"] > 0 and variant["seconds"] > 0
        assert variant["tokens"] == variants["standard"]["tokens"] > 0
        assert re.search(rf"\| {name} .*\| +10 \|", printed, re.IGNORECASE)
    assert (
        variants["minijoint"]["flops"]
        < variants["minipost"]["flops"]
        < variants["standard"]["flops"]
    )
    assert set(results["compute_to_match"]) == {"minijoint", "minipost"}
    assert (out / "score_against_flops.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_all_figures_come_from_the_run(quickstart):
    """The table follows what the steps wrote: change a score, and it changes."""
    out, _ = quickstart
    scores = json.loads((out / "scores.json").read_text())
    for score in scores:
        if "minijoint" in score["pack"]:
            score["accuracy"] = 0.875
    (out / "scores.json").write_text(json.dumps(scores))
    printed = run(["python", ROOT / "examples/compare_variants.py", out], fresh=False).stdout
    assert re.search(r"MiniJoint +\| +87\.5 ", printed)
    results = json.loads((out / "results.json").read_text())
    assert results["variants"][1]["target_accuracy"] == 0.875


@pytest.mark.slow
def test_running_it_again_does_nothing_twice(quickstart):
    out, _ = quickstart
    before = (out / "pretrained" / "checkpoint_last.pt").stat().st_mtime_ns
    result = run_script(EXAMPLES / "quickstart/run.sh", OUT=str(out).removesuffix("-smoke"))
    assert result.returncode == 0, result.stderr
    assert (out / "pretrained" / "checkpoint_last.pt").stat().st_mtime_ns == before
    assert "pretrained" not in result.stdout.split("| Standard")[0].split("task")[-1]


@pytest.mark.slow
def test_results_of_other_settings_are_not_mixed(quickstart):
    out, _ = quickstart
    result = run_script(
        EXAMPLES / "quickstart/run.sh", OUT=str(out).removesuffix("-smoke"), SEED="7"
    )
    assert result.returncode == 2
    assert "holds results of other settings" in result.stderr


SCRIPTS = [path for path in EXAMPLES.glob("*/run.sh") if "steps.sh" in path.read_text()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.parent.name)
def test_steps_are_listed_where_nothing_has_been_made_yet(script, tmp_path):
    folders = dict.fromkeys(("DATA", "REAL", "TEXT", "OUT"), tmp_path / "none")
    result = run_script(script, "--list", SMOKE="", **folders)
    assert result.returncode == 0
    others = [line for line in result.stderr.splitlines() if not line.startswith("find: ")]
    assert not others  # than that there is no data
    assert len(result.stdout.splitlines()) > 5
    assert not list(tmp_path.iterdir())
