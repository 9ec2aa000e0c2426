import json

from support.run_folder import settings_line, training_line, validation_line

from fairseq_minimodel.bodies.training_log import read_log


def test_settings_and_figures_in_both_forms_of_log(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(
        "sys:1: UserWarning: 'config' is validated\n"
        + settings_line("checkpoints/de", "masked_lm", "de")
        + training_line(5, 8.25, 2.5e12)
        + validation_line(5, 8.0, (2, 4))
    )
    (log,) = read_log(path)
    assert log.options["task._name"] == "masked_lm"
    assert log.options["task.sample_break_mode"] == "none"  # a word without quotes
    assert log.options["model.activation_fn"] == "relu-fast"  # in a Namespace
    assert log.options["optimization.lr"] == "[0.005]"
    assert log.options["common._name"] == "None"
    assert log.training == {5: {"loss": 8.25, "flops": 2.5e12, "tokens": 10240, "wall": 15}}
    assert log.validation == {5: {"loss": 8.0, "loss_l2": 8.1, "loss_l4": 7.9}}
    assert log.updates == 5


def test_what_log_file_writes_has_no_loggers(tmp_path):
    path = tmp_path / "train.log"
    lines = [settings_line("x", "masked_lm", "de"), training_line(5, 8.25, 2.5e12)]
    path.write_text("".join(line[line.index("{") :] for line in lines))
    (log,) = read_log(path)
    assert log.options["task._name"] == "masked_lm"
    assert log.training[5]["loss"] == 8.25


def test_an_epochs_mean_is_no_point_of_the_curve(tmp_path):
    path = tmp_path / "train.log"
    epoch = {"train_loss": "9.9", "train_flops": "3e12", "train_num_updates": "7"}
    path.write_text(training_line(5, 8.25, 2.5e12) + f"x | train | {json.dumps(epoch)}\n")
    (log,) = read_log(path)
    assert log.options == {}
    assert log.training[7] == {"flops": 3e12}


def test_of_several_validation_sets_the_first_counts(tmp_path):
    path = tmp_path / "train.log"
    other = validation_line(5, 3.0).replace("valid_", "valid1_")
    path.write_text(validation_line(5, 8.0) + other)
    (log,) = read_log(path)
    assert log.validation == {5: {"loss": 8.0}}


def test_what_is_no_training_is_passed_over(tmp_path):
    path = tmp_path / "validate.log"
    path.write_text(
        settings_line("x", "masked_lm", "de").replace("fairseq_cli.train", "fairseq_cli.validate")
        + 'x | INFO | valid | {"valid_loss": "5.6"}\n'
        + training_line(5, 8.25, 2.5e12)[:-30]  # the process was killed while it wrote
        + '\n{"num_updates": }\n["num_updates"]\n{"a": "num_updates"}\n'
    )
    assert read_log(path) == []


def test_settings_that_cannot_be_read_do_not_hide_the_figures(tmp_path):
    path = tmp_path / "train.log"
    line = settings_line("x", "masked_lm", "de").replace("'seed': 1", "'seed': <one>")
    path.write_text(line + training_line(5, 8.25, 2.5e12))
    (log,) = read_log(path)
    assert log.options == {} and log.training[5]["loss"] == 8.25


def test_settings_are_never_run(tmp_path):
    path, trap = tmp_path / "train.log", tmp_path / "trap"
    call = f"__import__('pathlib').Path({str(trap)!r}).touch()"
    line = settings_line("x", "masked_lm", "de").replace("'seed': 1", f"'seed': {call}")
    path.write_text(line + training_line(5, 8.25, 2.5e12))
    read_log(path)
    assert not trap.exists()


def test_a_resume_takes_the_place_of_what_was_lost(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(
        settings_line("x", "masked_lm", "de", lr=0.1)
        + training_line(5, 8.0, 5)
        + training_line(10, 7.0, 10)
        + validation_line(10, 7.0)
        + training_line(15, 6.0, 15)
        + settings_line("x", "masked_lm", "de", lr=0.2)
        + training_line(10, 7.5, 10)
    )
    first, resumed = read_log(path)
    first.go_on_with(resumed)
    assert {updates: row["loss"] for updates, row in first.training.items()} == {5: 8.0, 10: 7.5}
    assert first.validation == {}
    assert first.options["optimization.lr"] == "[0.2]"
    assert first.updates == 10
