"""Meta-training against a plain loop, update by update, and by the real commands."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from conftest import LENGTH, OPTIMISER, SMALL_MODEL, USER_DIR, run, state_of, train, write_corpus
from models.test_minimodel_roberta import SIZES
from omegaconf import OmegaConf
from recipes.test_training import losses, run_two_processes, same_weights
from torch.nn import functional
from torch.utils.data import DataLoader

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.training_files import symbols_of
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.models.minimodel_roberta import MiniModelRobertaConfig
from fairseq_minimodel.modules.method import is_module_part
from fairseq_minimodel.modules.tams import Pass, describe
from fairseq_minimodel.packs.module import is_layer_norm, load_module, save_module, structure_of
from fairseq_minimodel.packs.plug_module import merge_module, plug_module
from fairseq_minimodel.tasks.episodes import Episodes
from fairseq_minimodel.tasks.meta_masked_lm import MetaMaskedLMConfig, MetaMaskedLMTask
from fairseq_minimodel.tasks.meta_training import inner_parameters

EMBEDDING = "encoder.sentence_encoder.task_shared.embedding"
TOKENS = "encoder.sentence_encoder.embed_tokens.weight"
INNER_LR, OUTER_LR = 0.05, 0.01


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    """Three folders of text in one vocabulary, with other frequencies of its words."""
    folder = tmp_path_factory.mktemp("domains")
    words = [f"word{index}" for index in range(60)]
    for seed in range(3):
        (folder / str(seed)).mkdir()
        write_corpus(folder / str(seed), words, seed=seed)
    return [folder / str(seed) for seed in range(3)]


def make_task(folders, **settings):
    config = MetaMaskedLMConfig(
        data=":".join(map(str, folders)),
        tokens_per_sample=20,
        sample_break_mode="eos",
        seed=3,
        distributed_world_size=1,
        meta_support=3,
        meta_query=3,
        meta_inner_lr=INNER_LR,
    )
    for name, value in settings.items():
        setattr(config, name, value)
    return MetaMaskedLMTask.setup_task(config)


def make_meta_model(task, **settings):
    """The task's model in float64, without dropout."""
    torch.manual_seed(1)
    config = OmegaConf.structured(MiniModelRobertaConfig)
    chosen = {**SIZES, "dropout": 0.0, "attention_dropout": 0.0, "structure_width": 8, **settings}
    config.update({"_name": "minimodel_roberta", **chosen})
    return task.build_model(config).double()


def criterion(model, sample):
    """fairseq's masked_lm, which computes in float32, in float64."""
    logits, target = model(**sample["net_input"])[0], sample["target"]
    predicted = target != 1
    loss = functional.cross_entropy(logits[predicted], target[predicted], reduction="sum")
    size = predicted.sum()
    return loss, size, {"loss": loss.detach(), "sample_size": size}


def choose(parameters, embedding, noise):
    """Which operation each edge is: the paper's controller A(z), in training with Gumbel noise.

    The controller is two dense layers; straight through, the gradient is that of the softmax.
    """
    prefix = "encoder.sentence_encoder.task_shared.controller"
    first, last = (
        (parameters[f"{prefix}.{layer}.weight"], parameters[f"{prefix}.{layer}.bias"])
        for layer in (0, 2)
    )
    hidden = (first[0] @ embedding + first[1]).clamp(min=0)
    soft = ((last[0] @ hidden + last[1]).view(9, 6) + noise).softmax(dim=1)
    hard = torch.zeros_like(soft).scatter(1, soft.argmax(dim=1, keepdim=True), 1.0)
    return hard - soft.detach() + soft


class Adam:
    """Kingma and Ba 2015, algorithm 1, for parameters by name."""

    def __init__(self, rate):
        self.rate, self.steps, self.mean, self.square = rate, 0, {}, {}

    def step(self, values, gradients):
        self.steps += 1
        moved = {}
        for name, gradient in gradients.items():
            mean = self.mean[name] = 0.9 * self.mean.get(name, 0) + 0.1 * gradient
            square = 0.999 * self.square.get(name, 0) + 0.001 * gradient**2
            self.square[name] = square
            corrected = (square / (1 - 0.999**self.steps)).sqrt() + 1e-8
            moved[name] = values[name] - self.rate * mean / (1 - 0.9**self.steps) / corrected
        return moved


class GradientDescent:
    def __init__(self, rate):
        self.rate = rate

    def step(self, values, gradients):
        return {name: values[name] - self.rate * gradient for name, gradient in gradients.items()}


