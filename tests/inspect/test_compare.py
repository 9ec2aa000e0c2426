"""Where two models differ, on differences made by hand."""

import json
import math
from dataclasses import replace

import pytest
import torch

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.language_side import EMBEDDING, OUTPUT_BIAS, OUTPUT_PROJECTION
from fairseq_minimodel.bodies.parts import listed
from fairseq_minimodel.cli import main
from fairseq_minimodel.inspect.command import compare_paths as compare
from fairseq_minimodel.packs.commands import extend, pack, truncate

LAYER = "encoder.sentence_encoder.layers.{}."


@pytest.fixture
def changed(joint_checkpoint, tmp_path):
    """Writes a checkpoint whose weights are those that a function makes of the original's."""

    def write(change, **settings):
        checkpoint = read_checkpoint(joint_checkpoint)
        state = dict(checkpoint.state)
        change(state)
        write_checkpoint(tmp_path / "changed.pt", checkpoint.replaced(state, **settings))
        return tmp_path / "changed.pt"

    return write


def parts_of(comparison):
    return {part.name: part for part in comparison.parts}


def test_a_checkpoint_and_itself(joint_checkpoint):
    comparison = compare(joint_checkpoint, joint_checkpoint)
    assert comparison.settings == []
    assert comparison.verdict == (
        "of one lineage; identical by bits: language side, position embeddings, embedding LayerNorm, "
        "layers 1-3, MLM head after layer 2, MLM head after layer 3"
    )


def test_differences_are_measured_by_part(joint_checkpoint, changed):
    def change(state):
        embedding = state[EMBEDDING].clone()
        embedding[7] = 0
        state[EMBEDDING] = state[OUTPUT_PROJECTION] = embedding
        weight = state[LAYER.format(1) + "fc1.weight"]
        state[LAYER.format(1) + "fc1.weight"] = weight + 0.25 * torch.eye(32, 16)

    comparison = compare(joint_checkpoint, changed(change, dropout=0.3))
    parts, before = parts_of(comparison), read_checkpoint(joint_checkpoint).state
    side = parts["language side"]
    assert (side.equal, side.changed) == (1, 1)  # the embedding once, although it is also tied
    row, bias = before[EMBEDDING][7].double(), before["encoder.lm_head.bias"].double()
    assert side.largest == pytest.approx(float(row.abs().max()))
    whole = math.hypot(before[EMBEDDING].double().norm(), bias.norm())
    assert side.relative == pytest.approx(float(row.norm()) / whole, rel=1e-5)
    layer = parts["layer 2"]
    assert (layer.equal, layer.changed, layer.largest) == (15, 1, pytest.approx(0.25, rel=1e-5))
    squares = sum(
        float((tensor.double() ** 2).sum())
        for name, tensor in before.items()
        if name.startswith(LAYER.format(1))
    )
    # the identity has 16 ones, so that the norm of what was added is 0.25 * 4
    assert layer.relative == pytest.approx(1 / math.sqrt(squares), rel=1e-5)
    assert ("model.dropout", 0.1, 0.3) in comparison.settings
    assert "changed: language side, layer 2" in comparison.verdict
    assert "layers 1" not in comparison.verdict
    assert "identical by bits: position embeddings, embedding LayerNorm, layer 1, layer 3" in (
        comparison.verdict
    )


def test_bits_count_not_values(joint_checkpoint, changed):
    bias = LAYER.format(0) + "fc1.bias"

    def negate_a_zero(state):
        state[bias] = state[bias].clone()
        state[bias][0] = 0.0

    one = changed(negate_a_zero).rename(changed(negate_a_zero).with_name("zero.pt"))

    def negative(state):
        negate_a_zero(state)
        state[bias][0] = -0.0

    part = parts_of(compare(one, changed(negative)))["layer 1"]
    assert (part.changed, part.largest, part.relative) == (1, 0.0, 0.0)

    def half(state):
        state[bias] = state[bias].half()

    assert parts_of(compare(joint_checkpoint, changed(half)))["layer 1"].changed == 1

    def spoil(state):
        state[bias] = state[bias] * math.nan

    spoilt = changed(spoil)
    assert parts_of(compare(spoilt, spoilt))["layer 1"].changed == 0
    comparison = compare(joint_checkpoint, spoilt)
    assert math.isnan(parts_of(comparison)["layer 1"].largest)
    json.dumps(comparison.as_json(), allow_nan=False)


