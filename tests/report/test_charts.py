import re

from matplotlib.image import imread

from fairseq_minimodel.report.charts import Line, Panel, draw_png, legend_of, styles, svg, thinned

KNOWN = ["standard", "minijoint", "minipost"]


def panel(names=("a", "b <i>")):
    looks = styles(names, KNOWN, "untrained")
    lines = [Line(name, looks[name], [0, 10], [place, 9.5]) for place, name in enumerate(names)]
    lines.append(Line("a", looks["a"], [0, 10], [5, 5], faint=True))
    return Panel("Loss (bits)", "updates", lines, [("chance", 2)])


def test_colours_are_variables_of_the_page_and_names_are_text():
    text = svg(panel(), "x", 2, ["a", "b <i>"])
    assert not re.search(r"#[0-9a-f]{6}", text)
    assert "var(--curve-3)" in text and "var(--chart-rule)" in text
    assert "<title>b &lt;i&gt;</title>" in text and "<i>" not in text
    assert text.count('class="line line-1"') == 2 and text.count('class="line line-2"') == 1
    assert "b &lt;i&gt; ends at 9.5; chance 2" in text.split(">")[0]
    assert "http" not in text and "<style" not in text and "font-family" not in text


def test_charts_of_one_page_do_not_share_names():
    first, second = (
        set(re.findall(r'id="([^"]+)"', svg(panel(), name, 2, ["a", "b <i>"]))) for name in "xy"
    )
    assert first and second and not first & second
    text = svg(panel(), "x", 2, ["a", "b <i>"])
    assert {*re.findall(r"url\(#([^)]+)\)", text), *re.findall(r'href="#([^"]+)"', text)} == first


def test_twenty_runs_look_different():
    looks = styles([f"run {number}" for number in range(20)], KNOWN, "untrained")
    assert len(set(looks.values())) == 24  # with the three that are known, and the control
    assert looks["standard"] == styles([], KNOWN, "untrained")["standard"]


def test_a_style_turned_differs_in_its_dashes_alone():
    style = styles([], KNOWN, "untrained")["standard"]
    assert style.turned(0) == style != style.turned(1)
    assert style.turned(1)[:2] == style[:2]


def test_the_png_holds_panels_title_and_legend(tmp_path):
    path = tmp_path / "new" / "chart.png"
    draw_png([panel(("$x$", "_hidden", "a"))] * 4, path, "costs $5, $6", 3)
    height, width, _ = imread(path).shape
    assert width == round(3 * 3.1 * 200) and height > 2 * 2.2 * 200
    assert [name for name, _ in legend_of([panel()] * 4)] == ["a", "b <i>"]


def test_long_curves_are_thinned_evenly_with_both_ends():
    assert thinned(range(10), 10) == list(range(10))
    points = thinned(range(100_001), 301)
    assert len(points) == 301 and points[0] == 0 and points[-1] == 100_000
    assert {b - a for a, b in zip(points, points[1:], strict=False)} <= {333, 334}
