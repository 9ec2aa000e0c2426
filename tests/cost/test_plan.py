"""The plan of the command line against figures that stand in the docs or are worked out by hand."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairseq_minimodel.cli import main
from fairseq_minimodel.cost.flops import Shape
from fairseq_minimodel.cost.memory import Memory
from fairseq_minimodel.cost.plan import VARIANTS, Step, plan_totals


def plan(tmp_path, *options):
    """The JSON that a call of the verb writes."""
    path = tmp_path / "plan.json"
    assert main(["flops", "--json", str(path), *map(str, options)]) == 0
    return json.loads(path.read_text())


def rows(printed, first_header):
    """The cells of the table whose first header is this."""
    lines = printed.split(f"| {first_header}", 1)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_defaults_are_the_paper_s_and_agree_with_the_docs(capsys):
    assert main(["flops"]) == 0
    printed = capsys.readouterr().out
    steps = {(row[0], row[1]): row[3:5] for row in rows(printed, "step")}
    assert steps == {
        ("pretraining", "all but MiniJoint"): ["601 MFLOP", "78.8 EFLOP"],
        ("pretraining, second head after layer 4", "MiniJoint"): ["636 MFLOP", "83.4 EFLOP"],
        ("step 1b, 2 new layers on 4 frozen ones", "MiniPost"): ["143 MFLOP", "18.8 EFLOP"],
        ("adaptation, 12 layers", "Standard"): ["407 MFLOP", "53.4 EFLOP"],
        ("adaptation, 4 layers", "MiniJoint"): ["143 MFLOP", "18.7 EFLOP"],
        ("adaptation, 6 layers", "MiniPost"): ["209 MFLOP", "27.4 EFLOP"],
        ("adaptation, 12 layers, all weights", "all weights"): ["601 MFLOP", "78.8 EFLOP"],
        ("adaptation, 12 layers, body alone", "body alone"): ["590 MFLOP", "77.3 EFLOP"],
    }
    alone = rows(printed, "counted")[2 * len(VARIANTS) :]
    assert alone[0][0] == "adaptation alone"
    assert [row[1] for row in alone] == list(VARIANTS)
    assert [row[-1] for row in alone] == ["1.00", "2.85", "1.95", "0.68", "0.69"]
    # 53.4e18 / (312e12 x 0.4) s = 427,700 s
    assert [row[3] for row in alone][0] == "4 d 23 h"
    assert "40 % are used (assumed)" in printed


def step(name, kind, variants, flops):
    return Step(name, variants, kind, 1, 1.0, flops, None, Memory(0, 0, 0, 0, 0))


def test_what_is_paid_once_is_shared_by_the_languages():
    steps = [
        step("plain", "pretraining", ("Standard", "MiniPost", "all weights", "body alone"), 100.0),
        step("joint", "pretraining", ("MiniJoint",), 110.0),
        step("1b", "post", ("MiniPost",), 30.0),
        *(
            step("adapt", "adaptation", (variant,), flops)
            for variant, flops in zip(VARIANTS, (50.0, 20.0, 25.0, 80.0, 70.0), strict=True)
        ),
        step("task", "fine-tuning", VARIANTS, 7.0),
    ]
    totals = plan_totals(steps, 10)
    assert [(total.variant, total.flops, total.per_language) for total in totals] == [
        ("Standard", 600, 60), ("MiniJoint", 310, 31), ("MiniPost", 380, 38),
        ("all weights", 900, 90), ("body alone", 800, 80),
        ("Standard", 500, 50), ("MiniJoint", 200, 20), ("MiniPost", 280, 28),
        ("all weights", 800, 80), ("body alone", 700, 70),
        ("Standard", 500, 50), ("MiniJoint", 200, 20), ("MiniPost", 250, 25),
        ("all weights", 800, 80), ("body alone", 700, 70),
    ]  # fmt: skip


def test_savings_are_those_of_the_definition(tmp_path):
    """(reference adaptation + reference once / k) / (variant adaptation + variant once / k)."""
    result = plan(tmp_path, "--languages", 4)
    flops = [step["flops"] for step in result["steps"]]
    plain, joint, post, standard, minijoint, minipost, weights, body = flops
    savings = [total["standard_over_this"] for total in result["totals"]]
    assert savings == pytest.approx(
        [
            1,
            (standard + plain / 4) / (minijoint + joint / 4),
            (standard + plain / 4) / (minipost + (plain + post) / 4),
            (standard + plain / 4) / (weights + plain / 4),
            (standard + plain / 4) / (body + plain / 4),
            1,
            standard / minijoint,
            standard / (minipost + post / 4),
            standard / weights,
            standard / body,
            1,
            standard / minijoint,
            standard / minipost,
            standard / weights,
            standard / body,
        ]
    )


def test_every_step_has_its_own_length_and_vocabulary(tmp_path):
    result = plan(
        tmp_path, "--arch", "minimodel_roberta", "--vocabulary", 300, "--source-vocabulary", 700,
        "--layers", 9, "--width", 32, "--ffn", 48, "--heads", 2, "--new-layers", 1,
        "--updates", 1000, "--post-updates", 100, "--adaptation-updates", 10,
        "--batch-tokens", 6400, "--sequence-length", 64, "--masked-fraction", 0.5,
        "--micro-batch", 5,
    )  # fmt: skip
    assert Shape(**result["model"]) == Shape(9, 32, 48, 2, 700)
    assert (result["target_vocabulary"], result["depth"]) == (300, 3)
    steps = result["steps"]
    assert [step["layers"] for step in steps] == [9, 9, 4, 9, 3, 4, 9, 9]
    assert [step["flops"] / step["per_token"] / 6400 for step in steps] == pytest.approx(
        [1000, 1000, 100, 10, 10, 10, 10, 10]
    )
    # Standard's adaptation, per token: a layer's products 2 (4 x 32^2 + 2 x 32 x 48) and attention
    # 4 x 64 x 32, there and back (attention twice back); half of a head, dense and projection.
    # Half of the tokens are predicted, so half is spared of the last layer but its keys and values.
    layer = 2 * 2 * (4 * 32**2 + 2 * 32 * 48) + 3 * 4 * 64 * 32
    head = (2 * 2 * 32**2 + 3 * 2 * 32 * 300) / 2
    keys_and_values = 2 * 2 * 2 * 32**2
    last = keys_and_values + (layer - keys_and_values) / 2
    assert steps[3]["per_token"] == 8 * layer + last + head
    # all weights: there, back and back into the weights; the body alone: not into the tied matrix
    products = 3 * 2 * (4 * 32**2 + 2 * 32 * 48) + 3 * 4 * 64 * 32
    whole = 9 * products + 3 * (2 * 32**2 + 2 * 32 * 300) / 2
    assert steps[6]["per_token"] == whole
    assert steps[7]["per_token"] == whole - 2 * 32 * 300 / 2
    # Standard's memory: the target's language side is trained, 16 bits
    assert steps[3]["memory"]["gradients"] == 2 * (300 * 32 + 300)
    assert steps[3]["memory"]["loss"] == 5 * 64 // 2 * 300 * 6
    assert steps[3]["adam"] == 14 * (300 * 32 + 300) * 10
    # step 1b trains one layer and a head
    post = 4 * (32**2 + 32) + 2 * 32 * 48 + 48 + 32 + 4 * 32 + 32**2 + 3 * 32
    assert steps[2]["memory"]["optimiser"] == 16 * post


def test_time_on_several_gpus(tmp_path):
    one, many = (
        plan(tmp_path, "--peak-tflops", 100, "--utilisation", 0.5, "--gpus", gpus)
        for gpus in (1, 8)
    )
    step = one["steps"][0]
    assert step["seconds"] == pytest.approx(step["flops"] / 50e12)
    assert many["steps"][0]["seconds"] == pytest.approx(step["seconds"] / 8)
    assert many["totals"][0]["seconds"] == pytest.approx(one["totals"][0]["seconds"] / 8)


def test_fine_tuning_is_listed_and_in_no_total(tmp_path):
    without = plan(tmp_path)
    result = plan(tmp_path, "--finetune", "span", 1000, 384)
    step = result["steps"][-1]
    assert step["name"] == "fine-tuning, span, 1,000 sequences of 384"
    assert step["flops"] == pytest.approx(1000 * 384 * step["per_token"])
    # twelve layers forward and twice backward, attention 3 x 4 T d; two scores, forward and back
    layer = 3 * 2 * (4 * 768**2 + 2 * 768 * 3072) + 3 * 4 * 384 * 768
    assert step["per_token"] == 12 * layer + 3 * 2 * 2 * 768
    assert result["totals"] == without["totals"]
    assert plan(tmp_path, "--finetune", "classification", 9, 128)["steps"][-1]["kind"]


def test_a_card_that_is_too_small_is_named(capsys):
    fits = ["flops", "--gpu", "T4", "--micro-batch", "8"]
    assert main(fits) == 0
    assert "warning" not in capsys.readouterr().out
    assert main([*fits[:-1], "64"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert len(lines) == 4
    assert re.fullmatch(
        r"warning: pretraining: 1\d\.\d GB do not fit the 16 GB of a T4: lower --micro-batch",
        lines[0],
    )
    assert main(["flops", "--gpu", "T4", "--layers", "200"]) == 0
    assert "T4: without any sequence it is 2" in capsys.readouterr().out
    assert main(["flops", "--peak-tflops", "65", "--micro-batch", "2000"]) == 0
    assert "warning" not in capsys.readouterr().out


def test_sizes_of_a_checkpoint(joint_checkpoint, tmp_path):
    result = plan(tmp_path, "--body", joint_checkpoint, "--vocabulary", 90, "--width", 8)
    assert Shape(**result["model"]) == Shape(3, 8, 32, 2, 65)
    assert (result["target_vocabulary"], result["depth"]) == (90, 1)


def test_the_verb_answers_without_torch():
    """The command imports neither torch nor fairseq nor matplotlib."""
    code = (
        "import sys; sys.argv[0] = 'fairseq-minimodel'\n"
        "from fairseq_minimodel.cli import main\n"
        "assert main(['flops']) == 0\n"
        "print(*sorted({'torch', 'fairseq', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--languages", "0"], "--languages is 0, but it must be 1 to 1,000,000,000"),
        (["--new-layers", "0"], "--new-layers is 0"),
        (["--updates", "0"], "--updates is 0"),
        (["--micro-batch", "0"], "--micro-batch is 0"),
        (["--batch-tokens", "512"], "--micro-batch 16 sequences of 512 tokens are more than"),
        (["--depth", "13"], "depth 13 is not between 1 and the 12 layers"),
        (["--depth", "12"], "auxiliary head after layer 12"),
        (["--width", "770"], "width 770 cannot be split over 12 heads"),
        (["--masked-fraction", "15"], "masked fraction 15.0"),
        (["--utilisation", "40"], "--utilisation is 40, but it must be above 0 and at most 1"),
        (["--peak-tflops", "nan"], "--peak-tflops is nan"),
        (["--gpus", "0"], "--gpus is 0"),
        (["--body", "no.pt"], "no checkpoint no.pt"),
        (["--finetune", "parsing", "1", "1"], 'the task "parsing" is none of'),
        (["--finetune", "span", "many", "1"], 'number of sequences "many"'),
        (["--finetune", "span", "10", "0"], 'length "0"'),
    ],
)
def test_values_that_cannot_be_are_refused(options, words, tmp_path, capsys):
    output = tmp_path / "plan.json"
    assert main(["flops", *options, "--json", str(output)]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
    assert not output.exists()


def test_the_docs_print_what_the_verb_prints(capsys):
    page = (Path(__file__).resolve().parents[2] / "docs" / "compute.md").read_text()
    (command,) = re.findall(r"^fairseq-minimodel (flops .*)$", page, re.MULTILINE)
    assert main(command.split()) == 0
    assert f"```\n{capsys.readouterr().out}```" in page


@pytest.mark.parametrize("value", ["99999999999999999999", "9" * 400, "-1", "0"])
@pytest.mark.parametrize(
    "option",
    [
        "layers", "width", "ffn", "heads", "vocabulary", "source-vocabulary", "depth", "new-layers",
        "languages", "updates", "post-updates", "adaptation-updates", "batch-tokens",
        "sequence-length", "micro-batch", "gpus",
    ],
)  # fmt: skip
def test_absurd_numbers_are_refused_at_once(option, value, capsys):
    started = time.monotonic()
    assert main(["flops", f"--{option}", value]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and time.monotonic() - started < 1


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
@pytest.mark.parametrize("option", ["masked-fraction", "utilisation", "peak-tflops"])
def test_what_is_not_a_number_is_refused(option, value, capsys):
    assert main(["flops", f"--{option}={value}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "numbers", [("9" * 5000, "10"), ("10", "99999999999999999999"), ("-1", "1")]
)
def test_absurd_fine_tuning_is_refused(numbers, capsys):
    assert main(["flops", "--finetune", "span", *numbers]) == 2
    assert capsys.readouterr().err.count("\n") == 1
