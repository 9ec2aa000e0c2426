"""What `inspect` says of models of every kind, against the files themselves and hand-worked sizes."""

import json
from pathlib import Path

import pytest
import torch
from bodies.test_released import released
from conftest import LENGTH, SMALL_MODEL, train

from fairseq_minimodel.cli import main
from fairseq_minimodel.inspect.command import describe
from fairseq_minimodel.packs.commands import module, pack, plug
from fairseq_minimodel.packs.commands import truncate as write_truncated

# Of the model of 3 layers, width 16 and feed-forward 32 that the tests train.
LANGUAGE, HEAD, CLASSIFIER = 65 * 16 + 65, 16 * 16 + 16 + 32, 16 * 16 + 16 + 3 * 16 + 3
LAYER = 4 * (16 * 16 + 16) + (32 * 16 + 32) + (16 * 32 + 16) + 2 * 32
BODY = 34 * 16 + 32 + 3 * LAYER


@pytest.fixture(scope="module")
def models(joint_checkpoint, target_data, pair_data, tmp_path_factory) -> Path:
    """A folder with what is made of the checkpoint: adapted/, tuned/ and modular/, a pack, a task
    module, a plugged model and a truncated checkpoint."""
    folder = tmp_path_factory.mktemp("models")
    train(
        target_data, folder / "adapted", "--task", "language_adaptation", "--criterion", "masked_lm",
        "--arch", "minimodel_roberta", *LENGTH, "--base-checkpoint", joint_checkpoint,
        "--depth", "2", "--initialise", "overlap",
    )  # fmt: skip
    tune = [
        *SMALL_MODEL, "--task", "sentence_prediction", "--criterion", "sentence_prediction",
        "--num-classes", "3", "--init-token", "0", "--separator-token", "2", "--max-positions", "32",
        "--required-batch-size-multiple", "1", "--finetune-from-model", joint_checkpoint,
    ]  # fmt: skip
    train(pair_data, folder / "tuned", *tune, "--freeze", "language")
    train(
        pair_data,
        folder / "modular",
        *tune,
        "--task-module",
        "compacter",
        "--module-reduction",
        "2",
    )
    last = "checkpoint_last.pt"
    pack([folder / "adapted" / last], "de", folder / "pack", None, None)
    module(folder / "modular" / last, folder / "module", None)
    plug(folder / "tuned" / last, folder / "pack", folder / "plugged")
    write_truncated(joint_checkpoint, 2, folder / "mini.pt", None)
    return folder


def facts(path):
    """What is known of a path by JSON, and as text: name to what stands behind it."""
    description = describe(path)
    return description.as_json(), {fact.name: fact.text for fact in description.facts}


def content_of(path):
    return torch.load(path, weights_only=True)


def meter(content, name):
    (found,) = (m for _, key, _, m in content["extra_state"]["metrics"]["default"] if key == name)
    return found["sum"]


def test_a_pretrained_body(joint_checkpoint):
    found, texts = facts(joint_checkpoint)
    content = content_of(joint_checkpoint)
    title = "pretrained body with an auxiliary MLM head after layer 2 (MiniJoint)"
    assert (found["kind"], found["title"], found["warnings"]) == ("checkpoint", title, [])
    assert texts["sizes"] == (
        "3 layers, width 16, feed-forward 32, 2 attention heads, 32 positions, gelu, "
        "LayerNorm epsilon 1e-05"
    )
    assert found["parameters"] == {
        "all": LANGUAGE + BODY + 2 * HEAD,
        "language side": LANGUAGE,
        "body": BODY,
        "MLM heads": 2 * HEAD,
    }
    vocabulary = found["vocabulary"]
    assert vocabulary["size"] == 65
    assert vocabulary["first_pieces"] == [f"\u2581word{index}" for index in range(5)]
    assert vocabulary["dict.txt"] == str(joint_checkpoint.parent / "dict.txt")
    assert vocabulary["tokenizer"] == str(joint_checkpoint.parent / "sentencepiece.bpe.model")
    assert (found["MLM_heads"], texts["MLM heads"]) == ([2, 3], "after layers 2-3 (the last)")
    digits = content["model"]["encoder.lineage"].int().tolist()
    assert found["lineage"] == "".join(f"{digit:x}" for digit in digits)
    assert texts["frozen"] == "nothing"
    assert found["training"] == {
        "updates": 4,
        "tokens": meter(content, "wpb"),
        "flops": meter(content, "_flops"),
        "seconds": meter(content, "train_wall"),
    }
    assert texts["training"].startswith("4 updates, ")
    loss = content["extra_state"]["val_loss"]
    assert found["validation_loss"] == {"value": loss, "unit": "bits per masked token"}
    assert texts["options"].startswith(
        "--task masked_lm --criterion joint_masked_lm --optimizer adam --lr 0.01 --lr-scheduler fixed"
    )
    assert "--batch-size 8" in texts["options"] and "update-freq" not in texts["options"]
    assert found["precision"] == {"float32": LANGUAGE + BODY + 2 * HEAD}
    assert found["files"] == {"checkpoint_last.pt": joint_checkpoint.stat().st_size}


