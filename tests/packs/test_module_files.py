"""The files of a task module, damaged: one sentence each, before anything is computed."""

import json

import pytest
import torch
from safetensors.torch import save_file

from fairseq_minimodel.bodies.families import ROBERTA
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.modules.mask import fixed_weights
from fairseq_minimodel.packs.module import fixed_heads, load_module, structure_of

DESCRIPTION = {
    "settings": {"task_module": "lora", "module_layers": "", "module_rank": 2},
    "lineage": "0" * 16,
    "body": "1" * 16,
    "layers": 2,
    "width": 4,
    "parameters": 8,
    "heads": {"sentence_classification_head": 3},
    "pooler_activation_fn": "tanh",
    "task": {"_name": "sentence_prediction"},
    "updates": 5,
}
TENSORS = {"encoder.sentence_encoder.layers.0.fc1.task_weight.a": torch.ones(2, 4)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "module.json").write_text(json.dumps(DESCRIPTION))
    save_file(TENSORS, tmp_path / "module.safetensors")
    return tmp_path


def test_a_whole_module_is_read(folder):
    assert load_module(folder).method.module_rank == 2


@pytest.mark.parametrize("labels", ["", "sport 3\nhealth 2\n", "sport 3\nhealth 2\nart -1\n"])
def test_labels_are_as_many_as_the_head_has_classes(labels, folder):
    (folder / "label").mkdir()
    (folder / "label" / "dict.txt").write_text("sport 3\nhealth 2\nart 1\n")
    assert load_module(folder).record
    (folder / "label" / "dict.txt").write_text(labels)
    with pytest.raises(InputError, match="label/dict.txt"):
        load_module(folder)


def test_a_head_that_the_module_does_not_have_is_named(folder):
    (folder / "label").mkdir()
    (folder / "label" / "dict.txt").write_text("sport 3\nhealth 2\nart 1\n")
    task = {**DESCRIPTION["task"], "classification_head_name": "topics"}
    (folder / "module.json").write_text(json.dumps({**DESCRIPTION, "task": task}))
    with pytest.raises(InputError, match="has no head 'topics', which its settings name"):
        load_module(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": []}, "settings is a list"),
        ({"settings": {"task_module": 3}}, "settings is damaged .task_module is 3, not text"),
        ({"settings": {"task_module": "lora", "module_rank": "2"}}, "module_rank is '2'"),
        ({"settings": {"task_module": "lora", "module_rank": 0}}, "--module-rank 0 is out of"),
        ({"settings": {"task_module": "other"}}, "--task-module other is out of"),
        ({"settings": {"colour": 1}}, "colour is not known"),
        ({"heads": {"sentence_classification_head": 10**12}}, "has 1000000000000 outputs"),
        ({"heads": {"sentence_classification_head": 0}}, "has 0 outputs"),
        ({"heads": {"sentence_classification_head": "3"}}, "is '3', not a whole number"),
        (
            {"heads": {"sentence_classification_head": 3, "other": 3}, "layers": "2"},
            "layers is '2'",
        ),
        ({"task": {"init_token": "0"}}, "task is damaged .init_token is '0'"),
        ({"task": "text"}, "task is 'text', not an object"),
        ({"updates": None}, "updates is null"),
        ({"lineage": 5}, "lineage is 5"),
    ],
)
def test_descriptions_of_other_types_are_named(change, words, folder):
    (folder / "module.json").write_text(json.dumps({**DESCRIPTION, **change}))
    with pytest.raises(InputError, match=f"module.json.*{words}"):
        load_module(folder)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"a": torch.full((3,), torch.nan)}, "a has 3 NaN of 3 values"),
        ({"a": torch.ones(3).long()}, "a as int64"),
        ({"masks": torch.ones(3)}, "masks is not a row of bytes"),
        ({"masks": torch.ones(3, 1, dtype=torch.uint8)}, "masks is not a row of bytes"),
    ],
)
def test_tensors_that_no_module_has(tensors, words, folder):
    if "masks" in tensors:
        settings = {"task_module": "mask"}
        (folder / "module.json").write_text(json.dumps({**DESCRIPTION, "settings": settings}))
    save_file(tensors, folder / "module.safetensors")
    with pytest.raises(InputError, match=f"module.safetensors .*{words}"):
        load_module(folder)


def test_cells_of_version_0_1_0_are_refused_and_formats_to_come(folder):
    cell = "encoder.sentence_encoder.layers.0.fc2.task_output"
    save_file({f"{cell}.down.weight": torch.ones(8, 4)}, folder / "module.safetensors")
    description = {**DESCRIPTION, "settings": {"task_module": "tams"}}
    (folder / "module.json").write_text(json.dumps(description))
    with pytest.raises(
        InputError, match="has cells of version 0.1.0, .*: train the task module again"
    ):
        load_module(folder)
    (folder / "module.json").write_text(json.dumps({**description, "format": 3}))
    with pytest.raises(InputError, match="is of the format 3, and this version reads 1 and 2"):
        load_module(folder)


def test_tarp_of_version_0_1_0_has_the_targets_of_then(folder):
    names = [
        f"encoder.sentence_encoder.layers.0.self_attn.{one}_proj.task_weight.left" for one in "qv"
    ]
    save_file({name: torch.ones(4, 2) for name in names}, folder / "module.safetensors")
    settings = {"task_module": "tarp", "module_targets": ""}
    (folder / "module.json").write_text(json.dumps({**DESCRIPTION, "settings": settings}))
    assert load_module(folder).method.targets() == ["q_proj", "v_proj"]


def test_masks_bring_the_head_of_their_format(folder):
    description = {**DESCRIPTION, "settings": {"task_module": "mask"}}
    save_file({"masks": torch.ones(3, dtype=torch.uint8)}, folder / "module.safetensors")
    drawn = []
    for form in ({}, {"format": 2}):
        (folder / "module.json").write_text(json.dumps({**description, **form}))
        heads = fixed_heads(load_module(folder).description, ROBERTA)
        drawn.append(heads["classification_heads.sentence_classification_head.dense.weight"])
    assert torch.equal(drawn[0], fixed_weights([(4, 4)], uniform=True)[0])
    assert torch.equal(drawn[1], fixed_weights([(4, 4)])[0])


def test_a_structure_of_an_absurd_width_is_not_made(folder):
    settings = {"task_module": "tams"}
    text = json.dumps({**DESCRIPTION, "settings": settings, "width": 10**9})
    (folder / "module.json").write_text(text)
    with pytest.raises(InputError, match="does not hold what module.json tells of .Missing key"):
        structure_of(load_module(folder))
