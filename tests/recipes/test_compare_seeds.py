"""examples/compare_seeds.py on run folders whose figures are known."""

import importlib
import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import run

from fairseq_minimodel.bodies.language_side import LanguageSide
from fairseq_minimodel.cost.compute_to_match import Curve, compute_to_match
from fairseq_minimodel.cost.flops import Shape, masked_lm_flops
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.packs.pack import Description, save_pack
from fairseq_minimodel.vocabulary.symbols import fingerprint, read_symbols

ROOT = Path(__file__).resolve().parents[2]
MEGA = 1e6
SETTINGS = {"DEPTH": "2", "MODEL": "--encoder-embed-dim 16"}

# (MFLOP, accuracy) of each evaluation, by seed. Standard reaches 0.8 and 0.4 at 100, the mean 0.6;
# the mean of MiniJoint is 0.5 at 40 and 2/3 at 80: 0.6 at 64. MiniPost ends at 0.3.
RUNS = {
    "1": {
        "standard": [(100, 0.8)],
        "minijoint": [(40, 0.8), (100, 1.0)],
        "minipost": [(50, 0.2), (70, 0.3)],
    },
    "2": {
        "standard": [(100, 0.4)],
        "minijoint": [(80, 0.4), (100, 0.4)],
        "minipost": [(50, 0.25), (70, 0.3)],
    },
}


def write_run(out, seed, checkpoint, data):
    """What the quickstart leaves, as far as the comparison reads it."""
    for folder in ("pretrained", "post"):
        (out / folder).mkdir(parents=True)
        shutil.copy(checkpoint, out / folder / "checkpoint_last.pt")
    (out / "logs").mkdir()
    for name in ("standard", "minijoint", "minipost", "untrained", "words"):
        (out / "logs" / f"validate-{name}.log").write_text(f'{{"valid_loss": "5.{seed}"}}\n')
    settings = {**SETTINGS, "SEED": seed}
    (out / "settings.txt").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
    symbols = read_symbols(data / "dict.txt")
    scores = [
        {"pack": "elsewhere/packs/source", "accuracy": 0.9, "chance": 0.25},
        {"pack": "elsewhere/packs/untrained", "accuracy": 0.0, "chance": 0.25},
        {"pack": "elsewhere/packs/words", "accuracy": 0.0, "chance": 0.25},
    ]
    for name, points in RUNS[seed].items():
        for updates, (mega, accuracy) in enumerate(points, start=1):
            pack = Path("packs", name, f"checkpoint_1_{updates}")
            save_pack(
                out / pack,
                LanguageSide(torch.zeros(len(symbols), 2), torch.zeros(len(symbols))),
                Description(
                    "target", "lineage", fingerprint(symbols), len(symbols), 2, depth=2,
                    updates=updates, tokens=1000, seconds=2.0, flops=round(mega * MEGA),
                ),
                data / "dict.txt",
                data / "sentencepiece.bpe.model",
            )  # fmt: skip
            # the folder may have moved since
            score = {"accuracy": accuracy, "low": 0.0, "high": 1.0, "chance": 0.25}
            scores.append({"pack": str("elsewhere" / pack), **score})
    (out / "scores.json").write_text(json.dumps(scores))


@pytest.fixture
def compare_seeds(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module("compare_seeds")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, joint_checkpoint, target_data):
    folder = tmp_path_factory.mktemp("seeds")
    for seed in RUNS:
        write_run(folder / seed, seed, joint_checkpoint, target_data)
    return folder


def compare(*arguments):
    return run(["python", ROOT / "examples/compare_seeds.py", *arguments], fresh=False)


@pytest.fixture(scope="module")
def compared(runs):
    result = compare("--output", runs / "both", runs / "1", runs / "2")
    assert result.returncode == 0, result.stderr
    return json.loads((runs / "both" / "results.json").read_text()), result.stdout


def match_of(results, variant, counted, languages, fraction):
    (match,) = (
        match
        for match in results["compute_to_match"]
        if (match["variant"], match["counted"]) == (variant, counted)
        and (match["languages"], match["fraction"]) == (languages, fraction)
    )
    return match