def test_an_adapted_language_side(models, joint_checkpoint):
    found, texts = facts(models / "adapted/checkpoint_last.pt")
    assert found["title"] == "language side trained over 2 frozen layers (language adaptation)"
    assert found["parameters"]["language side"] == 80 * 16 + 80
    assert texts["frozen"] == "everything but the language side"
    assert found["started_from"] == {
        "checkpoint": str(joint_checkpoint), "depth": 2, "initialise": "overlap", "helper": None
    }  # fmt: skip


def test_a_fine_tuned_body(models, joint_checkpoint):
    found, texts = facts(models / "tuned/checkpoint_last.pt")
    assert found["title"] == "body fine-tuned for classification (3 classes)"
    assert found["parameters"]["task heads"] == CLASSIFIER
    assert found["task_heads"]["labels"] == ["same", "other", "neither"]
    assert texts["task heads"] == (
        "outputs sentence_classification_head 3; labels same, other, neither"
    )
    assert texts["frozen"] == "language side"
    assert found["validation_loss"]["unit"] == "bits per example"
    assert found["started_from"] == {"checkpoint": str(joint_checkpoint)}


def test_a_body_with_a_task_module_and_the_module_by_itself(models):
    found, texts = facts(models / "modular/checkpoint_last.pt")
    assert found["title"] == ("body with a task module (compacter) for classification (3 classes)")
    assert texts["frozen"] == "everything but the task module and its heads"
    alone, _ = facts(models / "module")
    assert alone["title"] == "task module (compacter) for classification (3 classes)"
    assert alone["body"]["digest"] == found["task_module"]["body"]
    assert alone["lineage"] == found["lineage"]
    layer_norms = 32 + 3 * 2 * 32
    assert alone["parameters"] == found["parameters"]["task module"] + CLASSIFIER + layer_norms
    assert alone["task_heads"] == found["task_heads"]


def test_a_pack(models):
    found, texts = facts(models / "pack")
    about = json.loads((models / "pack/language.json").read_text())
    assert found["title"] == "language pack: de"
    assert texts["sizes"] == "80 symbols, width 16, 1,360 parameters"
    assert found["lineage"] == about["lineage"] and found["trained_over"] == 2
    assert found["validation_loss"]["value"] == about["validation_loss"]
    training = {name: about[name] for name in ("updates", "tokens", "flops", "seconds")}
    assert found["training"] == training
    assert found["vocabulary"]["tokenizer"] == "sentencepiece.bpe.model"


def test_what_no_training_wrote_says_so(models):
    found, texts = facts(models / "mini.pt")
    assert found["title"] == "body, imported or made out of another checkpoint"
    assert (found["sizes"]["encoder_layers"], found["MLM_heads"]) == (2, [2])
    assert texts["frozen"] == "not known: no training wrote this file"
    assert texts["training"] == "4 updates"
    assert "options" not in texts and "validation loss" not in texts
    plugged, _ = facts(models / "plugged")
    assert plugged["path"] == str(models / "plugged/model.pt")
    assert plugged["title"] == "body fine-tuned for classification (3 classes)"
    assert plugged["vocabulary"]["dict.txt"] == str(models / "plugged/dict.txt")
    assert plugged["vocabulary"]["first_pieces"][0] == "\u2581wort0"


def test_a_released_layout(tmp_path):
    words = [f"w{index}" for index in range(60)]
    path = released(tmp_path, joined=True, task="masked_lm", symbols=words, zipped=False)
    found, texts = facts(path)
    assert found["title"] == "pretrained body"
    assert found["sizes"]["encoder_layers"] == 3
    assert texts["training"].startswith("500,000 updates")
    assert "the digest of its body" in texts["lineage"]
    assert texts["validation loss"] == "2 bits per masked token"
    assert "--criterion masked_lm --optimizer adam" in texts["options"]


def altered(source, target, change):
    """A checkpoint with another state dict or configuration."""
    content = content_of(source)
    change(content)
    torch.save(content, target)
    return target


def test_nan_and_infinities_are_warned_of(joint_checkpoint, tmp_path):
    def spoil(content):
        weight = content["model"]["encoder.sentence_encoder.layers.1.fc1.weight"]
        weight[0, :3], weight[1, 0] = float("nan"), float("-inf")

    found, _ = facts(altered(joint_checkpoint, tmp_path / "spoilt.pt", spoil))
    assert found["warnings"] == [
        "encoder.sentence_encoder.layers.1.fc1.weight has 3 NaN and 1 infinite of 512 values"
    ]


def test_half_precision_is_seen(joint_checkpoint, tmp_path):
    def halve(content):
        state = content["model"]
        for name in state:
            if ".layers.0." in name:
                state[name] = state[name].half()

    found, texts = facts(altered(joint_checkpoint, tmp_path / "mixed.pt", halve))
    assert found["precision"] == {"float32": LANGUAGE + BODY + 2 * HEAD - LAYER, "float16": LAYER}
    assert (
        texts["precision"] == f"float32 {LANGUAGE + BODY + 2 * HEAD - LAYER:,}, float16 {LAYER:,}"
    )


