"""What happens around a training run: what is said before it, and what lies beside its checkpoints."""

import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from conftest import LENGTH, OPTIMISER, SMALL_MODEL, USER_DIR, run, train
from fairseq import tasks
from fairseq.data import Dictionary
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from fairseq.trainer import Trainer
from omegaconf import OmegaConf

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.fit import check_fits
from fairseq_minimodel.bodies.surgery import truncate
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.models.minimodel_roberta import check_labels
from fairseq_minimodel.plugin.training import check_training_files

fairseq_minimodel.register()
PRETRAINING = ["--task", "masked_lm", "--criterion", "joint_masked_lm", *SMALL_MODEL, *LENGTH]
FINE_TUNING = [
    "--task", "sentence_prediction", "--criterion", "sentence_prediction", "--init-token", "0",
    "--separator-token", "2", "--num-classes", "3", *SMALL_MODEL, "--max-positions", "32",
    "--log-format", "simple", "--max-update", "2",
]  # fmt: skip
TRAINS_THE_LANGUAGE = "this run trains the language side"


@pytest.fixture(scope="module")
def moved(source_data, tmp_path_factory):
    """A checkpoint whose training data are gone."""
    folder = tmp_path_factory.mktemp("moved")
    shutil.copytree(source_data, folder / "data")
    train(folder / "data", folder / "here", *PRETRAINING, "--max-update", "1")
    shutil.rmtree(folder / "data")
    (folder / "here").rename(folder / "there")
    return folder / "there"


def test_dictionary_and_tokenizer_lie_beside_the_checkpoints(moved, source_data, tmp_path):
    for name in ("dict.txt", "sentencepiece.bpe.model"):
        assert (moved / name).read_bytes() == (source_data / name).read_bytes()
    assert {path.suffix for path in moved.iterdir()} == {".pt", ".txt", ".model"}
    result = run(
        ["fairseq-minimodel", "pack", "--checkpoint", moved / "checkpoint_last.pt",
         "--language", "en", "--output", tmp_path / "packs/en"], cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "packs/en/sentencepiece.bpe.model").is_file()


def test_the_tokenizer_of_the_data_is_that_of_its_dictionary(source_data, target_data, tmp_path):
    data = shutil.copytree(source_data, tmp_path / "data")
    cfg = OmegaConf.create(
        {"task": {"data": str(data)}, "checkpoint": {"finetune_from_model": None}}
    )
    check_training_files(cfg)
    tokenizer = data / "sentencepiece.bpe.model"
    for content in (b"", (target_data / tokenizer.name).read_bytes()):
        tokenizer.write_bytes(content)
        with pytest.raises(InputError, match="do not belong together|not a SentencePiece model"):
            check_training_files(cfg)
    tokenizer.unlink()
    check_training_files(cfg)


def test_a_run_that_saves_nothing_leaves_nothing(source_data, tmp_path):
    train(source_data, tmp_path, *PRETRAINING, "--max-update", "1", "--no-save")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("freeze", ["none", "language"])
def test_fine_tuning_that_moves_the_language_is_said(freeze, moved, pair_data, tmp_path):
    log = train(
        pair_data, tmp_path, *FINE_TUNING, "--freeze", freeze,
        "--finetune-from-model", moved / "checkpoint_last.pt",
    )  # fmt: skip
    assert (TRAINS_THE_LANGUAGE in log) == (freeze == "none")
    assert log.count(TRAINS_THE_LANGUAGE) <= 1
    assert log.count("WARNING") == (freeze == "none")
    config = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)["cfg"]["model"]
    assert config["freeze"] == freeze  # by which others know it
    # labels beside the checkpoint; the tokenizer, which such data lack, from the body
    assert (tmp_path / "label/dict.txt").read_text() == (pair_data / "label/dict.txt").read_text()
    assert (tmp_path / "dict.txt").read_text() == (pair_data / "input0/dict.txt").read_text()
    assert (tmp_path / "sentencepiece.bpe.model").is_file()


def test_training_from_nothing_moves_no_language(pair_data, tmp_path):
    assert TRAINS_THE_LANGUAGE not in train(pair_data, tmp_path, *FINE_TUNING)