INNER = {"adam": Adam, "sgd": GradientDescent}


def plain_update(model, optimiser, sample, steps, make_inner):
    """Algorithm 1 of the paper, lines 5 to 16, first order; in new tensors, nothing is put back.

    The outer gradient is the mean over the tasks, in the place of the paper's sum.
    """
    shared = {name: p for name, p in model.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(parameter) for name, parameter in shared.items()}
    structure = getattr(model.encoder.sentence_encoder, "task_shared", None)

    def loss_of(batch, parameters, embedding, noise):
        tokens, target = batch["net_input"]["src_tokens"], batch["target"]
        if structure is not None:  # line 9: the structure of the task, for each of its passes
            real = tokens.ne(1).t().unsqueeze(-1).double()
            choice = choose(parameters, embedding, noise)
            structure.begin = lambda _: setattr(structure, "current", Pass(choice, real))
        logits = torch.func.functional_call(model, parameters, (tokens,))[0]
        predicted = target != 1
        return functional.cross_entropy(logits[predicted], target[predicted])

    for episode in sample["episodes"]:  # line 6
        tokens = episode["support"]["net_input"]["src_tokens"]
        rows = shared.get(TOKENS, model.get_parameter(TOKENS)).detach()
        embedding = rows[tokens[tokens != 1]].mean(dim=0)  # equation 4
        noise = None
        if structure is not None:
            noise = -torch.empty(9, 6, dtype=torch.float64).exponential_().log()
        # lines 7 and 10
        adapted = {name: p.detach().clone().requires_grad_() for name, p in shared.items()}
        inner = make_inner(INNER_LR)
        names = [name for name in shared if "task_weight" in name or "task_output" in name]
        for _ in range(steps):  # lines 11 to 13
            support = loss_of(episode["support"], adapted, embedding, noise)
            found = torch.autograd.grad(support, [adapted[one] for one in names], allow_unused=True)
            gradients = {
                name: gradient
                for name, gradient in zip(names, found, strict=True)
                if gradient is not None
            }
            moved = inner.step({name: adapted[name].detach() for name in gradients}, gradients)
            adapted |= {name: value.requires_grad_() for name, value in moved.items()}
        query = loss_of(episode["query"], adapted, embedding, noise)  # line 15
        gradients = torch.autograd.grad(query, list(adapted.values()), allow_unused=True)
        for name, gradient in zip(adapted, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient
    for name, parameter in shared.items():
        parameter.grad = total[name] / len(sample["episodes"])
    optimiser.step()  # line 16


@pytest.mark.parametrize("shared", ["model", "module"])
@pytest.mark.parametrize(
    ("kind", "inner", "steps"),
    [("tarp", "adam", 1), ("tarp", "sgd", 3), ("tarp+tams", "adam", 2), ("tarp+tams", "sgd", 2)],
)
def test_every_update_is_that_of_algorithm_1(kind, inner, steps, shared, domains):
    task = make_task(
        domains[:2], meta_shared=shared, meta_inner_steps=steps, meta_inner_optimizer=inner
    )
    model = make_meta_model(task, task_module=kind, module_targets="q_proj,fc1").train()
    for name, parameter in model.named_parameters():
        if (
            "task_" in name and "task_shared" not in name
        ):  # past the start, where most gradients are 0
            torch.nn.init.normal_(parameter, std=0.2)
    other = copy.deepcopy(model)
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    task.load_dataset("train")
    episodes = task.dataset("train")
    optimisers = [
        torch.optim.Adam([p for p in one.parameters() if p.requires_grad], lr=OUTER_LR, eps=1e-4)
        for one in (model, other)
    ]
    fairseqs = SimpleNamespace(backward=lambda loss: loss.backward())
    for update in range(3):
        sample = episodes.collater([episodes[2 * update], episodes[2 * update + 1]])
        torch.manual_seed(update)  # of the structures that are drawn
        optimisers[0].zero_grad(set_to_none=False)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        _, count, log = task.train_step(sample, model, criterion, fairseqs, update)
        after = model.state_dict()  # the inner steps have left nothing behind
        assert all(torch.equal(after[name], value) for name, value in before.items())
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad /= count
        optimisers[0].step()
        torch.manual_seed(update)
        plain_update(other, optimisers[1], sample, steps, INNER[inner])
        for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8, msg=name)
        assert count == 2 and log["loss"] > 0 and log["support_size"] > 0
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, start[n])}
    if shared == "module":
        assert all(is_module_part(name) or is_layer_norm(name) for name in changed)
    else:
        assert TOKENS in changed
    assert any(".controller." in name for name in changed) == (kind == "tarp+tams")


