import pytest

from fairseq_minimodel.cost.compute_to_match import (
    Curve,
    compute_to_match,
    compute_to_match_over_seeds,
    mean_curve,
    score_curve,
)
from fairseq_minimodel.errors import InputError

STANDARD = Curve("Standard", [0, 100, 200, 300], [0.2, 0.4, 0.8, 0.6])


def test_ratio_by_linear_interpolation():
    # Standard's best, 0.8, after 200; the variant passes 0.8 half-way from 60 (0.7) to 100 (0.9).
    match = compute_to_match(STANDARD, Curve("MiniJoint", [20, 60, 100], [0.3, 0.7, 0.9]))
    assert match.score == 0.8
    assert match.reference_flops == 200
    assert match.flops == pytest.approx(80)
    assert match.ratio == pytest.approx(2.5)
    assert match.note == ""


def test_fraction_of_the_best():
    # 0.75 x 0.8 = 0.6: Standard half-way from 100 to 200; the variant 3/4 of the way from 20 to 60.
    match = compute_to_match(STANDARD, Curve("MiniJoint", [20, 60, 100], [0.3, 0.7, 0.9]), 0.75)
    assert match.reference_flops == pytest.approx(150)
    assert match.flops == pytest.approx(50)
    assert match.ratio == pytest.approx(3.0)


def test_interpolation_is_on_the_best_score_so_far():
    # The dip to 0.1 is passed over: best so far 0.5 at 20 and at 30, 0.9 at 70; 0.8 is 3/4 between.
    match = compute_to_match(STANDARD, Curve("MiniPost", [10, 20, 30, 70], [0.3, 0.5, 0.1, 0.9]))
    assert match.flops == pytest.approx(60)


def test_score_never_reached_has_no_ratio():
    match = compute_to_match(STANDARD, Curve("MiniPost", [50, 100], [0.3, 0.7]))
    assert (match.flops, match.ratio) == (None, None)
    assert match.note == "MiniPost reaches 0.700, not 0.800"


def test_score_reached_before_training_has_no_ratio():
    match = compute_to_match(STANDARD, Curve("MiniPost", [0, 100], [0.8, 0.9]))
    assert (match.flops, match.ratio) == (0, None)
    assert match.note == "MiniPost reaches 0.800 before training"


def test_score_reached_at_the_first_evaluation_is_said_so():
    match = compute_to_match(STANDARD, Curve("MiniPost", [50, 100], [0.85, 0.9]))
    assert match.ratio == pytest.approx(4)
    assert match.note == "reached at the first evaluation or earlier: MiniPost"


def test_what_was_paid_before_counts_on_both_sides():
    # 200 and 80 FLOPs of adaptation as above; 1000 and 40 once, shared by ten languages.
    variant = Curve("MiniJoint", [20, 60, 100], [0.3, 0.7, 0.9])
    match = compute_to_match(STANDARD.with_cost(1000 / 10), variant.with_cost(40 / 10))
    assert (match.reference_flops, match.flops) == (300, pytest.approx(84))
    assert match.ratio == pytest.approx(300 / 84)


# Two seeds, and their resamples by hand. Seed 1 twice: 0.8 at 100 against 0.8 at 40. Seed 2 twice:
# 0.4 at 100 against 0.4 at 80. Both: 0.6 at 100; the variants' mean is 0.5 at 40 and 2/3 at 80 (seed
# 1 has 14/15 there), so 0.6 at 64.
REFERENCES = [Curve("Standard", [0, 100], [0, score]) for score in (0.8, 0.4)]
VARIANTS = [
    Curve("MiniJoint", [0, 40, 100], [0, 0.8, 1.0]),
    Curve("MiniJoint", [0, 80, 100], [0, 0.4, 0.4]),
]


def test_two_seeds_have_the_resamples_worked_out_by_hand():
    whole = compute_to_match_over_seeds(REFERENCES, VARIANTS)
    assert whole.match.score == pytest.approx(0.6)
    assert (whole.match.reference_flops, whole.match.flops) == (100, pytest.approx(64))
    assert whole.match.ratio == pytest.approx(100 / 64)
    assert (whole.low, whole.high) == (pytest.approx(100 / 80), pytest.approx(100 / 40))
    assert (whole.never, whole.before_training) == (0, 0)
    # the outer resamples have a quarter of the weight each: 60 % and 40 % end beside them
    for confidence, low, high in ((0.6, 100 / 80, 100 / 40), (0.4, 100 / 64, 100 / 64)):
        result = compute_to_match_over_seeds(REFERENCES, VARIANTS, confidence=confidence)
        assert (result.low, result.high) == (pytest.approx(low), pytest.approx(high))


def test_the_fraction_is_of_the_mean_reference():
    # Half of 0.6, the mean reference's best: after 50. The variants' mean has 0.5 at 40, so 0.3 at 24.
    match = compute_to_match_over_seeds(REFERENCES, VARIANTS, 0.5).match
    assert (match.reference_flops, match.flops) == (pytest.approx(50), pytest.approx(24))


def test_equal_seeds_give_the_plain_ratio_and_no_width():
    variant = Curve("MiniPost", [10, 20, 30, 70], [0.3, 0.5, 0.1, 0.9])  # with a dip
    result = compute_to_match_over_seeds([STANDARD] * 4, [variant] * 4)
    assert result.match == pytest.approx(compute_to_match(STANDARD, variant))
    assert result.low == result.high == pytest.approx(result.match.ratio)