def without_a_bias(content):
    del content["model"]["encoder.sentence_encoder.layers.1.self_attn.q_proj.bias"]
    return content


def without_the_embedding(content):
    del content["model"]["encoder.sentence_encoder.embed_tokens.weight"]
    return content


# What stands in a checkpoint's place, and what is said of it.
DAMAGES = {
    "a list": (lambda content: [content], "is not a fairseq checkpoint"),
    "no model": (lambda content: {}, "is not a fairseq checkpoint"),
    "model": (lambda content: content | {"model": torch.zeros(2)}, "is not a fairseq checkpoint"),
    "a setting": (lambda content: content | {"args": torch.zeros(2), "cfg": None}, "is damaged"),
    "cfg": (lambda content: content | {"cfg": torch.zeros(2)}, "is damaged"),
    "extra_state": (lambda content: content | {"extra_state": torch.zeros(2)}, "is damaged"),
    "history": (lambda content: content | {"optimizer_history": torch.zeros(2)}, "is damaged"),
    "no history": (lambda content: content | {"optimizer_history": []}, "is damaged"),
    "a tensor": (without_a_bias, "layers.1.self_attn.q_proj.bias"),
    "the embedding": (without_the_embedding, "embed_tokens.weight"),
}  # fmt: skip


@pytest.fixture(scope="module")
def trainer(joint_checkpoint, source_data):
    """A trainer of fairseq's for the model of `joint_checkpoint`."""
    config = OmegaConf.create(
        read_checkpoint(joint_checkpoint).config, flags={"allow_objects": True}
    )
    config.task.data = str(source_data)
    task = tasks.setup_task(config.task)
    return Trainer(
        config, task, task.build_model(config.model), task.build_criterion(config.criterion)
    )


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_checkpoint_that_is_not_whole_is_a_sentence(kind, trainer, joint_checkpoint, tmp_path):
    change, sentence = DAMAGES[kind]
    content = torch.load(joint_checkpoint, weights_only=True)
    path = tmp_path / "checkpoint_last.pt"
    torch.save(content, path)
    trainer.load_checkpoint(str(path), reset_optimizer=True)
    torch.save(change(content), path)
    with pytest.raises(InputError, match=re.escape(sentence)) as refused:
        trainer.load_checkpoint(str(path), reset_optimizer=True)
    assert str(path) in str(refused.value)


def test_a_run_does_not_resume_without_the_state_of_its_optimiser(
    trainer, joint_checkpoint, tmp_path
):
    path = tmp_path / "checkpoint_last.pt"
    torch.save(
        torch.load(joint_checkpoint, weights_only=True) | {"last_optimizer_state": None}, path
    )
    with pytest.raises(InputError, match="has no state of the optimiser"):
        trainer.load_checkpoint(str(path))
    trainer.load_checkpoint(str(path), reset_optimizer=True)


