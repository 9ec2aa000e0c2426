import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from fairseq_minimodel.cost.compute_to_match import Curve, mean_curve
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.report import charts
from fairseq_minimodel.report.charts import (
    COLOURS,
    GREY,
    Line,
    Panel,
    draw_png,
    draw_score_against_flops,
    style,
    svg,
    thinned,
)


def panel(names=("a", "b <i>")):
    lines = [Line(name, style(place), [0, 10], [place, 9.5]) for place, name in enumerate(names)]
    lines.append(Line("a", style(0), [0, 10], [5, 5], [4, 4], [6, 6], faint=True))
    return Panel("Loss (bits)", "updates", lines, [("chance", 2)])


def test_a_chart_takes_colours_and_letters_from_the_page_and_names_are_text():
    text = svg(panel(), "x")
    assert set(re.findall(r"#[0-9a-f]{6}", text)) == {*COLOURS[:2], GREY}
    assert "currentColor" in text
    assert "b &lt;i&gt; ends at 9.5; chance 2" in text.split(">")[0] and "<i>" not in text
    assert "http" not in text and "<style" not in text and "font-family" not in text
    assert "DejaVu" not in text and "font-size: 9.5px" in text


def test_charts_of_one_page_do_not_share_names():
    first, second = (set(re.findall(r'id="([^"]+)"', svg(panel(), name))) for name in "xy")
    assert first and second and not first & second
    text = svg(panel(), "x")
    assert {*re.findall(r"url\(#([^)]+)\)", text), *re.findall(r'href="#([^"]+)"', text)} == first


def test_twenty_runs_look_different_and_turned_ones_in_their_dashes_alone():
    assert len({*map(style, [None, *range(24)])}) == 25
    assert style(0) != style(0, 1) and style(0)[:2] == style(0, 1)[:2]


def luminance(colour):
    """Of WCAG 2.2, "relative luminance"."""
    rgb = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
           for part in to_rgb(colour))  # fmt: skip
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), rgb, strict=True))


def test_curves_can_be_seen_on_white_and_on_black():
    for colour in (*COLOURS, GREY):
        for page in ("white", "#1e1e1e"):
            dark, light = sorted(map(luminance, (colour, page)))
            assert (light + 0.05) / (dark + 0.05) >= 3


def test_the_png_grows_with_its_title_and_legend(tmp_path):
    heights = []
    for names, title in (("a", ""), ("a", "costs $5, $6"), ([f"$x$ _{n}" * 9 for n in "abc"], "")):
        draw_png(panel(names), tmp_path / "new" / "chart.png", title)
        height, width, _ = imread(tmp_path / "new" / "chart.png").shape
        assert width == 1000
        heights.append(height)
    assert heights[0] < heights[1] < heights[2]


def test_long_curves_are_thinned_evenly_with_both_ends():
    assert thinned(range(10)) == list(range(10)) and thinned([]) == []
    points = thinned(range(100_001))
    assert len(points) == 300 and points[0] == 0 and points[-1] == 100_000
    assert {b - a for a, b in zip(points, points[1:], strict=False)} <= {334, 335}


STANDARD = Curve("Standard", [0, 100, 200, 300], [0.2, 0.4, 0.8, 0.6])


def test_picture_shows_every_curve_and_cuts_nothing_off(tmp_path):
    path = tmp_path / "curves.png"
    variants = [
        STANDARD,
        Curve("MiniJoint", [0, 40, 90], [0.2, 0.5, 0.81]),
        Curve("MiniPost with a long name", [0, 60, 299], [0.2, 0.4, 0.7]),
    ]
    references = {"untrained control": 0.21, "chance": 0.2, "source language, English": 0.9}
    draw_score_against_flops(variants, path, references=references, title="Title")

    pixels = imread(path)[:, :, :3]
    assert pixels.shape[1] == 1000 and pixels.shape[0] > 600
    for colour in ("#0072B2", "#D55E00", "#009E73"):
        assert (np.abs(pixels - to_rgb(colour)).max(axis=2) < 0.02).sum() > 300
    for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
        assert (edge == 1).all()


def test_a_mean_curve_has_a_band(tmp_path):
    runs = [Curve("A", [0, 50, 100], [0.2, 0.4, top]) for top in (0.5, 0.9)]
    shades = []
    for name, curves in (("mean", [mean_curve(runs)]), ("single", runs[:1])):
        draw_score_against_flops(curves, tmp_path / f"{name}.png")
        pixels = imread(tmp_path / f"{name}.png")[:, :, :3]
        shade = 1 - 0.15 * (1 - np.array(to_rgb("#0072B2")))
        shades.append((np.abs(pixels - shade).max(axis=2) < 0.01).sum())
    assert shades[0] > 10_000 > shades[1]


def test_failed_drawing_leaves_the_former_picture(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    draw_score_against_flops([STANDARD], path)
    former = path.read_bytes()

    def fail(self, target, **options):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(charts.Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        draw_score_against_flops([STANDARD], path)
    assert path.read_bytes() == former
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_of_no_curves_is_refused():
    with pytest.raises(InputError, match="0 curves"):
        draw_score_against_flops([], "x.png")