def test_the_passes_of_an_episode_have_one_structure_and_episodes_differ(domains):
    task = make_task(domains[:2], meta_inner_steps=2)
    model = make_meta_model(task, task_module="tams").train()
    task.load_dataset("train")
    episodes, seen = task.dataset("train"), []
    model.encoder.sentence_encoder.register_forward_pre_hook(
        lambda encoder, _: seen.append(encoder.task_shared.current.choice.detach().round())
    )
    sample = episodes.collater([episodes[0], episodes[1]])
    task.train_step(sample, model, criterion, SimpleNamespace(backward=lambda loss: None), 0)
    first, second = seen[:3], seen[3:]  # two support passes and the query
    assert len(second) == 3
    for passes in (first, second):
        assert all(torch.equal(one, passes[0]) for one in passes)
    assert not torch.equal(first[0], second[0])


def test_the_default_inner_step_moves_the_parameters_and_the_loss(domains):
    """Plain gradient descent at the same rate changes neither by much."""
    task = make_task(domains[:2])
    for name in ("meta_inner_steps", "meta_inner_optimizer", "meta_inner_lr"):
        setattr(task.cfg, name, getattr(MetaMaskedLMConfig(), name))
    assert task.cfg.meta_inner_optimizer == "adam"
    model = make_meta_model(task, task_module="tarp").train()
    task.load_dataset("train")
    support = task.dataset("train")[0]["support"]
    parameters, moved, gained = inner_parameters(model), {}, {}
    start = [parameter.detach().clone() for parameter in parameters]
    for optimizer in ("adam", "sgd"):
        task.cfg.meta_inner_optimizer = optimizer
        with task._adapted(model, criterion, support) as log, torch.no_grad():
            moved[optimizer] = torch.cat(
                [(p - before).abs().flatten() for p, before in zip(parameters, start, strict=True)]
            )
            after, _ = task._loss(model, criterion, support)
        gained[optimizer] = float(log["support_loss"] / log["support_size"] - after)
    for one in moved.values():
        assert (one > 0).double().mean() > 0.1  # the factors that are 0 at the start
    assert moved["adam"][moved["adam"] > 0].median().item() == pytest.approx(5e-4, rel=0.01)
    assert moved["sgd"].max() < 1e-5
    assert gained["adam"] > 1e-4 > 100 * gained["sgd"]


def test_the_shared_model_may_keep_its_language(domains):
    task, language = make_task(domains[:1]), "encoder.sentence_encoder.embed_tokens.weight"
    names = {
        freeze: {n for n, p in make_meta_model(task, task_module="tarp", freeze=freeze)
                 .named_parameters() if p.requires_grad}
        for freeze in ("none", "language")
    }  # fmt: skip
    assert names["none"] - names["language"] == {language, "encoder.lm_head.bias"}
    assert "encoder.sentence_encoder.layers.0.fc1.weight" in names["language"]


def test_validation_adapts_too_and_changes_nothing(domains):
    task = make_task(domains[:2], meta_inner_steps=5, meta_inner_lr=0.01)
    model = make_meta_model(task, task_module="tarp+tams").eval()
    task.load_dataset("valid")
    episodes = task.dataset("valid")
    episode = episodes[0]
    episode["query"] = episode["support"]  # so that adaptation must help
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        loss, count, log = task.valid_step(episodes.collater([episode]), model, criterion)
    assert count == 1 and log["loss"] < log["support_loss"]
    assert float(loss) == pytest.approx(float(log["loss"] / log["sample_size"]))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())


def test_episodes_take_turns_over_domains_and_never_repeat_a_block(domains):
    task = make_task(domains)
    task.load_dataset("train")
    episodes = task.dataset("train")
    assert len(episodes) == 600 // 6  # 200 sentences in each of the three
    orders = set()
    for first in range(0, 99, 3):
        turn = [episodes[first + index]["task"] for index in range(3)]
        assert sorted(turn) == [0, 1, 2]
        orders.add(tuple(turn))
    assert len(orders) == 6
    for index in range(20):
        blocks = torch.cat([episodes[index][part]["id"] for part in ("support", "query")])
        assert len(blocks.unique()) == 6


def ids(batch):
    return [episode["support"]["id"].tolist() for episode in batch["episodes"]]