def test_a_head_is_found_again_in_a_model_cut_there(joint_checkpoint, tmp_path):
    truncate(joint_checkpoint, 2, tmp_path / "mini.pt", None)
    verdict = compare(joint_checkpoint, tmp_path / "mini.pt").verdict
    assert "layers 1-2, MLM head after layer 2" in verdict
    assert verdict.endswith("only in A: layer 3, MLM head after layer 3")
    extend(joint_checkpoint, 2, 2, "new", "new", 1, tmp_path / "extended.pt", None)
    verdict = compare(tmp_path / "mini.pt", tmp_path / "extended.pt").verdict
    assert verdict.endswith(
        "only in A: MLM head after layer 2; only in B: layers 3-4, MLM head after layer 4"
    )


def test_settings_that_one_lacks_and_the_other_has_off_are_left_out(joint_checkpoint, tmp_path):
    checkpoint = read_checkpoint(joint_checkpoint)
    task = {**checkpoint.config["task"], "_name": "other", "depth": 2, "shuffle": False, "limit": 0}
    del task["mask_prob"]
    config = {**checkpoint.config, "task": task}
    write_checkpoint(tmp_path / "other.pt", replace(checkpoint, config=config))
    found = {
        name: values for name, *values in compare(joint_checkpoint, tmp_path / "other.pt").settings
    }
    assert found["task._name"] == ["masked_lm", "other"]
    assert found["task.depth"] == [None, 2] and found["task.mask_prob"] == [0.15, None]
    assert "task.shuffle" not in found and "task.limit" not in found
    assert not {"optimizer.lr", "lr_scheduler.lr"} & set(found)


def test_a_pack_and_a_checkpoint(joint_checkpoint, tmp_path):
    pack([joint_checkpoint], "en", tmp_path / "pack", None, None)
    comparison = compare(tmp_path / "pack", joint_checkpoint)
    assert parts_of(comparison)["language side"].equal == 2
    assert comparison.settings == []  # what both have: updates, tokens, FLOPs and so on
    assert comparison.verdict.startswith(
        "of one lineage; identical by bits: language side; only in B"
    )


def test_other_vocabularies_and_lineages(joint_checkpoint, changed, tmp_path, capsys):
    def foreign(state):
        for name in ("encoder.lineage", "encoder.vocabulary"):
            state[name] = 15 - state[name]
        state[EMBEDDING] = state[OUTPUT_PROJECTION] = state[EMBEDDING][:50].clone()
        state[OUTPUT_BIAS] = state[OUTPUT_BIAS][:50].clone()

    path = changed(foreign)
    assert main(["inspect", "--compare", str(joint_checkpoint), str(path)]) == 0
    text = capsys.readouterr().out
    assert "| language side          |           0 |         0 |" in text
    assert "65 x 16 in A, 50 x 16 in B; 65 in A, 50 in B |" in text
    assert "of different lineages;" in text and "of other shapes: language side" in text
    assert "The vocabularies differ" in text
    assert main(["inspect", "--compare", str(joint_checkpoint), str(path), "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["a"]["lineage"] != found["b"]["lineage"]
    side = next(part for part in found["parts"] if part["name"] == "language side")
    assert side["reshaped"] == [[[65, 16], [50, 16]], [[65], [50]]]


def test_what_cannot_be_compared(joint_checkpoint, source_data, capsys):
    for path in (source_data, source_data / "dict.txt", source_data / "absent.pt"):
        assert main(["inspect", "--compare", str(joint_checkpoint), str(path)]) == 2
        assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["span head", "layer 1", "layer 2", "layer 4"], "span head, layers 1-2, layer 4"),
        (["layer 3", "layer 1"], "layer 3, layer 1"),
        ([], ""),
    ],
)
def test_layers_that_follow_each_other_are_one(parts, text):
    assert listed(parts) == text