def test_a_score_that_one_seed_loses_again_still_counts():
    # Best so far: 0.8 and 0.4 after 80, the mean 0.6. Of the scores themselves it would be 0.3.
    references = [Curve("Standard", [0, 100], [0, 0.6])] * 2
    variants = [
        Curve("MiniJoint", [0, 40, 80, 120], [0, 0.8, 0.2, 0.8]),
        Curve("MiniJoint", [0, 120], [0, 0.6]),
    ]
    assert compute_to_match_over_seeds(references, variants).match.flops == pytest.approx(80)


def test_resamples_that_never_reach_the_score_open_the_interval():
    fails = Curve("MiniJoint", [0, 80, 100], [0, 0.35, 0.35])
    result = compute_to_match_over_seeds(REFERENCES, [VARIANTS[0], fails])
    assert result.never == pytest.approx(0.25, abs=0.02)  # seed 2 twice
    assert (result.low, result.high) == (None, pytest.approx(100 / 40))
    # inside of the worst three tenths there is an end again, that of both seeds:
    # 0.4875 at 40, 77/120 at 80, 0.6 after 40 + 40 x 0.1125 / (77/120 - 0.4875)
    result = compute_to_match_over_seeds(REFERENCES, [VARIANTS[0], fails], confidence=0.4)
    assert result.low == pytest.approx(100 / (40 + 40 * 0.1125 / (77 / 120 - 0.4875)))
    never = compute_to_match_over_seeds(REFERENCES, [fails, fails])
    assert (never.match.ratio, never.low, never.high, never.never) == (None, None, None, 1)


def test_resamples_that_need_no_training_open_the_interval_above():
    at_once = Curve("MiniJoint", [0, 100], [0.4, 0.4])
    result = compute_to_match_over_seeds(REFERENCES, [VARIANTS[0], at_once])
    assert result.before_training == pytest.approx(0.25, abs=0.02)
    assert result.never == 0
    assert result.low is not None and result.high is None


def test_seeds_are_paired():
    """A variant that is its reference, seed by seed, matches it in every resample."""
    result = compute_to_match_over_seeds(VARIANTS, VARIANTS)
    assert (result.match.ratio, result.low, result.high) == (1, 1, 1)


def test_the_draws_depend_on_the_seed_alone():
    fails = [VARIANTS[0], Curve("MiniJoint", [0, 100], [0, 0.3])]
    one, again, other = (
        compute_to_match_over_seeds(REFERENCES, fails, samples=50, seed=seed) for seed in (1, 1, 2)
    )
    assert one == again
    assert one.never != other.never


def test_mean_curve_over_the_flops_that_all_runs_have():
    runs = [
        Curve("A", [0, 10, 20], [0.2, 0.4, 0.8]),
        Curve("A", [5, 12, 26], [0.3, 0.37, 0.51]),
    ]
    mean = mean_curve(runs)
    # the first run's evaluations, and both ends of the common range; B: 0.01 a FLOP everywhere
    assert mean.flops == [5, 10, 20]
    assert mean.scores == pytest.approx([0.3, (0.4 + 0.35) / 2, (0.8 + 0.45) / 2])
    assert mean.lows == pytest.approx([0.3, 0.35, 0.45])
    assert mean.highs == pytest.approx([0.3, 0.4, 0.8])
    assert mean_curve(runs[::-1]).flops == [5, 12, 20]
    assert mean_curve([STANDARD]).scores == STANDARD.scores


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Curve("A", [], []), "A has 0 FLOPs and 0 scores"),
        (lambda: Curve("A", [1, 2], [0.5]), "A has 2 FLOPs and 1 scores"),
        (lambda: Curve("A", [2, 2], [0.5, 0.6]), "FLOPs of the curve A do not grow"),
        (lambda: Curve("A", [-1, 2], [0.5, 0.6]), "FLOPs of the curve A do not grow"),
        (lambda: Curve("A", [1, float("inf")], [0.5, 0.6]), "FLOPs of the curve A do not grow"),
        (lambda: Curve("A", [1], [71.2]), "A has a score that is not between"),
        (lambda: Curve("A", [1], [float("nan")]), "A has a score that is not between"),
        (lambda: Curve("A", [1], [0.5], [0.4]), "A has 1 lowest and 0 highest scores"),
        (lambda: compute_to_match(STANDARD, STANDARD, 0), "fraction 0 of the best"),
        (lambda: mean_curve([]), "0 curves"),
        (
            lambda: mean_curve([STANDARD, STANDARD.with_cost(301)]),
            "runs of Standard have no FLOPs in common: one begins at 301, another ends at 300",
        ),
        (lambda: compute_to_match_over_seeds([STANDARD], [STANDARD]), "at least two seeds"),
        (
            lambda: compute_to_match_over_seeds([STANDARD] * 2, [STANDARD] * 3),
            "2 reference curves and 3 curves",
        ),
        (
            lambda: compute_to_match_over_seeds([STANDARD] * 2, [STANDARD] * 2, confidence=95),
            "confidence 95",
        ),
        (
            lambda: compute_to_match_over_seeds([STANDARD] * 2, [STANDARD] * 2, samples=0),
            "0 samples",
        ),
        (
            lambda: compute_to_match_over_seeds([STANDARD] * 2, [STANDARD] * 2, 1.5),
            "fraction 1.5 of the best",
        ),
    ],
)
def test_values_that_cannot_be_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_a_curve_begins_with_the_control():
    curve = score_curve("MiniPost", [(20, 0.5), (10, 0.3)], 0.2)
    assert (curve.flops, curve.scores) == ([0, 10, 20], [0.2, 0.3, 0.5])
    assert score_curve("MiniPost", [(20, 0.5)], None).flops == [20]