def test_what_an_episode_holds_follows_from_epoch_and_index_in_workers_as_well(domains):
    task = make_task(domains[:1])
    task.load_dataset("train")
    episodes: Episodes = task.dataset("train")
    loader = DataLoader(episodes, batch_size=4, num_workers=1, collate_fn=episodes.collater)
    seen = []
    for epoch in (1, 2):
        episodes.set_epoch(epoch)
        seen.append([ids(batch) for batch in loader])
    assert seen[0] != seen[1]
    fresh = make_task(domains[:1])
    fresh.load_dataset("train")
    again = fresh.dataset("train")
    again.set_epoch(2)
    items = [again[index] for index in range(len(again))]
    assert seen[1] == [ids({"episodes": items[at : at + 4]}) for at in range(0, len(items), 4)]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"meta_support": 0}, "--meta-support 0 is too small"),
        ({"meta_inner_steps": -1}, "--meta-inner-steps -1 is too small"),
        ({"distributed_world_size": 2, "ddp_backend": "pytorch_ddp"}, "--ddp-backend legacy_ddp"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, sentence, domains):
    with pytest.raises(InputError, match=sentence):
        make_task(domains, **settings)


def test_data_that_does_not_fit_is_refused(domains, target_data, tmp_path):
    with pytest.raises(InputError, match="the tasks of meta-training share one"):
        make_task([domains[0], target_data])
    with pytest.raises(InputError, match=f"no {tmp_path}/dict.txt"):
        make_task([domains[0], tmp_path])
    task = make_task(domains, meta_support=30, meta_query=11)
    with pytest.raises(InputError, match="has 40 blocks of 20 tokens in the split valid"):
        task.load_dataset("valid")
    task = make_task(domains, tokens_per_sample=8, sample_break_mode="complete")
    with pytest.raises(
        InputError, match=r"% of the tokens of .*/train .* longer than the 8 tokens"
    ):
        task.load_dataset("train")
    with pytest.raises(InputError, match="give --task-module tarp"):
        make_meta_model(make_task(domains))


SEVERAL_RUNS = """
import json, sys
from fairseq_cli.train import cli_main
for arguments in json.load(sys.stdin):
    sys.argv = ["fairseq-train", *arguments]
    cli_main()
"""


def command(folders, save_dir, base, *options):
    data = ":".join(map(str, folders))
    return [str(part) for part in (
        data, "--user-dir", USER_DIR, "--save-dir", save_dir, *OPTIMISER, *SMALL_MODEL, *LENGTH,
        "--no-epoch-checkpoints", "--max-update", "4", "--criterion", "joint_masked_lm",
        "--finetune-from-model", base, "--structure-width", "8", *options,
    )]  # fmt: skip


