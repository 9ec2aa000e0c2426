"""What a training run shows, on the screen and in its log."""

import logging
import os
import re
import warnings
from argparse import Namespace
from types import SimpleNamespace

import pytest
from conftest import LENGTH, OPTIMISER, SMALL_MODEL, USER_DIR, run
from fairseq.dataclass.utils import omegaconf_no_object_check
from fairseq.logging import metrics, progress_bar
from omegaconf import OmegaConf
from torch import nn

from fairseq_minimodel.bodies.training_log import read_log
from fairseq_minimodel.plugin import training_log
from fairseq_minimodel.plugin.compat import command_line

FIGURE = re.compile(r"\| INFO \| (train_inner|train|valid) \| ")
# A run as the README has it: neither a log format nor an interval are given.
QUIET = [option for option in OPTIMISER if option not in ("--log-format", "json")][:-2]


def train(data, folder, *options, **environment):
    command = [
        "fairseq-train", data, "--user-dir", USER_DIR, "--save-dir", folder, "--task", "masked_lm",
        "--criterion", "joint_masked_lm", *SMALL_MODEL, *LENGTH, *QUIET, "--max-update", "4", *options,
    ]  # fmt: skip
    result = run(command, **({"env": {**os.environ, **environment}} if environment else {}))
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def trained(source_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, train(source_data, folder / "checkpoints")


def test_few_lines_before_the_first_figure_and_no_warnings(trained):
    _, result = trained
    lines = result.stdout.splitlines()
    first = next(place for place, line in enumerate(lines) if FIGURE.search(line))
    assert first <= 15 and max(map(len, lines[:first])) < 1500
    assert result.stderr == ""
    model = (
        r"MiniModelRoberta of 3 layers, width 16, 65 symbols: ([\d,]+) parameters, of which \1 are"
    )
    assert re.search(model, result.stdout)
    assert "can_reuse_epoch_itr" not in result.stdout and "FairseqDropout" not in result.stdout


def test_the_last_line_has_the_result_and_the_next_command(trained):
    folder, result = trained
    *_, last = result.stdout.splitlines()
    (valid,) = re.findall(r"\| valid \| .* \| loss ([\d.]+) ", result.stdout)
    (tokens,) = re.findall(r"\| train \| .* \| tokens (\d+) ", result.stdout)
    assert f": 4 updates, {tokens} tokens, validation loss {valid} bits per masked token" in last
    assert f"(best {valid}); next: fairseq-minimodel pack --checkpoint " in last
    assert f"{folder}/checkpoints/checkpoint_last.pt --language LANGUAGE" in last


def test_the_report_reads_the_settings(trained):
    folder, result = trained
    (folder / "train.log").write_text(result.stdout.replace("valid | epoch", "x | epoch"))
    line = next(line for line in result.stdout.splitlines() if "{'_name': " in line)
    figures = '| INFO | train_inner | {"num_updates": "4", "loss": "5.9"}\n'
    (folder / "train.log").write_text(f"{line}\n{figures}")
    (log,) = read_log(folder / "train.log")
    assert log.options["task._name"] == "masked_lm"
    assert log.options["checkpoint.save_dir"] == str(folder / "checkpoints")
    assert log.options["optimization.lr"] == "[0.01]"
    assert "optimization.clip_norm" not in log.options  # a default


@pytest.mark.slow
def test_everything_is_there_on_demand(source_data, tmp_path):
    """In a process of its own, since fairseq reads the variable when it is imported."""
    result = train(source_data, tmp_path, "--max-update", "1", LOGLEVEL="DEBUG")
    for line in ("can_reuse_epoch_itr", "FairseqDropout", "'clip_norm': 0.0", "done training in"):
        assert line in result.stdout


def test_settings_that_follow_others_are_shown_where_they_differ():
    cfg = OmegaConf.create(
        {
            "common": {"_name": None, "seed": 7, "fp16": False},
            "optimization": {"_name": None, "max_update": 9, "lr": [0.1]},
            "task": {"_name": "masked_lm", "data": "x", "seed": 7, "tokens_per_sample": 1024},
            "lr_scheduler": {"_name": "polynomial_decay", "total_num_update": 9.0, "lr": [0.1]},
            "scoring": {"_name": "bleu"},
        }
    )
    assert training_log.chosen_settings(cfg) == {
        "_name": None,
        "common": {"_name": None, "seed": 7},
        "optimization": {"_name": None, "max_update": 9, "lr": [0.1]},
        "task": {"_name": "masked_lm", "data": "x"},
        "lr_scheduler": {"_name": "polynomial_decay"},
    }
    with omegaconf_no_object_check():  # fairseq's own models are configured by all options at once
        args = Namespace(arch="roberta", data="x", encoder_layers=2, seed=7)
        old = OmegaConf.create({"task": cfg.task, "model": args, "common": cfg.common})
    assert training_log.chosen_settings(old)["model"] == {
        "_name": "roberta", "arch": "roberta", "encoder_layers": 2,
    }  # fmt: skip
    cfg.lr_scheduler.total_num_update = 20
    assert training_log.chosen_settings(cfg)["lr_scheduler"]["total_num_update"] == 20


def make_run(**settings):
    cfg = OmegaConf.create(
        {
            "task": {"_name": "sentence_prediction"},
            "model": {"_name": "minimodel_roberta", "task_module": "none"},
            "optimization": {"max_update": 100, "max_epoch": 0},
            "dataset": {"valid_subset": "valid,other"},
            "checkpoint": {
                "save_dir": "checkpoints/x", "no_save": False, "no_last_checkpoints": False,
                "checkpoint_suffix": "", "best_checkpoint_metric": "loss",
            },
        }
    )  # fmt: skip
    for name, value in settings.items():
        OmegaConf.update(cfg, name.replace("__", "."), value)
    return training_log.TrainingRun(cfg)


@pytest.mark.parametrize(
    ("settings", "end"),
    [
        ({}, "next: fairseq-minimodel evaluate --body LAST --test PACK TEST.tsv"),
        ({"task___name": "span_qa"}, "minimodel evaluate --body LAST --test PACK TEST.json"),
        ({"model__task_module": "lora"}, "minimodel module --checkpoint LAST --output MODULE"),
        ({"model___name": "roberta"}, "saved: LAST"),
        ({"task___name": "meta_masked_lm"}, "saved: LAST"),
        ({"task___name": "meta_sentence_prediction"}, "saved: LAST"),
        ({"checkpoint__no_save": True}, "0 updates"),
    ],
)  # fmt: skip
def test_the_next_command_is_that_of_the_task(settings, end):
    metrics.reset()
    text = make_run(**settings).result("2.0 s")
    assert text.endswith(end.replace("LAST", "checkpoints/x/checkpoint_last.pt"))


def test_the_result_of_fine_tuning_has_the_accuracy():
    metrics.reset()
    following = make_run()
    quiet = progress_bar.NoopProgressBar([])
    shown = training_log.Validation(quiet, following)
    shown.print({"loss": 1.25, "best_loss": 1.125, "accuracy": 75.0}, tag="valid", step=3)
    shown.print({"loss": 9.0}, tag="other", step=3)
    assert (
        "validation loss 1.25 bits per example (best 1.125), validation accuracy 75 %"
    ) in following.result("2.0 s")


@pytest.mark.parametrize(
    ("seconds", "places"), [(1, [5, 65, 125]), (7, [1, 10, 19]), (300, [1, 2, 3])]
)
def test_a_figure_comes_early_and_then_every_minute(seconds, places, monkeypatch, caplog):
    """Whatever an update takes, and whatever the interval of the log."""
    caplog.set_level("INFO")
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(training_log.time, "monotonic", lambda: clock.now)
    metrics.reset()
    bar = training_log.Figures(
        progress_bar.SimpleProgressBar(range(130), epoch=1, log_interval=1000), make_run()
    )
    for update in bar:
        with metrics.aggregate("train_inner"):
            metrics.log_scalar("loss", 2.0)
            metrics.log_scalar("num_updates", update + 1, weight=0)
            metrics.log_start_time("wall")
        clock.now += seconds
    shown = [int(re.search(r"num_updates=(\d+)", message)[1]) for message in caplog.messages]
    assert shown[:3] == places


def test_the_bar_counts_the_updates_of_the_run(monkeypatch):
    metrics.reset()
    following = make_run()
    monkeypatch.setattr(training_log, "run", following)
    seen = []
    for epoch in (1, 2):
        bar = training_log.UpdatesBar(range(30), epoch)
        for batch in bar:
            metrics.log_scalar("num_updates", 30 * (epoch - 1) + batch + 1, weight=0)
            seen.append((bar.tqdm.n, bar.tqdm.total))
    following.bar.close()
    assert seen[:3] == [(0, 100), (1, 100), (2, 100)] and seen[30:32] == [(30, 100), (31, 100)]


def test_programs_that_only_import_the_package_keep_their_log_and_warnings(caplog):
    logger = logging.getLogger("fairseq_cli.train")
    with caplog.at_level("INFO"):
        logger.info("Start iterating over samples")
        logger.info(nn.Linear(2, 2))
    assert caplog.messages == [
        "Start iterating over samples",
        "Linear(in_features=2, out_features=2, bias=True)",
    ]
    assert progress_bar.progress_bar([1], log_format="none").__class__.__name__ == "NoopProgressBar"


def test_names_in_the_log_do_not_move_the_cursor():
    name = "fairseq_minimodel.tasks"
    record = logging.LogRecord(name, logging.INFO, "", 1, "body %s", ("a\x1b[2Jb.pt",), None)
    assert training_log.is_of_interest(record)
    assert record.getMessage() == "body a\\u001b[2Jb.pt"


def test_warnings_of_dependencies_alone_are_left_out():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        command_line.leave_out_warnings_of_dependencies()
        for module in ("hydra.compose", "fairseq.tasks.fairseq_task", "mine", "hydrangea"):
            warnings.warn_explicit("deprecated", UserWarning, "file", 1, module=module)
        warnings.warn_explicit(
            "'config' is validated against ConfigStore schema", UserWarning, "s", 1
        )
        warnings.warn_explicit(
            "CUDA initialization failed", UserWarning, "s", 1, module="torch.cuda"
        )
    assert [str(one.message) for one in caught] == ["deprecated"] * 2 + [
        "CUDA initialization failed"
    ]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_has_the_options_of_model_task_criterion_and_optimiser(flag):
    result = run(
        ["fairseq-train", "--user-dir", USER_DIR, "--arch", "minimodel_roberta", "--task",
         "language_adaptation", "--criterion", "joint_masked_lm", "--optimizer", "fused_adam", flag]
    )  # fmt: skip
    assert result.returncode == 0 and result.stderr == ""
    for option in (
        "--freeze",
        "--base-checkpoint",
        "--head-weights",
        "--adam-betas",
        "--max-update",
    ):
        assert f"\n  {option}" in result.stdout
