"""The values of --freeze, and what each leaves to train."""

import pytest

from fairseq_minimodel.cost.flops import Shape, masked_lm_flops
from fairseq_minimodel.cost.freezing import Freeze, parse_freeze
from fairseq_minimodel.errors import InputError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (None, Freeze("none")),
        ("none", Freeze("none")),
        ("language", Freeze("language")),
        ("body", Freeze("body")),
        ("bottom:0", Freeze("bottom", 0)),
        ("bottom:3", Freeze("bottom", 3)),
        ("bottom:3+bias", Freeze("bottom", 3, True)),
        ("bottom:2-head", Freeze("bottom", 2, False, False)),
        ("bottom:3-head+bias", Freeze("bottom", 3, True, False)),
    ],
)
def test_every_value(text, value):
    assert parse_freeze(text, layers=3) == value


@pytest.mark.parametrize(
    "text",
    ["bottom", "bottom:", "bottom:4", "bottom:-1", "bottom:2+", "bottom+bias", "body+bias", "x",
     "body-head", "bottom:2-bias", "bottom:2+bias-head", "bottom:2+head"],
)  # fmt: skip
def test_other_values_are_refused(text):
    with pytest.raises(InputError, match=r"bottom:N-head\+bias with N from 0 to 3"):
        parse_freeze(text, layers=3)


def test_something_is_left_to_train():
    assert parse_freeze("bottom:3-head") == Freeze(
        "bottom", 3, False, False
    )  # of 4 layers, perhaps
    with pytest.raises(InputError, match="bottom:3-head of 3 layers leaves nothing to train"):
        parse_freeze("bottom:3-head", layers=3)


def test_a_trained_bias_costs_no_product():
    shape = Shape(layers=3, width=8, ffn=16, heads=2, vocabulary=50)
    costs = {
        masked_lm_flops(shape, 100, 10, freeze=f"bottom:2{end}").total for end in ("", "+bias")
    }
    assert len(costs) == 1
