"""Meta-training on labelled tasks, with labels of their own, and adaptation to one by few examples."""

import json
from types import SimpleNamespace

import pytest
import torch
from conftest import OPTIMISER, SMALL_MODEL, USER_DIR, run, state_of, write_pairs
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from omegaconf import OmegaConf
from tasks.test_meta_masked_lm import EMBEDDING, SEVERAL_RUNS, TOKENS

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.models.minimodel_roberta import MiniModelRobertaConfig
from fairseq_minimodel.modules.method import is_module_part
from fairseq_minimodel.packs.module import is_head, is_layer_norm, load_module, save_module
from fairseq_minimodel.tasks.meta_sentence_prediction import (
    MetaSentencePredictionConfig,
    MetaSentencePredictionTask,
)

HEAD = "sentence_classification_head"
SIZES = {
    "encoder_layers": 2, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2, "dropout": 0.0, "attention_dropout": 0.0, "structure_width": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def two_labels(source_data, tmp_path_factory):
    """Another task: the same pairs, of which two of the three labels are one."""
    folder = tmp_path_factory.mktemp("two")
    options = []
    for split, seed in (("train", 4), ("valid", 5)):
        path = write_pairs(
            folder / f"{split}.tsv", [f"word{i}" for i in range(60)], seed=seed, count=30
        )
        path.write_text(path.read_text().replace("neither", "other"))
        options += [f"--{split}", path]
    result = run(
        ["fairseq-minimodel", "prepare-classification", "--output", folder / "data", *options,
         "--text-columns", "premise", "hypothesis", "--label-column", "label", "--labels", "other",
         "same", "--dict", source_data / "dict.txt",
         "--sentencepiece-model", source_data / "sentencepiece.bpe.model"]
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder / "data"


def make_task(*folders, **settings):
    config = MetaSentencePredictionConfig(
        data=":".join(map(str, folders)),
        num_classes=3,
        init_token=0,
        separator_token=2,
        max_positions=32,
        seed=3,
        distributed_world_size=1,
        regression_target=False,
        classification_head_name=HEAD,
        meta_support=4,
        meta_query=4,
    )
    for name, value in settings.items():
        setattr(config, name, value)
    return MetaSentencePredictionTask.setup_task(config)


def make_meta_model(task, **settings):
    torch.manual_seed(1)
    config = OmegaConf.structured(MiniModelRobertaConfig)
    config.update({"_name": "minimodel_roberta", "max_positions": 32, **SIZES, **settings})
    return task.build_model(config)


def criterion_of(task):
    options = dict.fromkeys(
        ("report_mcc", "report_acc_and_f1", "report_pearson_and_spearman"), False
    )
    cfg = SimpleNamespace(classification_head_name=HEAD, regression_target=False, **options)
    return SentencePredictionCriterion(cfg, task)


def test_tasks_take_turns_with_labels_of_their_own(pair_data, two_labels):
    task = make_task(pair_data, two_labels)
    task.load_dataset("train")
    episodes = task.dataset("train")
    labels = {0: set(), 1: set()}
    for first in range(0, len(episodes) - 1, 2):
        turn = [episodes[first], episodes[first + 1]]
        assert sorted(one["task"] for one in turn) == [0, 1]
        for one in turn:
            labels[one["task"]] |= set(one["support"]["target"].flatten().tolist())
            ids = torch.cat([one["support"]["id"], one["query"]["id"]])
            assert len(ids.unique()) == 8
    assert labels == {0: {0, 1, 2}, 1: {0, 1}}


@pytest.mark.slow
def test_the_inner_steps_adapt_the_head_too_and_are_taken_back(pair_data, two_labels):
    task = make_task(pair_data, two_labels, meta_inner_steps=20, meta_inner_lr=0.01)
    model = make_meta_model(task, task_module="tarp+tams").train()
    criterion = criterion_of(task)
    task.load_dataset("valid")
    episodes = task.dataset("valid")
    sample = episodes.collater([episodes[0], episodes[1]])
    for episode in sample["episodes"]:
        episode["query"] = episode["support"]  # so that adaptation must help
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fairseqs = SimpleNamespace(backward=lambda loss: loss.backward())
    loss, count, log = task.train_step(sample, model, criterion, fairseqs, 0)
    assert count == 2 and log["loss"] < 0.7 * log["support_loss"]
    assert float(loss) == pytest.approx(float(log["loss"] / log["sample_size"] * 2))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    head = model.classification_heads[HEAD].out_proj.weight
    with task._adapted(model, criterion, sample["episodes"][0]["support"]):
        assert not torch.equal(head, before[f"classification_heads.{HEAD}.out_proj.weight"])
    assert head.grad.any()


def test_what_does_not_fit_is_refused(pair_data, two_labels, source_data):
    with pytest.raises(InputError, match="--num-classes 2, and .* has 3: give --num-classes 3"):
        make_task(pair_data, two_labels, num_classes=2)
    with pytest.raises(
        InputError, match="give folders that fairseq-minimodel prepare-classification"
    ):
        make_task(pair_data, source_data)
    task = make_task(pair_data, meta_support=60, meta_query=60)
    with pytest.raises(InputError, match="examples in the split valid, and an episode takes 120"):
        task.load_dataset("valid")


@pytest.fixture(scope="module")
def adapted(pair_data, two_labels, joint_checkpoint, tmp_path_factory):
    """Preparation on both tasks, and adaptation to the first by sixteen examples an update."""
    folder = tmp_path_factory.mktemp("labelled")
    common = [
        "--user-dir", USER_DIR, *OPTIMISER, *SMALL_MODEL, "--no-epoch-checkpoints", "--max-update",
        "3", "--criterion", "sentence_prediction", "--num-classes", "3", "--init-token", "0",
        "--separator-token", "2", "--max-positions", "32", "--task-module", "tarp+tams",
        "--structure-width", "8", "--required-batch-size-multiple", "1",
    ]  # fmt: skip
    prepared = folder / "prepared/checkpoint_last.pt"
    runs = [
        [f"{pair_data}:{two_labels}", *common, "--task", "meta_sentence_prediction",
         "--meta-shared", "module", "--meta-support", "4", "--meta-query", "4", "--batch-size", "2",
         "--save-dir", folder / "prepared", "--finetune-from-model", joint_checkpoint],
        [pair_data, *common, "--task", "sentence_prediction", "--batch-size", "16",
         "--save-dir", folder / "adapted", "--finetune-from-model", prepared],
    ]  # fmt: skip
    arguments = json.dumps([[str(part) for part in one] for one in runs])
    result = run(["python", "-c", SEVERAL_RUNS], input=arguments)
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    assert '"support_loss"' in result.stdout + result.stderr
    return folder


@pytest.mark.slow
def test_adaptation_starts_from_what_was_prepared_and_keeps_its_structure(
    adapted, joint_checkpoint, pair_data, tmp_path
):
    body = state_of(joint_checkpoint)
    prepared, after = (
        state_of(adapted / name / "checkpoint_last.pt") for name in ("prepared", "adapted")
    )
    for name, tensor in prepared.items():
        if ".controller." in name or name.endswith(".prepared"):
            assert torch.equal(after[name], tensor), name
        elif name in body and not is_layer_norm(name):
            assert torch.equal(after[name], tensor) and torch.equal(body[name], tensor), name
        elif (is_module_part(name) and ".edges." not in name and name != EMBEDDING) or is_head(
            name
        ):
            assert not torch.equal(after[name], tensor), name
    save_module(tmp_path / "module", read_checkpoint(adapted / "adapted/checkpoint_last.pt"), None)
    module = load_module(tmp_path / "module")
    assert module.description.heads == {HEAD: 3} and module.description.format == 2
    # the embedding is the mean of the token embeddings over all training inputs
    task = make_task(pair_data)
    (one,) = task.tasks.values()
    data = one.load_dataset("train")
    tokens = torch.cat([data[index]["net_input.src_tokens"] for index in range(len(data))])
    wanted = body[TOKENS][tokens].mean(dim=0)
    torch.testing.assert_close(module.tensors[EMBEDDING], wanted, rtol=1e-4, atol=1e-6)
