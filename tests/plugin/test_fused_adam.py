"""The fused optimiser against the formulas of the papers, and in fairseq's own command."""

import json
import math

import pytest
import torch
from conftest import LENGTH, SMALL_MODEL, USER_DIR, run, state_of, train
from fairseq.optim.adam import FairseqAdamConfig

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.plugin.fused_adam import FusedAdam

BETAS, EPSILON, DECAY = (0.8, 0.95), 1e-3, 0.1
RATES = (0.05, 0.02, 0.02, 0.1, 0.0)


def make_optimiser(parameters, **settings):
    settings = {"adam_betas": str(BETAS), "adam_eps": EPSILON, "weight_decay": DECAY, **settings}
    return FusedAdam(FairseqAdamConfig(lr=[RATES[0]], **settings), parameters)


def test_it_takes_all_parameters_in_one_piece_as_fp16_training_gives_them():
    parameters = [torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)]
    flat = torch.ones(5, requires_grad=True)
    gradient = torch.arange(5.0)
    parameters[0].grad, parameters[1].grad, flat.grad = gradient[:3], gradient[3:], gradient
    in_pieces, in_one = make_optimiser(parameters), make_optimiser([flat])
    in_pieces.step(), in_one.step()
    assert in_one.supports_flat_params  # else fairseq refuses it
    assert torch.equal(torch.cat(parameters), flat)


def test_five_steps_are_those_of_the_papers():
    """Kingma and Ba, algorithm 1; Loshchilov and Hutter, algorithm 2, with the rate on the decay."""
    generator = torch.Generator().manual_seed(1)
    parameters = [
        torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((3, 4), (5,))
    ]
    expected = [parameter.detach().tolist() for parameter in map(torch.flatten, parameters)]
    firsts = [[0.0] * len(values) for values in expected]
    seconds = [[0.0] * len(values) for values in expected]
    optimiser = make_optimiser(parameters)
    for step, rate in enumerate(RATES, start=1):
        optimiser.set_lr(rate)
        for parameter, values, first, second in zip(
            parameters, expected, firsts, seconds, strict=True
        ):
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            for index, gradient in enumerate(parameter.grad.flatten().tolist()):
                first[index] = BETAS[0] * first[index] + (1 - BETAS[0]) * gradient
                second[index] = BETAS[1] * second[index] + (1 - BETAS[1]) * gradient**2
                mean = first[index] / (1 - BETAS[0] ** step)
                deviation = math.sqrt(second[index] / (1 - BETAS[1] ** step))
                values[index] -= rate * (mean / (deviation + EPSILON) + DECAY * values[index])
        optimiser.step()
    for parameter, values in zip(parameters, expected, strict=True):
        found = parameter.detach().flatten()
        torch.testing.assert_close(found, found.new_tensor(values), rtol=1e-12, atol=1e-12)


def test_its_state_is_saved_and_the_rate_of_the_command_line_kept():
    parameter = torch.ones(3, requires_grad=True)
    optimiser = make_optimiser([parameter])
    parameter.grad = torch.tensor([1.0, -2.0, 3.0])
    optimiser.step()
    other = make_optimiser([torch.ones(3, requires_grad=True)], weight_decay=0.0)
    other.load_state_dict(optimiser.state_dict(), {"lr": 0.5})
    (state,) = other.state_dict()["state"].values()
    torch.testing.assert_close(state["exp_avg"], 0.2 * parameter.grad)
    torch.testing.assert_close(state["exp_avg_sq"], 0.05 * parameter.grad**2)
    assert state["step"] == 1 and other.get_lr() == 0.5


@pytest.mark.parametrize("option", ["fp16_adam_stats", "use_old_adam"])
def test_what_it_does_not_have_is_refused(option):
    with pytest.raises(InputError, match="neither --fp16-adam-stats nor --use-old-adam"):
        make_optimiser([torch.ones(1, requires_grad=True)], **{option: True})


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (["--use-old-adam"], "give --optimizer adam for these"),
        (["--memory-efficient-fp16"], "needs weights of 32 bits"),
        (["--memory-efficient-bf16"], "give --optimizer adam, or --fp16 or --bf16 instead"),
        (["--adam-betas", "0.9"], '--adam-betas "0.9" is not two numbers'),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_command_refuses_in_one_sentence(option, sentence, source_data, tmp_path):
    result = run(
        ["fairseq-train", source_data, "--user-dir", USER_DIR, "--save-dir", tmp_path / "run",
         "--task", "masked_lm", "--criterion", "masked_lm", *SMALL_MODEL, *LENGTH, "--cpu",
         "--batch-size", "4", "--max-update", "1", "--lr", "0.01", "--optimizer", "fused_adam",
         *option]
    )  # fmt: skip
    assert result.returncode == 2, result.stderr[-2000:]
    assert sentence in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("run/*.pt"))


@pytest.fixture(scope="module")
def runs(joint_checkpoint, target_data, tmp_path_factory):
    """Adaptation over 8 updates, and over 4 and then 4 more: the checkpoints, and the first's log."""
    folder = tmp_path_factory.mktemp("fused")
    options = [
        "--task", "language_adaptation", "--criterion", "joint_masked_lm",
        "--arch", "minimodel_roberta", "--base-checkpoint", joint_checkpoint, "--depth", "2",
        *LENGTH, "--optimizer", "fused_adam", "--lr-scheduler", "polynomial_decay",
        "--warmup-updates", "4", "--total-num-update", "12",
    ]  # fmt: skip
    log = train(target_data, folder / "whole", *options, "--max-update", "8")
    train(target_data, folder / "halves", *options, "--max-update", "4")
    resumed = train(target_data, folder / "halves", *options, "--max-update", "8")
    assert "Loaded checkpoint" in resumed and "@ 4 updates" in resumed
    return folder / "whole/checkpoint_last.pt", folder / "halves/checkpoint_last.pt", log


@pytest.mark.slow
def test_resuming_is_exact(runs):
    whole, halves = (state_of(checkpoint) for checkpoint in runs[:2])
    for name, tensor in whole.items():
        assert torch.equal(tensor, halves[name]), name
    whole, halves = (torch.load(checkpoint, weights_only=True) for checkpoint in runs[:2])
    assert whole["optimizer_history"][-1]["optimizer_name"] == "FusedAdam"
    states = [run["last_optimizer_state"]["state"] for run in (whole, halves)]
    assert len(states[0]) == len(states[1]) == 2  # of the language side
    for index, state in states[0].items():
        assert state["step"] == 8
        for name, tensor in state.items():
            assert torch.equal(tensor, states[1][index][name]), name


def test_the_schedule_acts(runs):
    lines = [line for line in runs[2].splitlines() if "| INFO | train_inner | " in line]
    rates = [float(json.loads(line.split(" | ")[-1])["lr"]) for line in lines]
    # up to 0.01 over 4 updates, then down to 0 over 8
    expected = [0.0025, 0.005, 0.0075, 0.01, 0.00875, 0.0075, 0.00625, 0.005]
    assert rates == pytest.approx(expected)
    group = torch.load(runs[0], weights_only=True)["last_optimizer_state"]["param_groups"][0]
    assert group["fused"] and 0 < group["lr"] < 0.01
