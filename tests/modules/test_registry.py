"""All methods as one table: their settings, what these accept, and how many parameters they add."""

import dataclasses

import pytest

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.modules.method import NONE, Method
from fairseq_minimodel.modules.registry import (
    METHODS,
    SETTINGS,
    find_method,
    with_saved_targets,
)

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
        ({"task_module": "tarp"}, 7_962_624),  # 6.39 % of RoBERTa-base
        ({"task_module": "tarp", "module_targets": "q_proj,v_proj"}, 1_769_472),  # 1.42 %
        (
            {"task_module": "tarp", "module_targets": "q_proj,k_proj,v_proj,out_proj"},
            3_538_944,  # 2.84 %
        ),
        ({"task_module": "tams"}, 12 * 556_736 + 768 * 128 + 128 + 128 * 54 + 54),
    ],
)
def test_the_parameters_of_roberta_base(settings, count):
    assert find_method(settings).count_parameters(**BASE) == count


SHARES = {"": 0.0639, "q_proj,v_proj": 0.0142, "q_proj,k_proj,v_proj,out_proj": 0.0284}


@pytest.mark.parametrize("targets", SHARES)
def test_the_shares_of_tarp(targets):
    """Of RoBERTa-base with its MLM head: 124.6 million."""
    count = find_method({"task_module": "tarp", "module_targets": targets}).count_parameters(**BASE)
    assert count / 124_645_632 == pytest.approx(SHARES[targets], abs=5e-5)


def test_saved_settings_have_the_targets_of_the_tensors():
    """In version 0.1.0 TARP left two of them to its default."""
    old = {"task_module": "tarp", "module_targets": ""}
    names = [
        "layers.0.self_attn.v_proj.task_weight.left",
        "layers.1.self_attn.q_proj.task_weight.left",
    ]
    assert with_saved_targets(old, names)["module_targets"] == "q_proj,v_proj"
    lora = {**old, "task_module": "lora"}
    assert with_saved_targets(lora, names) == lora  # its default still
    assert with_saved_targets(old, ["masks", "layers.0.fc1.weight"]) == old


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
