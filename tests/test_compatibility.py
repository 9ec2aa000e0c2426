"""Files that version 0.1.0 wrote still load, plug and score as they did then.

tests/data/0.1.0: a body of two layers, the same fine-tuned for topics, packs of two languages, a task
module of the body, labelled text, and the scores that 0.1.0 gave.
"""

import json
from pathlib import Path

import pytest
import torch
from conftest import LENGTH, run, state_of, train

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.packs.module import load_module
from fairseq_minimodel.packs.pack import load_pack

OLD = Path(__file__).parent / "data" / "0.1.0"
EMBEDDING = "encoder.sentence_encoder.embed_tokens.weight"


def minimodel(*arguments):
    result = run(["fairseq-minimodel", *arguments])
    assert result.returncode == 0, result.stderr
    return result


def test_they_are_read():
    body, topics = read_checkpoint(OLD / "body.pt"), read_checkpoint(OLD / "topics.pt")
    german, module = load_pack(OLD / "packs/de"), load_module(OLD / "module")
    assert (german.description.language, german.description.depth) == ("de", 1)
    assert german.description.lineage == load_pack(OLD / "packs/en").description.lineage
    assert module.description.settings["task_module"] == "compacter" and module.tensors
    assert body.body_settings() == topics.body_settings()


@pytest.mark.parametrize(
    ("body", "options", "recorded"),
    [
        ("topics.pt", [], "scores.json"),
        ("body.pt", ["--module", OLD / "module"], "module_scores.json"),
    ],
)
def test_their_scores_are_those_of_then(body, options, recorded, tmp_path):
    minimodel(
        "evaluate", "--body", OLD / body, *options, "--test", OLD / "packs/en", OLD / "en.tsv",
        "--test", OLD / "packs/de", OLD / "de.tsv", "--text-columns", "text",
        "--label-column", "label", "--json", tmp_path / "scores.json",
    )  # fmt: skip
    scores, before = (
        [
            (one["language"], one["examples"], one["correct"], pytest.approx(one["accuracy"]))
            for one in json.loads(path.read_text())
        ]
        for path in (tmp_path / "scores.json", OLD / recorded)
    )
    assert scores == before


def test_a_pack_is_plugged_in(tmp_path):
    minimodel("plug", "--body", OLD / "topics.pt", "--pack", OLD / "packs/de", "--output", tmp_path)
    plugged = state_of(tmp_path / "model.pt")
    assert torch.equal(plugged[EMBEDDING], load_pack(OLD / "packs/de").side.embedding)
    head = "classification_heads.sentence_classification_head.out_proj.weight"
    assert torch.equal(plugged[head], state_of(OLD / "topics.pt")[head])


def test_a_tensor_that_is_not_known_is_passed_on_with_a_warning(tmp_path):
    body = torch.load(OLD / "body.pt", weights_only=True)
    body["model"]["x"] = torch.zeros(2)
    torch.save(body, tmp_path / "body.pt")
    (tmp_path / "dict.txt").write_bytes((OLD / "packs/en/dict.txt").read_bytes())
    output = tmp_path / "plugged"
    result = minimodel(
        "plug", "--body", tmp_path / "body.pt", "--pack", OLD / "packs/de", "--output", output
    )
    assert f"{tmp_path}/body.pt has an unknown tensor x, passed on as it is" in result.stderr
    assert torch.equal(state_of(output / "model.pt")["x"], torch.zeros(2))


def test_a_language_is_trained_over_the_body(target_data, tmp_path):
    train(
        target_data, tmp_path, "--task", "language_adaptation", "--criterion", "joint_masked_lm",
        "--arch", "minimodel_roberta", "--base-checkpoint", OLD / "body.pt", "--depth", "1",
        "--source-dict", OLD / "packs/en/dict.txt", *LENGTH, "--tokens-per-sample", "16",
        "--max-update", "1",
    )  # fmt: skip
    trained, body = state_of(tmp_path / "checkpoint_last.pt"), state_of(OLD / "body.pt")
    name = "encoder.sentence_encoder.layers.0.fc1.weight"
    assert torch.equal(trained[name], body[name])
    assert trained[EMBEDDING].shape == (80, 8)
