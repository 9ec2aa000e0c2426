import pytest

from fairseq_minimodel.terminal.table import format_flops, format_seconds, format_table


def test_columns_are_aligned_and_cells_are_readable():
    table = format_table(
        ["variant", "accuracy (%)", "tokens", "compute", "match", "note"],
        [
            ["Standard", 86.0, 1_048_576, "32.8 TFLOP", None, "the | baseline"],
            ["MiniJoint", 85.4321, 512, "3.2 TFLOP", 2.25, ""],
        ],
    )
    assert table.splitlines() == [
        "| variant   |   accuracy (%) |    tokens |    compute |   match | note            |",
        "|:----------|---------------:|----------:|-----------:|--------:|:----------------|",
        r"| Standard  |             86 | 1,048,576 | 32.8 TFLOP |       - | the \| baseline |",
        "| MiniJoint |          85.43 |       512 |  3.2 TFLOP |    2.25 |                 |",
    ]


def test_strings_of_digits_are_not_reformatted():
    assert format_table(["x (%)"], [["0.50"]]).endswith(" 0.50 |")


def test_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="1 cells under 2 headers"):
        format_table(["a", "b"], [["x"]])


@pytest.mark.parametrize(
    ("flops", "text"),
    [
        (0, "0 FLOP"),
        (999, "999 FLOP"),
        (431.3e6, "431 MFLOP"),
        (999.6e6, "1 GFLOP"),
        (3.2e12, "3.2 TFLOP"),
        (7.873e19, "78.7 EFLOP"),
        (5e27, "5e+03 YFLOP"),
    ],
)
def test_flops_have_three_digits_and_a_prefix(flops, text):
    assert format_flops(flops) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.3456, "0.346 s"),
        (59.9, "59.9 s"),
        (59.96, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (86_399, "1 d 0 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_seconds_have_their_two_largest_units(seconds, text):
    assert format_seconds(seconds) == text
