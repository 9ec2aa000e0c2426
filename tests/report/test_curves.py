import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.report import curves as curves_module
from fairseq_minimodel.report.curves import Curve, compute_to_match, draw_score_against_flops

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
        (lambda: compute_to_match(STANDARD, STANDARD, 0), "fraction 0 of the best"),
        (lambda: draw_score_against_flops([], "x.png"), "0 curves"),
        (
            lambda: draw_score_against_flops([Curve("A", [0], [0.5])], "x.png", log_x=True),
            "ends at 0 FLOPs",
        ),
    ],
)
def test_values_that_cannot_be_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()


@pytest.mark.parametrize("log_x", [False, True])
def test_picture_shows_every_curve_and_cuts_nothing_off(tmp_path, log_x):
    path = tmp_path / "curves.png"
    variants = [
        STANDARD,
        Curve("MiniJoint", [0, 40, 90], [0.2, 0.5, 0.81]),
        Curve("MiniPost with a long name", [0, 60, 299], [0.2, 0.4, 0.7]),
    ]
    references = {"untrained control": 0.21, "chance": 0.2, "source language, English": 0.9}
    draw_score_against_flops(variants, path, references=references, title="Title", log_x=log_x)

    pixels = imread(path)[:, :, :3]
    assert pixels.shape == (600, 1000, 3)
    for colour in ("#0072B2", "#D55E00", "#009E73"):
        assert (np.abs(pixels - to_rgb(colour)).max(axis=2) < 0.02).sum() > 300
    for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
        assert (edge == 1).all()


def test_failed_drawing_leaves_the_former_picture(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    path.write_bytes(b"former")

    def fail(self, target, **options):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(curves_module.Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        draw_score_against_flops([STANDARD], path)
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]