@pytest.mark.parametrize("there", ["a link that leads nowhere", "a folder", "nothing"])
def test_training_says_that_there_is_no_tokenizer(source_data, tmp_path, there):
    data = shutil.copytree(source_data, tmp_path / "data")
    tokenizer = data / "sentencepiece.bpe.model"
    tokenizer.unlink()
    if there == "a folder":
        tokenizer.mkdir()
    elif there != "nothing":
        tokenizer.symlink_to(tokenizer.name)
    result = run(
        ["fairseq-train", data, "--user-dir", USER_DIR, "--save-dir", tmp_path / "run",
         *OPTIMISER, *PRETRAINING, "--max-update", "1"]
    )  # fmt: skip
    if there == "nothing":
        assert result.returncode == 0 and f"{data} has no tokenizer (sent" in result.stdout
    else:
        assert result.returncode == 2, result.stderr
        assert f"bpe.model is {there}: " in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--encoder-layers", "2"], "has --encoder-layers 3, and this run has --encoder-layers 2"),
        (["--encoder-attention-heads", "4"], "has --encoder-attention-heads 2, and this run has"),
        (["--auxiliary-head-layers", "1"], "has no MLM head after layer 1"),
    ],
)
def test_a_body_that_does_not_fit_is_refused(options, sentence, moved, source_data, tmp_path):
    result = run(
        ["fairseq-train", source_data, "--user-dir", USER_DIR, "--save-dir", tmp_path / "run",
         *OPTIMISER, *PRETRAINING, "--max-update", "1", *options,
         "--finetune-from-model", moved / "checkpoint_last.pt"]
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert sentence in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [
        ("encoder_layers", 4, "--encoder-layers"),
        ("encoder_embed_dim", 32, "--encoder-embed-dim"),
        ("encoder_ffn_embed_dim", 64, "--encoder-ffn-embed-dim"),
        ("encoder_attention_heads", 4, "--encoder-attention-heads"),
        ("max_positions", 64, "--max-positions"),
        ("activation_fn", "relu", "--activation-fn"),
        ("layer_norm_eps", 1e-12, "--layer-norm-eps"),
    ],
)
def test_each_size_is_compared(name, value, option, joint_checkpoint):
    checkpoint = read_checkpoint(joint_checkpoint)
    settings, rows = checkpoint.body_settings(), 65
    check_fits(checkpoint, settings, rows, auxiliary_heads=[2])
    with pytest.raises(InputError) as error:
        check_fits(checkpoint, {**settings, name: value}, rows, [])
    found = settings[name]
    assert str(error.value).endswith(
        f"has {option} {found}, and this run has {option} {value}: give {option} {found}"
    )


def test_heads_and_vocabulary_are_compared(joint_checkpoint):
    checkpoint = read_checkpoint(joint_checkpoint)
    settings = checkpoint.body_settings()
    with pytest.raises(InputError, match="no MLM head after layer 1, .* only after 2, 3"):
        check_fits(checkpoint, settings, 65, [1, 2])
    plain = {name: one for name, one in checkpoint.state.items() if name != "encoder.vocabulary"}
    with pytest.raises(InputError, match="a vocabulary of 65 symbols and the data one of 70"):
        check_fits(checkpoint.replaced(plain), settings, 70, [])
    headless = {name: one for name, one in plain.items() if "lm_head" not in name}
    with pytest.raises(InputError, match="has no MLM head, which"):
        check_fits(checkpoint.replaced(headless), settings, 65, [])


@pytest.mark.parametrize("depth", [0, -1, 4])
def test_a_depth_that_is_no_layer_is_refused(depth, joint_checkpoint):
    with pytest.raises(InputError, match=f"depth {depth} is not between 1 and 3"):
        truncate(read_checkpoint(joint_checkpoint), depth)


@pytest.mark.parametrize("names", [("a", "b", "c"), ("a", "b", "c", "madeupword0000")])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_the_number_of_classes_is_that_of_the_labels(names, classes):
    labels = Dictionary()
    for name in (*names, "<mask>"):
        labels.add_symbol(name)
    config = SentencePredictionConfig(data="topics", num_classes=classes)
    config.regression_target = False
    task = SentencePredictionTask(config, labels, labels)
    if classes == 3:
        check_labels(task)
        return
    with pytest.raises(InputError) as error:
        check_labels(task)
    assert str(error.value) == (
        f"--num-classes {classes}, and topics/label/dict.txt has 3 labels (a, b, c): "
        "give --num-classes 3"
    )
    check_labels(SimpleNamespace(label_dictionary=labels))  # another task


def test_training_with_another_number_of_classes_ends_before_it_begins(pair_data, tmp_path):
    result = run(
        ["fairseq-train", pair_data, "--user-dir", USER_DIR, "--save-dir", tmp_path / "run",
         *OPTIMISER, *FINE_TUNING, "--num-classes", "4"]
    )  # fmt: skip
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert "has 3 labels (same, other, neither): give --num-classes 3" in result.stderr
    assert not list((tmp_path / "run").iterdir())


def test_labels_that_are_empty_are_refused():
    config = SentencePredictionConfig(data="topics", num_classes=3)
    config.regression_target = False
    with pytest.raises(InputError, match="topics/label/dict.txt has no labels: copy it or prepare"):
        check_labels(SentencePredictionTask(config, Dictionary(), Dictionary()))
