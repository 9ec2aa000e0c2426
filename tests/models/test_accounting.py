"""The cost of a run in its log and checkpoints, against the formulas and PyTorch's own counter."""

import dataclasses
import json

import pytest
import torch
from conftest import LENGTH, SMALL_MODEL, run, train
from fairseq.logging import metrics
from models.test_minimodel_roberta import make_model, random_tokens
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.cost import training_cost
from fairseq_minimodel.cost.flops import Shape, masked_lm_flops
from fairseq_minimodel.models import accounting
from fairseq_minimodel.models.accounting import record_flops

PRETRAIN = ["--task", "masked_lm", "--criterion", "joint_masked_lm", *SMALL_MODEL, *LENGTH]


def counted(model: torch.nn.Module, **batch: torch.Tensor) -> int:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        losses = model(**batch)[1]["head_losses"]
        sum(losses.values()).backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("freeze", ["none", "language", "body", "bottom:2", "bottom:4-head+bias"])
@pytest.mark.parametrize("lengths", [(20, 20, 20), (24, 9, 4)], ids=["full", "padded"])
def test_a_batch_is_charged_what_it_computes(freeze, lengths):
    model = make_model(freeze=freeze, encoder_embed_dim=32, encoder_ffn_embed_dim=96).train()
    tokens = random_tokens(*lengths)
    masked = torch.zeros_like(tokens, dtype=torch.bool)
    masked[:, :3] = True
    charged = model._flops(tokens, masked, None, all_heads=True).total
    expected = counted(model, src_tokens=tokens, masked_tokens=masked, targets=tokens)
    # A frozen body spends a little on the gaps of the last layer's scores.
    assert charged == pytest.approx(expected, rel=0.01 if lengths[-1] == 20 else 0.02)


def test_heads_that_are_not_asked_for_cost_nothing():
    model = make_model(auxiliary_head_layers="2")
    tokens = random_tokens(12, 12)
    masked = tokens.eq(tokens)
    one, both = (model._flops(tokens, masked, None, all_heads=all_heads) for all_heads in (0, 1))
    head = 24 * 2 * (16 * 16 + 16 * len(model.encoder.dictionary))
    assert both.forward - one.forward == head


@pytest.mark.slow
def test_the_log_sums_over_updates_and_resumes(source_data, tmp_path):
    log = train(source_data, tmp_path / "half", *PRETRAIN, "--max-update", "2")
    log += train(source_data, tmp_path / "half", *PRETRAIN, "--max-update", "4")
    whole = train(source_data, tmp_path / "whole", *PRETRAIN, "--max-update", "4")
    assert lines(log) == lines(whole)
    assert [line["num_updates"] for line in lines(whole)] == [1, 2, 3, 4]
    flops = [line["flops"] for line in lines(whole)]
    assert 0 < flops[0] < flops[1] < flops[2] < flops[3]
    cost = training_cost(read_checkpoint(tmp_path / "half" / "checkpoint_last.pt"))
    assert cost == training_cost_like(cost, tmp_path / "whole" / "checkpoint_last.pt")
    assert cost.flops == pytest.approx(flops[3], rel=1e-4)  # the log rounds
    assert cost.tokens == lines(whole)[3]["tokens"]
    # Padding is computed and is not among the tokens.
    shape = Shape(3, 16, 32, 2, len(read_checkpoint_symbols(source_data)))
    formula = masked_lm_flops(shape, cost.tokens, 32).total
    assert formula * 0.9 < cost.flops < formula * 1.5


def training_cost_like(cost, path):
    """The cost in another checkpoint, with the seconds of `cost`, which no two runs share."""
    return dataclasses.replace(training_cost(read_checkpoint(path)), seconds=cost.seconds)


def read_checkpoint_symbols(data):
    return [*"....", *(data / "dict.txt").read_text().splitlines(), "<mask>"]


def lines(log: str) -> list[dict[str, float]]:
    """The cumulative figures of every update."""
    records = []
    for line in log.splitlines():
        if "| INFO | train_inner | " in line:
            record = json.loads(line.split(" | ")[-1])
            keys = ("num_updates", "flops", "tokens")
            records.append({key: float(record[key]) for key in keys})
    return records


@pytest.mark.parametrize(
    ("gpu", "processes", "utilisation"),
    [("NVIDIA A100-SXM4-80GB", 1, 25.0), ("NVIDIA A100-SXM4-80GB", 4, 25.0), ("A GPU", 1, None)],
)
def test_utilisation_is_the_share_of_the_peak_rate(gpu, processes, utilisation, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: gpu)
    monkeypatch.setattr(accounting.distributed, "get_data_parallel_world_size", lambda: processes)
    metrics.reset()
    with metrics.aggregate("train") as logged:
        metrics.log_scalar("train_wall", 2.0)  # seconds, in which each process computes half a peak
        record_flops(0.5 * 312e12, torch.device("cuda"))
    values = logged.get_smoothed_values()
    assert values.get("utilisation") == utilisation
    assert values["tflops"] == pytest.approx(processes * 0.25 * 312)
    with metrics.aggregate("other") as logged:
        record_flops(1e6, torch.device("cpu"))
    assert "utilisation" not in logged.get_smoothed_values()
    metrics.reset()


def test_the_rate_of_a_small_model_is_not_rounded_away():
    metrics.reset()
    with metrics.aggregate("train") as logged:
        metrics.log_scalar("train_wall", 1.0)
        record_flops(1_234_567, torch.device("cpu"))
    assert logged.get_smoothed_values()["tflops"] == 1.235e-6
    metrics.reset()


def test_fine_tuning_is_charged_as_well(pair_data, joint_checkpoint, tmp_path):
    log = train(
        pair_data, tmp_path, "--task", "sentence_prediction", "--criterion", "sentence_prediction",
        "--num-classes", "3", "--init-token", "0", "--separator-token", "2",
        "--max-positions", "32", "--shorten-method", "truncate", *SMALL_MODEL,
        "--finetune-from-model", joint_checkpoint, "--freeze", "language", "--max-update", "2",
    )  # fmt: skip
    first, second = lines(log)
    assert 0 < first["flops"] < second["flops"]
    cost = training_cost(read_checkpoint(tmp_path / "checkpoint_last.pt"))
    assert cost.flops == pytest.approx(second["flops"], rel=1e-4)


def test_plain_roberta_is_charged_by_the_formula(source_data, tmp_path):
    sizes = [*SMALL_MODEL[2:]]
    command = [
        "fairseq-train", source_data, "--save-dir", tmp_path, "--task", "masked_lm",
        "--criterion", "masked_lm", "--arch", "roberta", *sizes, *LENGTH, "--optimizer", "adam",
        "--lr", "0.01", "--batch-size", "8", "--cpu", "--max-update", "2", "--num-workers", "0",
        "--no-epoch-checkpoints",
    ]  # fmt: skip
    result = run(command)
    assert result.returncode == 0, result.stderr
    checkpoint = read_checkpoint(tmp_path / "checkpoint_last.pt")
    cost = training_cost(checkpoint)
    shape = Shape(3, 16, 32, 2, len(read_checkpoint_symbols(source_data)))
    assert cost.flops == round(masked_lm_flops(shape, cost.tokens, 32).total)