def test_means_and_intervals(compared):
    results, printed = compared
    assert results["seeds"] == ["1", "2"]
    standard, minijoint, _ = results["variants"]
    assert standard["accuracy"]["by_seed"] == [0.8, 0.4]
    assert standard["accuracy"]["mean"] == pytest.approx(0.6)
    assert standard["accuracy"]["interval"] == pytest.approx([0.4, 0.8])
    assert minijoint["accuracy"]["mean"] == pytest.approx(0.7)
    assert standard["mlm_loss"] == pytest.approx(5.15)
    assert results["source_language"]["mean"] == pytest.approx(0.9)
    assert re.search(r"\| Standard +\| +60\.0 \| +40\.0 to 80\.0 \| +80\.0, 40\.0 \|", printed)


def test_compute_to_match_is_that_of_the_mean_curves(compared):
    results, printed = compared
    match = match_of(results, "minijoint", "adaptation", None, 1.0)
    assert match["ratio"] == pytest.approx(100 / 64)
    assert match["interval"] == pytest.approx([100 / 80, 100 / 40])
    assert match["never"] == 0
    assert re.search(
        r"MiniJoint +\| adaptation alone +\| 1\.56 +\| +1\.25 to 2\.50 \| +0 %", printed
    )
    never = match_of(results, "minipost", "adaptation", None, 1.0)
    assert (never["ratio"], never["interval"], never["never"]) == (None, [None, None], 1)
    assert re.search(r"MiniPost +\| adaptation alone +\| not reached +\| +- \| +100 % ", printed)


@pytest.mark.parametrize("languages", [1, 10])
@pytest.mark.parametrize("fraction", [1.0, 0.95])
def test_what_is_paid_once_is_shared_by_the_languages(compared, runs, languages, fraction):
    results, _ = compared
    once = results["variants"][1]["flops_once"]
    assert results["variants"][0]["flops_once"] == 0 < once
    # the checkpoint's own cost (4 updates, two heads) is that of ordinary pretraining and the rest
    joint = results["variants"][2]["flops_once"]
    pretraining = joint - once
    shape = Shape(layers=3, width=16, ffn=32, heads=2, vocabulary=65)  # of joint_checkpoint
    one, both = (masked_lm_flops(shape, 1, 32, auxiliary_head_layers=a).total for a in ([], [2]))
    assert pretraining / joint == pytest.approx(one / both, rel=1e-6)
    # 0.95 x 0.6 = 0.57, after 95; the mean of MiniJoint has it after 40 + 40 x 0.07 / (1/6)
    reference, variant = {1.0: (100, 64), 0.95: (95, 56.8)}[fraction]
    alone = match_of(results, "minijoint", "once for all", languages, fraction)
    assert alone["ratio"] == pytest.approx(reference * MEGA / (variant * MEGA + once / languages))
    whole = match_of(results, "minijoint", "pretraining", languages, fraction)
    assert whole["ratio"] == pytest.approx(
        (reference * MEGA + pretraining / languages)
        / (variant * MEGA + (pretraining + once) / languages)
    )
    assert not math.isclose(alone["ratio"], whole["ratio"], rel_tol=0.01)


def test_the_picture_has_a_curve_of_each_variant(compared, runs):
    assert (runs / "both" / "score_against_flops.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_ratio_says_why(compare_seeds):
    variant = Curve("MiniJoint", [0, 10], [0.3, 0.5])
    for best, words in ((0.2, "before training"), (0.4, "2.00"), (0.6, "not reached")):
        match = compute_to_match(Curve("Standard", [0, 10], [0.0, best]), variant)
        assert compare_seeds.describe_match(match._asdict()) == words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda out: None, "have the same seed, 1"),
        (
            lambda out: (out / "settings.txt").write_text("DEPTH=3\nMODEL=x\nSEED=4\n"),
            "are not the same experiment",
        ),
        (lambda out: (out / "scores.json").unlink(), "has no scores.json"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(runs, compare_seeds, tmp_path, change, words):
    shutil.copytree(runs / "1", tmp_path / "other")
    change(tmp_path / "other")
    with pytest.raises(InputError, match=words):
        compare_seeds.main([runs / "1", tmp_path / "other"], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_one_run_is_refused_without_a_traceback(runs, tmp_path):
    result = compare("--output", tmp_path / "both", runs / "1")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(
        "fairseq-minimodel: error: one run has no spread"
    )
    assert "Traceback" not in result.stderr
