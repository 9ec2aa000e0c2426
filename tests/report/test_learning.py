from pathlib import Path
from types import SimpleNamespace

from fairseq_minimodel.bodies.cost import TrainingCost
from fairseq_minimodel.bodies.training_log import TrainingLog
from fairseq_minimodel.report.blocks import Charts
from fairseq_minimodel.report.gather import Item, Label
from fairseq_minimodel.report.learning import at_flops, learning_section


def training(variant="standard", language="de", task="language_adaptation", seed="", **log):
    log = TrainingLog(Path("train.log"), **log)
    flops = max([0, *(row.get("flops", 0) for row in log.training.values())])
    cost = TrainingCost(log.updates, None, None, flops)
    return Item(Label("", variant), seed, Path(variant), language, log, task, cost)


def charts(*trainings):
    section = learning_section([SimpleNamespace(trainings=trainings)], "en")
    blocks = section.blocks if section else []
    return {block.title: block for block in blocks if isinstance(block, Charts)}


LOG = {
    "training": {10: {"loss": 9.0, "flops": 1e12}, 20: {"loss": 8.0, "flops": 3e12}},
    "validation": {15: {"loss": 8.5}, 20: {"loss": 8.25}},
}


def test_flops_between_the_lines_of_the_log_grow_evenly():
    points = [(5, 1.0), (15, 2.0), (20, 3.0), (25, 4.0)]
    assert at_flops(training(**LOG), points) == [(0.5e12, 1.0), (2e12, 2.0), (3e12, 3.0)]
    assert at_flops(training(validation=LOG["validation"]), points) == []


def test_validation_and_behind_it_training_over_updates_and_over_compute():
    (chart,) = charts(training(**LOG)).values()
    updates, compute = chart.panels
    assert [(line.x, line.y, line.faint) for line in updates.lines] == [
        ([10, 20], [9.0, 8.0], True),
        ([15, 20], [8.5, 8.25], False),
    ]
    assert compute.x_label == "compute (TFLOP)"
    assert [line.x for line in compute.lines] == [[1, 3], [2, 3]]


def test_a_chart_a_language_the_source_first_and_tasks_last():
    found = charts(
        training(task="sentence_prediction", language="topics", **LOG),
        training(**LOG),
        training(language="en", task="masked_lm", **LOG),
        training(language="en", task="masked_lm", variant="post", **LOG),
    )
    assert list(found) == ["en", "de", "Fine-tuning: topics"]
    assert {line.name for line in found["en"].panels[0].lines} == {"Standard", "post"}
    assert found["Fine-tuning: topics"].panels[0].title == "Loss (bits per example)"


def test_heads_have_panels_where_there_are_several():
    log = {"validation": {20: {"loss": 8.0, "loss_l10": 7.5, "loss_l4": 8.5}}}
    (chart,) = charts(
        training(**log), training("minijoint", validation={20: {"loss": 8.0, "loss_l4": 8.0}})
    ).values()
    assert [panel.title for panel in chart.panels[1:]] == [
        "Loss after layer 4 (bits per masked token)",
        "Loss after layer 10 (bits per masked token)",
    ]
    assert [[line.y for line in panel.lines] for panel in chart.panels[1:]] == [[[8.5]], [[7.5]]]


def test_the_axis_leaves_out_the_first_fall():
    rows = {1: {"loss": 50.0}, 100: {"loss": 10.0}, 200: {"loss": 9.0}}
    (chart,) = charts(training(training=rows)).values()
    low, high = chart.panels[0].y_range
    assert 8.9 < low < 9 and 10 < high < 10.1


def test_a_single_update_is_no_curve_and_losses_that_are_no_numbers_are_no_points():
    assert not charts(training(training={1: {"loss": 13.0}}))
    rows = {10: {"loss": float("nan")}, 20: {"loss": 9.0}}
    (chart,) = charts(training(training=rows)).values()
    assert chart.panels[0].lines[0].x == [20]


def test_a_narrow_range_of_accuracies_is_not_blown_up():
    rows = {10: {"loss": 1.0, "accuracy": 99.8}, 20: {"loss": 1.0, "accuracy": 100.0}}
    (chart,) = charts(training(task="span_qa", language="xquad", validation=rows)).values()
    low, high = chart.panels[-1].y_range
    assert low < 91 and 100 < high < 101
