"""Active forgetting, against a plain loop written from Chen et al. 2023 (arXiv 2307.01163)."""

import copy
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from conftest import OPTIMISER, USER_DIR, run, state_of, train
from fairseq import tasks
from fairseq.trainer import Trainer
from omegaconf import OmegaConf
from recipes.test_training import JOINT, adaptation, run_two_processes, same_weights
from support.modern_models import EURO

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.tensors import EMBEDDING, OUTPUT_BIAS, OUTPUT_PROJECTION
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.plugin.forgetting import check_resumed, check_settings

fairseq_minimodel.register()
EVERY, UPDATES, WARM_UP, RATE = 4, 10, 2, 0.01
POLYNOMIAL = [
    "--lr-scheduler", "polynomial_decay", "--warmup-updates", str(WARM_UP),
    "--total-num-update", str(UPDATES),
]  # fmt: skip
FORGETTING = [
    *JOINT, *POLYNOMIAL, "--forget-every", str(EVERY), "--max-update", str(UPDATES),
    "--save-interval-updates", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def forgetful(once, source_data):
    """A run with two heads that forgets twice, with a checkpoint after each update, and its log."""

    def make(folder):
        log = train(source_data, folder, *FORGETTING)
        (folder / "log.txt").write_text(log)

    return once("forgetful", make)


def rate_after(updates):
    """Linear warm-up, then linear decay to 0."""
    if updates <= WARM_UP:
        return RATE * updates / WARM_UP
    return RATE * (1 - (updates - WARM_UP) / (UPDATES - WARM_UP))


def draw(like, seed, updates):
    generator = torch.Generator().manual_seed(seed * 2**32 + updates)
    rows = torch.empty_like(like).normal_(0, 0.02, generator=generator)
    rows[1] = 0  # <pad>
    return rows


def plain_loop(model, batches, seed, decay=0.01, betas=(0.9, 0.98), epsilon=1e-14, clip=0.5):
    """The paper's algorithm: Adam with decoupled weight decay; yields the embeddings' rates."""
    parameters = dict(model.named_parameters())
    moments = {name: [0.0, 0.0, 0] for name in parameters}
    for update, batch in enumerate(batches):
        if update and update % EVERY == 0:
            parameters[EMBEDDING].data.copy_(draw(parameters[EMBEDDING].data, seed, update))
            moments[EMBEDDING] = [0.0, 0.0, 0]
        model.zero_grad()
        target = batch["target"]
        masked = target.ne(1)
        extra = model(batch["net_input"]["src_tokens"], masked_tokens=masked, all_heads=True)[1]
        losses = [
            torch.nn.functional.cross_entropy(logits, target[masked])
            for logits in extra["head_logits"].values()
        ]
        (sum(losses) / len(losses)).backward()
        norm = sum(each.grad.square().sum() for each in parameters.values()).sqrt()
        for name, parameter in parameters.items():
            gradient = parameter.grad * min(1.0, clip / (norm + 1e-6))
            if name == EMBEDDING:
                rate = rate_after(update % EVERY * UPDATES // EVERY)
                yield rate
            else:
                rate = rate_after(update)
            state = moments[name]
            state[2] += 1
            state[0] = betas[0] * state[0] + (1 - betas[0]) * gradient
            state[1] = betas[1] * state[1] + (1 - betas[1]) * gradient**2
            first, second = (1 - beta ** state[2] for beta in betas)
            step = (state[0] / first) / ((state[1] / second).sqrt() + epsilon)
            parameter.data.sub_(rate * (decay * parameter.data + step))


def trainer_of(checkpoint, data, **settings):
    """fairseq's trainer with the settings of a checkpoint's run, its model drawn anew."""
    config = OmegaConf.create(read_checkpoint(checkpoint).config, flags={"allow_objects": True})
    config.task.data = str(data)
    for name, value in settings.items():
        OmegaConf.update(config, name.replace("__", "."), value)
    task = tasks.setup_task(config.task)
    torch.manual_seed(5)
    model, criterion = task.build_model(config.model), task.build_criterion(config.criterion)
    return Trainer(config, task, model, criterion)


@pytest.mark.parametrize("optimiser", ["adam", "fused_adam"])
def test_it_is_the_papers_algorithm(optimiser, forgetful, source_data):
    trainer = trainer_of(
        forgetful / "checkpoint_last.pt", source_data, optimizer___name=optimiser,
        model__dropout=0, model__attention_dropout=0, optimization__clip_norm=0.5,
        optimizer__adam_eps=1e-14,
    )  # fmt: skip
    trainer.task.load_dataset("train")
    iterator = trainer.task.get_batch_iterator(
        trainer.task.dataset("train"), max_sentences=2, seed=1
    )
    batches = [batch for batch, _ in zip(iterator.next_epoch_itr(), range(UPDATES), strict=False)]
    plain = copy.deepcopy(trainer.get_model())
    rates = []
    for batch in batches:
        rates.append(trainer.optimizer.param_groups[1]["lr"])
        trainer.train_step([batch])
    wanted = list(plain_loop(plain, batches, trainer.cfg.common.seed))
    assert rates == pytest.approx(wanted) and len(set(wanted)) == EVERY
    for name, parameter in trainer.get_model().named_parameters():
        if "k_proj.bias" in name:  # its gradient is rounding, which Adam makes large
            continue
        torch.testing.assert_close(
            parameter, dict(plain.named_parameters())[name], rtol=1e-3, atol=1e-4
        )


def checkpoint_after(updates, folder):
    (path,) = folder.glob(f"checkpoint_*_{updates}.pt")
    return path


def check_draw(folder, seed=3, dtype=torch.float32):
    """After it has forgotten comes an update at the rate 0, of the embeddings alone."""
    before, after = (state_of(checkpoint_after(EVERY + more, folder)) for more in range(2))
    drawn = draw(before[EMBEDDING], seed, EVERY).to(dtype).float()
    assert torch.equal(after[EMBEDDING], drawn) and not torch.equal(before[EMBEDDING], drawn)
    assert not torch.equal(before[OUTPUT_BIAS], after[OUTPUT_BIAS]) and after[OUTPUT_BIAS].any()


def test_a_run_forgets_and_says_so(forgetful):
    check_draw(forgetful)
    log = (forgetful / "log.txt").read_text()
    assert [
        f"after {updates} updates the token embeddings were drawn anew" in log
        for updates in range(2, UPDATES + 1)
    ] == [updates in (4, 8) for updates in range(2, UPDATES + 1)]
    lines = [
        json.loads(line[line.index("{") :]) for line in log.splitlines() if "train_inner" in line
    ]
    rates = {line["num_updates"]: float(line["lr_embeddings"]) for line in lines}
    assert rates["1"] == pytest.approx(rate_after(2), abs=1e-5) and rates["4"] == rates["8"] == 0


def test_both_tables_of_a_eurobert_are_forgotten(source_data, tmp_path):
    train(source_data, tmp_path, *FORGETTING, *EURO.options(encoder_layers=3))
    before, after = (state_of(checkpoint_after(EVERY + more, tmp_path)) for more in range(2))
    generator = torch.Generator().manual_seed(3 * 2**32 + EVERY)
    for name in (EMBEDDING, OUTPUT_PROJECTION):
        rows = torch.empty_like(before[name]).normal_(0, 0.02, generator=generator)
        rows[1] = 0
        assert torch.equal(after[name], rows) and not torch.equal(before[name], rows), name
    final_norm = "encoder.sentence_encoder.layer_norm.weight"
    assert not torch.equal(before[final_norm], after[final_norm])


@pytest.mark.parametrize("precision", [[], pytest.param(["--bf16"], marks=pytest.mark.slow)])
def test_it_resumes_by_bits(precision, forgetful, source_data, tmp_path):
    whole = forgetful
    if precision:
        whole = tmp_path / "whole"
        train(source_data, whole, *FORGETTING, *precision)
        check_draw(whole, dtype=torch.bfloat16)
    for updates in (EVERY, EVERY + 1):  # when it is to forget, and when it just has
        folder = tmp_path / str(updates)
        folder.mkdir()
        shutil.copyfile(checkpoint_after(updates, whole), folder / "checkpoint_last.pt")
        log = train(source_data, folder, *FORGETTING, *precision)
        assert ("after 4 updates the token" in log) == (updates == EVERY)
        assert same_weights(folder / "checkpoint_last.pt", whole / "checkpoint_last.pt")


@pytest.mark.slow
def test_two_processes_forget_alike(forgetful, source_data, tmp_path):
    """fairseq compares the gradients' norms of the processes, and ends where they differ."""
    run_two_processes(source_data, tmp_path, *FORGETTING)
    check_draw(tmp_path)


def test_with_a_frozen_body_it_is_refused(joint_checkpoint, target_data, tmp_path):
    result = run(
        ["fairseq-train", target_data, "--user-dir", USER_DIR, "--save-dir", tmp_path, *OPTIMISER,
         *adaptation(joint_checkpoint), "--max-update", "10", "--forget-every", "4"]
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert "--forget-every 4 is for pretraining" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("task._name", "sentence_prediction", "is for pretraining, not for the task sentence_pred"),
        ("optimization.max_update", 4, "needs --max-update, and more updates than that"),
        ("optimization.max_update", 0, "(--max-update is 0)"),
        ("optimizer._name", "sgd", "needs --optimizer adam or fused_adam"),
        ("lr_scheduler._name", "reduce_lr_on_plateau", "does not go with --lr-scheduler reduce_lr"),
        ("distributed_training.zero_sharding", "os", "needs the whole state of the optimiser"),
    ],
)
def test_what_cannot_forget_is_refused(setting, value, sentence, forgetful):
    config = read_checkpoint(forgetful / "checkpoint_last.pt").config
    config = OmegaConf.create(config, flags={"allow_objects": True})
    trainer = SimpleNamespace(cfg=config)
    check_settings(trainer)
    OmegaConf.update(config, setting, value)
    with pytest.raises(InputError) as refused:
        check_settings(trainer)
    assert sentence in str(refused.value)


def test_a_run_resumes_only_as_it_began():
    trainer = SimpleNamespace(cfg=SimpleNamespace(model=SimpleNamespace(forget_every=4)))
    check_resumed(trainer, "x.pt", {"model": {"forget_every": 8}})
    for config in ({"model": {"forget_every": 0}}, {"model": {}}, None):
        with pytest.raises(InputError, match="x.pt was trained without --forget-every"):
            check_resumed(trainer, "x.pt", config)
    trainer.cfg.model.forget_every = 0
    check_resumed(trainer, "x.pt", None)
    with pytest.raises(InputError, match="x.pt was trained with --forget-every 4"):
        check_resumed(trainer, "x.pt", {"model": {"forget_every": 4}})
