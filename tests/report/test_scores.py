from fairseq_minimodel.kinds.scores import read_score
from fairseq_minimodel.report.scores import score_curve, summarise

ACCURACY = {
    "accuracy": 0.5, "low": 0.4, "high": 0.6, "examples": 99, "chance": 0.125, "majority": 0.25,
}  # fmt: skip


def test_over_seeds_the_mean_and_the_range_alone_the_interval():
    first, second = read_score(ACCURACY), read_score({**ACCURACY, "accuracy": 0.8})
    assert summarise([first]) == (50, 40, 60)
    assert summarise([first, second]) == (65, 50, 80)


def test_a_curve_begins_with_the_control():
    curve = score_curve("MiniPost", [(20, 0.5), (10, 0.3)], 0.2)
    assert (curve.flops, curve.scores) == ([0, 10, 20], [0.2, 0.3, 0.5])
    assert score_curve("MiniPost", [(20, 0.5)], None).flops == [20]
