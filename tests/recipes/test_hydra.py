"""The hydra configs under examples/ run, and mean the same as the command line."""

import re
from pathlib import Path

import pytest
import torch
from conftest import LENGTH, SMALL_MODEL, USER_DIR, run, state_of, train
from support.generated_tags import write_columns

CONFIGS = Path(__file__).resolve().parents[2] / "examples" / "hydra"
CPU = [
    "common.cpu=true", "common.fp16=false", "common.log_interval=1", f"common.user_dir={USER_DIR}",
    "dataset.batch_size=8", "optimization.max_update=2", "optimization.update_freq=[1]",
    "lr_scheduler.warmup_updates=1", "dataset.num_workers=0",
]  # fmt: skip
SMALL = [
    "model.encoder_layers=3", "model.encoder_embed_dim=16", "model.encoder_ffn_embed_dim=32",
    "model.encoder_attention_heads=2",
]  # fmt: skip


def hydra_train(config, save_dir, *overrides):
    """Run a config with other sizes; `+` where a config leaves a field to its default."""
    added = [f"+{override}" if override.startswith("model.enc") else override
             for override in overrides]  # fmt: skip
    result = run(
        ["fairseq-hydra-train", "--config-dir", CONFIGS, "--config-name", config, *CPU,
         f"checkpoint.save_dir={save_dir}", *added],
        cwd=save_dir.parent,
    )  # fmt: skip
    log = result.stdout + result.stderr
    assert result.returncode == 0, log[-4000:]
    return log