def meta(*options):
    return (
        "--task", "meta_masked_lm", "--meta-shared", "module", "--batch-size", "2",
        "--meta-support", "3", "--meta-query", "3", *options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def prepared(domains, joint_checkpoint, tmp_path_factory):
    """Preparation in one run and in two, then adaptation to the third domain."""
    folder = tmp_path_factory.mktemp("prepared")
    kind = ("--task-module", "tarp+tams")
    two = domains[:2]
    runs = [
        command(two, folder / "whole", joint_checkpoint, *meta(*kind, "--max-update", "6")),
        command(two, folder / "halves", joint_checkpoint, *meta(*kind, "--max-update", "3")),
        command(two, folder / "halves", joint_checkpoint, *meta(*kind, "--max-update", "6")),
        command(two, folder / "all", joint_checkpoint, *meta(*kind, "--meta-shared", "model")),
        command(
            domains[2:], folder / "adapted", folder / "whole/checkpoint_last.pt", "--task",
            "masked_lm", *kind,
        ),
    ]  # fmt: skip
    result = run(["python", "-c", SEVERAL_RUNS], input=json.dumps(runs))
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    return folder, result.stdout + result.stderr


@pytest.mark.slow
def test_resuming_is_exact(prepared):
    folder, _ = prepared
    assert same_weights(folder / "whole/checkpoint_last.pt", folder / "halves/checkpoint_last.pt")


@pytest.mark.slow
def test_preparing_the_module_leaves_the_body_as_it_is(prepared, joint_checkpoint):
    before, after = state_of(joint_checkpoint), state_of(prepared[0] / "whole/checkpoint_last.pt")
    for name, tensor in before.items():
        if name in after:
            assert torch.equal(tensor, after[name]) != is_layer_norm(name), name
    assert not after[EMBEDDING].any()  # the start belongs to no domain
    everything = state_of(prepared[0] / "all/checkpoint_last.pt")
    name = "encoder.sentence_encoder.layers.0.fc1.weight"
    assert not torch.equal(everything[name], before[name])


def test_the_log_shows_losses_before_and_after_adaptation_and_the_structure(prepared):
    log = prepared[1]
    assert '"support_loss"' in log and '"valid_support_loss"' in log
    structure = log[log.rindex("structure chosen for the task:") :]
    assert "node 1:" in structure and "node 3:" in structure


def test_what_was_adapted_is_a_module_of_the_body(prepared, joint_checkpoint, tmp_path, capsys):
    adapted, body = prepared[0] / "adapted/checkpoint_last.pt", read_checkpoint(joint_checkpoint)
    saved = tmp_path / "module"
    assert main(["module", "--checkpoint", str(adapted), "--output", str(saved)]) == 0
    assert "tarp+tams" in capsys.readouterr().out
    module = load_module(saved)
    assert module.tensors[EMBEDDING].any()
    drawing = tmp_path / "structure.png"
    assert main(["structure", "--module", str(saved), "--drawing", str(drawing)]) == 0
    assert describe(structure_of(module)) in capsys.readouterr().out
    assert drawing.read_bytes()[:4] == b"\x89PNG"

    symbols = symbols_of(body)
    plugged, trained = (
        build_model(one, symbols)
        for one in (plug_module(body, module)[0], read_checkpoint(adapted))
    )
    tokens = torch.tensor([[0, 9, 12, 30, 7, 2], [0, 8, 8, 2, 1, 1]])
    with torch.inference_mode():
        torch.testing.assert_close(plugged(tokens)[0], trained(tokens)[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="cannot be merged: tarp"):
        merge_module(body, module)


@pytest.mark.slow
def test_a_prepared_start_is_adapted_under_its_own_settings(domains, joint_checkpoint, tmp_path):
    """Whatever else is set, also of the module in other words."""
    kind = ("--task-module", "lora", "--lora-alpha", "32")
    start, text = tmp_path / "prepared/checkpoint_last.pt", ("--task", "masked_lm")
    others = ("--module-layers", "1-3", "--mask-sparsity", "0.5", "--dropout", "0")
    runs = {
        "prepared": (domains[:2], joint_checkpoint, *meta(*kind)),
        "refused": (domains[2:], start, *text, "--task-module", "lora"),
        "adapted": (domains[2:], start, *text, *kind, *others),
    }
    for name, (folders, base, *options) in runs.items():
        options = command(folders, tmp_path / name, base, *options, "--max-update", "2")
        result = run(["fairseq-train", *options])
        assert result.returncode == (2 if name == "refused" else 0), result.stderr[-4000:]
        if name == "refused":
            sentence = "with --lora-alpha 32.0, and this run has --lora-alpha 16.0: give"
            assert sentence in result.stderr.splitlines()[-1]
            assert not list(tmp_path.glob("refused/*.pt"))
    save_module(tmp_path / "module", read_checkpoint(tmp_path / "adapted/checkpoint_last.pt"), None)
    module = load_module(tmp_path / "module")
    assert module.method.lora_alpha == 32
    plug_module(read_checkpoint(joint_checkpoint), module)


def test_a_module_over_a_body_that_changed_is_refused(prepared, tmp_path, capsys):
    everything = prepared[0] / "all/checkpoint_last.pt"
    command = ["module", "--checkpoint", str(everything), "--output", str(tmp_path / "module")]
    assert main(command) == 2
    assert "--meta-shared module" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_learn_as_one_with_twice_the_batch(domains, joint_checkpoint, tmp_path):
    data = ":".join(map(str, domains[:2]))
    options = [
        *SMALL_MODEL, *LENGTH, "--criterion", "masked_lm", "--finetune-from-model",
        joint_checkpoint, *meta("--task-module", "tarp", "--dropout", "0", "--attention-dropout"),
        "0", "--meta-inner-optimizer", "sgd", "--meta-inner-lr", "0.1",
    ]  # fmt: skip
    one = losses(train(data, tmp_path / "one", *options, "--update-freq", "2"))
    two = losses(run_two_processes(data, tmp_path / "two", *options))
    assert len(one) == len(two) == 4
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys() >= {"loss", "support_loss"}
        for name, value in first.items():
            assert second[name] == pytest.approx(value, abs=2e-3)
    left, right = (state_of(tmp_path / name / "checkpoint_last.pt") for name in ("one", "two"))
    for name, tensor in left.items():
        if "lineage" not in name:
            torch.testing.assert_close(right[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
