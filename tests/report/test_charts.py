import re

from matplotlib.image import imread

from fairseq_minimodel.report.charts import (
    CONTROL,
    Line,
    Panel,
    draw_png,
    legend_of,
    style,
    svg,
    thinned,
)


def panel(names=("a", "b <i>")):
    lines = [Line(name, style(place), [0, 10], [place, 9.5]) for place, name in enumerate(names)]
    lines.append(Line("a", style(0), [0, 10], [5, 5], [4, 4], [6, 6], faint=True))
    return Panel("Loss (bits)", "updates", lines, [("chance", 2)])


def test_a_chart_takes_colours_and_letters_from_the_page_and_names_are_text():
    text = svg(panel(), "x", 2)
    assert not re.search(r"#[0-9a-f]{6}", text)
    assert "var(--curve-1)" in text and "var(--chart-rule)" in text
    assert "b &lt;i&gt; ends at 9.5; chance 2" in text.split(">")[0] and "<i>" not in text
    assert "http" not in text and "<style" not in text and "font-family" not in text
    assert "DejaVu" not in text and "font-size: 9px" in text


def test_charts_of_one_page_do_not_share_names():
    first, second = (set(re.findall(r'id="([^"]+)"', svg(panel(), name, 2))) for name in "xy")
    assert first and second and not first & second
    text = svg(panel(), "x", 2)
    assert {*re.findall(r"url\(#([^)]+)\)", text), *re.findall(r'href="#([^"]+)"', text)} == first


def test_twenty_runs_look_different():
    looks = [CONTROL, *map(style, range(24))]
    assert len(set(looks)) == 25
    assert len({(one.variable, one.glyphs) for one in looks}) == 25  # in the legend, too
    references = [(name, 1) for name in ("chance", "untrained", "source")]
    assert len({look for _, look in legend_of([Panel("", "", [], references)])}) == 3


def test_a_style_turned_differs_in_its_dashes_alone():
    one = style(0)
    assert one.turned(0) == one != one.turned(1)
    assert one.turned(1)[:2] == one[:2]


def test_the_png_holds_panels_title_and_legend(tmp_path):
    path = tmp_path / "new" / "chart.png"
    draw_png([panel(("$x$", "_hidden", "a"))] * 4, path, "costs $5, $6", 3)
    height, width, _ = imread(path).shape
    assert width == round(3 * 3.1 * 200) and height > 2 * 2.2 * 200
    assert [name for name, _ in legend_of([panel()] * 4)] == ["a", "b <i>", "chance"]


def test_long_curves_are_thinned_evenly_with_both_ends():
    assert thinned(range(10)) == list(range(10)) and thinned([]) == []
    points = thinned(range(100_001))
    assert len(points) == 300 and points[0] == 0 and points[-1] == 100_000
    assert {b - a for a, b in zip(points, points[1:], strict=False)} <= {334, 335}