@pytest.fixture(scope="module")
def pretrained(source_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hydra") / "pretrain"
    hydra_train(
        "pretrain", folder, f"task.data={source_data}", *SMALL, "task.tokens_per_sample=32",
        "model.auxiliary_head_layers='2'",
    )  # fmt: skip
    return folder / "checkpoint_last.pt"


def test_pretraining_means_the_same_on_the_command_line(pretrained, source_data, tmp_path):
    train(
        source_data, tmp_path, "--task", "masked_lm", "--criterion", "joint_masked_lm",
        *SMALL_MODEL, "--arch", "minimodel_roberta_base", *LENGTH, "--auxiliary-head-layers", "2",
        "--max-update", "2", "--seed", "1", "--optimizer", "fused_adam", "--lr", "0.0007",
        "--adam-eps", "1e-6",
        "--lr-scheduler", "polynomial_decay", "--warmup-updates", "1",
        "--total-num-update", "125000", "--clip-norm", "0",
    )  # fmt: skip
    hydra, command_line = state_of(pretrained), state_of(tmp_path / "checkpoint_last.pt")
    assert set(hydra) == set(command_line)
    for name, tensor in hydra.items():
        assert "lineage" in name or torch.equal(tensor, command_line[name]), name


def test_adaptation(pretrained, target_data, tmp_path):
    folder = tmp_path / "adapt"
    log = hydra_train(
        "adapt", folder, f"task.data={target_data}", f"task.base_checkpoint={pretrained}",
        "task.depth=2", "task.tokens_per_sample=32",
    )  # fmt: skip
    assert "dropped: layer 3, last MLM head" in log and "loss_l2" in log
    before, after = state_of(pretrained), state_of(folder / "checkpoint_last.pt")
    name = "encoder.sentence_encoder.layers.1.fc1.weight"
    assert torch.equal(before[name], after[name])


def fine_tune(config, data, pretrained, folder):
    """The weights after it; the token embeddings must stay, and the layers must change."""
    hydra_train(
        config, folder, f"task.data={data}", "task.max_positions=32", *SMALL,
        f"checkpoint.finetune_from_model={pretrained}",
    )  # fmt: skip
    before, after = state_of(pretrained), state_of(folder / "checkpoint_last.pt")
    embedding = "encoder.sentence_encoder.embed_tokens.weight"
    assert torch.equal(before[embedding], after[embedding])
    name = "encoder.sentence_encoder.layers.1.fc1.weight"
    assert not torch.equal(before[name], after[name])
    return after


def test_fine_tuning(pretrained, pair_data, tmp_path):
    fine_tune("finetune", pair_data, pretrained, tmp_path / "finetune")


def test_tags(pretrained, source_data, tmp_path):
    words = [f"word{index}" for index in range(60)]
    for seed, split in enumerate(("train", "valid")):
        write_columns(tmp_path / f"{split}.txt", words, seed, count=20)
    result = run(
        ["fairseq-minimodel", "prepare-tags", "--train", tmp_path / "train.txt",
         "--valid", tmp_path / "valid.txt", "--output", tmp_path / "data", "--max-length", "32",
         "--dict", source_data / "dict.txt",
         "--sentencepiece-model", source_data / "sentencepiece.bpe.model"]
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    after = fine_tune("finetune_tags", tmp_path / "data", pretrained, tmp_path / "tags")
    assert "tag_head.weight" in after


def test_bad_input_is_one_sentence(source_data, tmp_path):
    result = run(
        ["fairseq-hydra-train", "--config-dir", CONFIGS, "--config-name", "pretrain", *CPU,
         f"task.data={source_data}", "+model.encoder_layers=4", f"checkpoint.save_dir={tmp_path}"],
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("fairseq-minimodel: error: --auxiliary-head-l")
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())  # nor a file of hydra's


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("task.data=nowhere", "there is no data folder .*/nowhere: .* task.data=FOLDER"),
        pytest.param(
            "common.fp16=true", "common.fp16=true.* trains on a GPU, and PyTorch finds none here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
    ids=["data", "gpu"],
)  # fmt: skip
def test_what_a_machine_does_not_have_is_one_sentence(change, sentence, source_data, tmp_path):
    result = run(
        ["fairseq-hydra-train", "--config-dir", CONFIGS, "--config-name", "pretrain",
         *(each for each in CPU if not each.startswith(("common.cpu", "common.fp16"))),
         *(f"+{size}" for size in SMALL), "model.auxiliary_head_layers='2'",
         f"task.data={source_data}", "task.tokens_per_sample=32", "common.fp16=false",
         f"checkpoint.save_dir={tmp_path / 'run'}", change],
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 2, result.stderr[-3000:]
    assert "Traceback" not in result.stderr
    assert re.search(sentence, result.stderr.splitlines()[-1])
    assert not list(tmp_path.glob("run/*.pt"))


def test_a_finished_run_has_nothing_to_do(pretrained, source_data):
    before = pretrained.read_bytes()
    log = hydra_train(
        "pretrain", pretrained.parent, f"task.data={source_data}", *SMALL,
        "task.tokens_per_sample=32", "model.auxiliary_head_layers='2'",
    )  # fmt: skip
    assert "it has had 2 updates (--max-update 2)" in log
    assert pretrained.read_bytes() == before


def test_an_architecture_means_its_sizes_in_hydra(tmp_path):
    code = """
from omegaconf import OmegaConf
import fairseq_minimodel
fairseq_minimodel.register()
from fairseq.dataclass.initialize import add_defaults
from fairseq.dataclass.configs import FairseqConfig
from fairseq.models import ARCH_CONFIG_REGISTRY
config = OmegaConf.structured(FairseqConfig)
config.model = {"_name": "minimodel_roberta_large", "encoder_layers": 6}
add_defaults(config)
OmegaConf.set_struct(config, False)
ARCH_CONFIG_REGISTRY[config.model._name](config.model)
print(config.model.encoder_layers, config.model.encoder_embed_dim, config.model.dropout)
"""
    assert run(["python", "-c", code], fresh=False).stdout.split() == ["6", "1024", "0.1"]


def test_distillation_of_sentence_vectors(pretrained, target_data, tmp_path):
    for name, word in (("en", "word"), ("de", "wort")):
        lines = [f"{word}{index} {word}{index + 1} {word}{index + 2}" for index in range(20)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    (tmp_path / "words.tsv").write_text("word0\twort0\nword1\twort1\n")
    log = hydra_train(
        "distil", tmp_path / "distil", f"task.data={target_data}",
        f"task.base_checkpoint={pretrained}", f"task.pairs=[{tmp_path / 'en'},{tmp_path / 'de'}]",
        f"+task.word_pairs={tmp_path / 'words.tsv'}", "+model.sentence_pooling=mean",
    )  # fmt: skip
    assert '"train_distance"' in log and "train: 22 pairs" in log
    before, after = state_of(pretrained), state_of(tmp_path / "distil/checkpoint_last.pt")
    name = "encoder.sentence_encoder.layers.1.fc1.weight"
    assert torch.equal(before[name], after[name])