def test_a_form_that_is_not_supported_is_described_with_a_warning(joint_checkpoint, tmp_path):
    def prenorm(content):
        content["cfg"]["model"]["encoder_normalize_before"] = True

    found, _ = facts(altered(joint_checkpoint, tmp_path / "prenorm.pt", prenorm))
    assert found["sizes"]["encoder_layers"] == 3
    assert found["warnings"] == [
        "trained with encoder_normalize_before=True, which minimodel_roberta does not have"
    ]


def test_another_dictionary_is_warned_of(joint_checkpoint, target_data, tmp_path):
    (tmp_path / "dict.txt").write_bytes((target_data / "dict.txt").read_bytes())
    found, _ = facts(altered(joint_checkpoint, tmp_path / "moved.pt", lambda content: None))
    assert found["vocabulary"]["first_pieces"] == []
    assert "has 80 symbols" in found["warnings"][0]


def test_a_model_in_hugging_faces_form_by_its_headers(tmp_path):
    from safetensors.torch import save_file

    config = {"model_type": "xlm-roberta", "architectures": ["XLMRobertaForMaskedLM"],
              "num_hidden_layers": 2, "hidden_size": 8, "vocab_size": 50}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = {"a": torch.zeros(50, 8), "b": torch.zeros(7, dtype=torch.float16)}
    save_file(weights, tmp_path / "model.safetensors")
    found, texts = facts(tmp_path)
    assert found["title"] == "model in Hugging Face's form: xlm-roberta"
    assert texts["sizes"] == "2 layers, width 8, 50 symbols"
    assert found["parameters"] == 407 and found["precision"] == {"F32": 400, "F16": 7}
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    assert main(["inspect", str(tmp_path)]) == 2


def test_truncated_and_foreign_files_end_in_a_sentence(models, joint_checkpoint, tmp_path, capsys):
    (tmp_path / "cut.pt").write_bytes(joint_checkpoint.read_bytes()[:-500])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/checkpoint_last.pt").write_bytes(b"")

    def remove_a_layer_norm(content):
        del content["model"]["encoder.sentence_encoder.layers.0.fc1.weight"]

    altered(joint_checkpoint, tmp_path / "part.pt", remove_a_layer_norm)
    for name, words in {
        "cut.pt": "is damaged",
        "empty.pt": "the file is in fact empty",
        "picture.png": "is not a file that inspect knows",
        "absent": "there is no",
        "folder": "name one of its checkpoints: checkpoint_last.pt",
        "part.pt": "is not a complete RoBERTa",
    }.items():
        assert main(["inspect", str(joint_checkpoint), str(tmp_path / name)]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and words in printed.err and printed.err.count("\n") == 1, name
    for options in ([], [str(models / "pack"), "--compare", "a", "b"]):
        assert main(["inspect", *options]) == 2
        assert "--compare A B" in capsys.readouterr().err


def test_text_and_json_of_several_paths(models, tmp_path, capsys):
    paths = [str(models / "pack"), str(models / "module")]
    assert main(["inspect", *paths, "--json", str(tmp_path / "found.json")]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{paths[0]}: language pack: de\n  sizes ")
    assert f"\n\n{paths[1]}: task module" in text
    assert max(map(len, text.splitlines())) <= max(100, *(len(path) + 60 for path in paths))
    written = json.loads((tmp_path / "found.json").read_text())
    assert main(["inspect", *paths, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == written
    assert [found["kind"] for found in written] == ["language pack", "task module"]


def test_minipost_and_a_validation_by_accuracy(joint_checkpoint, tmp_path):
    def post(content):
        content["cfg"]["model"].update(freeze="bottom:2", auxiliary_head_layers="")
        content["cfg"]["checkpoint"]["best_checkpoint_metric"] = "accuracy"
        content["extra_state"]["val_loss"] = torch.tensor(83.25)

    found, texts = facts(altered(joint_checkpoint, tmp_path / "post.pt", post))
    assert found["title"] == "1 layer trained on 2 frozen ones (MiniPost, step 1b)"
    assert texts["frozen"].endswith("embedding LayerNorm, the bottom 2 layers")

    def head_alone(content):
        post(content)
        content["cfg"]["model"].update(freeze="bottom:3")

    found, _ = facts(altered(joint_checkpoint, tmp_path / "head.pt", head_alone))
    assert found["title"] == "MLM head trained on 3 frozen layers (MiniPost, step 1b)"

    def frozen_head(content):
        post(content)
        content["cfg"]["model"].update(freeze="bottom:2-head")

    _, texts = facts(altered(joint_checkpoint, tmp_path / "frozen.pt", frozen_head))
    assert texts["frozen"].endswith("the bottom 2 layers, the MLM head")
    assert found["validation_accuracy"] == {"value": 83.25, "unit": "%"}
    json.dumps(found)
