"""All methods as one table: their settings, what these accept, and how many parameters they add."""

import dataclasses

import pytest

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.modules.method import NONE, Method
from fairseq_minimodel.modules.registry import METHODS, SETTINGS, find_method

BASE = {"layers": 12, "width": 768, "ffn": 3072}  # RoBERTa's


def test_methods_that_read_one_option_agree_on_it():
    flat = {one.name: (one.type, one.default, one.choices) for one in SETTINGS}
    for method in METHODS.values():
        for field in dataclasses.fields(method):
            own = (field.type, field.default, field.metadata["choices"])
            assert flat[field.name] == own, (method.name, field.name)


def test_a_model_without_a_module_has_the_method_that_does_nothing():
    for settings in ({}, {"task_module": NONE}, {"task_module": None, "module_rank": 0}):
        method = find_method(settings)
        assert type(method) is Method and method.count_parameters(**BASE) == 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"task_module": "bitfit"},
            "--task-module bitfit is out of its range: it is none, adapter, ",
        ),
        ({"task_module": "lora", "module_rank": 0}, "--module-rank 0 .*: it is at least 1"),
        ({"task_module": "mask", "mask_threshold": -0.02}, "--mask-threshold -0.02 .* above -0.02"),
        ({"task_module": "tarp", "tarp_form": "linear"}, "linear .* bilinear, kronecker, dynamic"),
        ({"task_module": "tams", "structure_width": -1}, "--structure-width -1 .* at least 1"),
    ],
)
def test_what_is_out_of_range_is_said_with_the_range(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        find_method(settings)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"task_module": "compacter"}, 57_088),  # the paper's
        ({"task_module": "compacter++"}, 28_576),
        ({"task_module": "mask"}, 84_934_656),  # all weights of the layers
        ({"task_module": "lora", "module_layers": "3-12"}, 10 * 2 * 8 * 2 * 768),
    ],
)
def test_the_parameters_of_roberta_base(settings, count):
    assert find_method(settings).count_parameters(**BASE) == count


@pytest.mark.parametrize(
    ("reason", "settings"),
    [
        (None, [{"task_module": "mask"}, {"task_module": "lora"}]),
        (None, [{"task_module": "tarp", "tarp_form": form} for form in ("bilinear", "kronecker")]),
        ("what the token is", [{"task_module": "tarp"}, {"task_module": "tarp+tams"}]),
        ("adds layers", [{"task_module": "tarp+tams", "tarp_form": "bilinear"}]),
        (
            "adds layers",
            [{"task_module": name} for name in ("adapter", "compacter", "compacter++")],
        ),
        ("adds layers", [{"task_module": "tams"}]),
    ],
)
def test_a_method_says_why_it_does_not_merge(reason, settings):
    for one in settings:
        found = find_method(one).why_not_merged
        assert found is None if reason is None else reason in found
