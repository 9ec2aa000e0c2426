"""The verb `adapt`: what it plans, what it does again, what it refuses, and once all of it."""

import fcntl
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.language_side import is_language_side
from fairseq_minimodel.bodies.tensors import EMBEDDING, OUTPUT_PROJECTION
from fairseq_minimodel.cli import build_parser, main
from fairseq_minimodel.cost.flops import Shape, masked_lm_flops
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.interop.sentence_transformers import write_sentence_settings
from fairseq_minimodel.recipes import adapt as verb
from fairseq_minimodel.recipes import plan as planning
from fairseq_minimodel.recipes import run as runner
from fairseq_minimodel.recipes import steps
from fairseq_minimodel.recipes.adapt import adapt
from fairseq_minimodel.recipes.given import Machine, Material, Model, read_model
from fairseq_minimodel.recipes.options import AdaptOptions
from fairseq_minimodel.recipes.plan import choose, make_plan, seconds_of

SHAPE = Shape(layers=6, width=384, ffn=1536, heads=12, vocabulary=30_522)
SETTINGS = {
    "encoder_layers": 6, "encoder_embed_dim": 384, "encoder_ffn_embed_dim": 1536,
    "encoder_attention_heads": 12, "max_positions": 512, "layer_norm_eps": 1e-12,
}  # fmt: skip
MACHINE = Machine(has_gpu=False, rate=3e11, bfloat16=True)
TEXT = 5e6


def model(has_head=True):
    return Model(None, None, "minimodel_roberta", SHAPE, SETTINGS, has_head)


def options(**changes):
    given = {"model": "bert", "text": [Path("de.txt")], "language": "de", "output": Path("out")}
    return AdaptOptions(**given | changes)


def material(pairs=0, words=0, source_text=0.0, text=TEXT):
    return Material(text, source_text, pairs, words)


# ---- the plan


@pytest.mark.parametrize(
    ("has_head", "source", "pairs", "words", "method", "why"),
    [
        (True, False, 2_000, 0, "standard", "2,000 pairs"),
        (True, True, 0, 3_000, "standard", "a word list"),
        (True, False, 30_000, 0, "start", "adds little to a start from 30,000 pairs"),
        (True, False, 0, 0, "standard", "nothing else to learn from"),
        (False, True, 2_000, 0, "minipost", "2,000 pairs"),
        (False, False, 2_000, 0, "start", "no MLM head"),
        (False, True, 0, 0, "start", "adds nothing to a start without pairs"),
    ],
)
def test_what_was_measured_decides_whether_to_train(has_head, source, pairs, words, method, why):
    given = options(source_text=[Path("en.txt")] if source else [])
    chosen, reason = choose(given, model(has_head), material(pairs, words))
    assert chosen == method and why in reason


@pytest.mark.parametrize(("pairs", "words"), [(2_000, 0), (0, 3_000)])
def test_little_text_takes_from_a_start_that_knows_translations(pairs, words):
    for has_head in (True, False):
        given = options(source_text=[Path("en.txt")])
        little, much = (
            choose(given, model(has_head), material(pairs, words, text=4.0 * tokens))
            for tokens in (100_000, 900_000)
        )
        assert little[0] == "start" and "so little text takes from a start" in little[1]
        assert much[0] != "start"


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400), ("1d", 86_400)],
)
def test_a_budget_is_a_time(given, seconds):
    assert seconds_of(given) == seconds


@pytest.mark.parametrize("method", ["standard", "minipost"])
def test_training_takes_what_the_budget_leaves(method):
    """Its FLOPs over the rate, and the other steps, are the budget; a longer one adds training."""
    given = {"method": method, "source_text": [Path("en.txt")]}
    amount = material(pairs=2_000, source_text=1e9, text=1e9)
    plans = {
        minutes: make_plan(options(**given, budget=f"{minutes}m"), model(), amount, MACHINE)
        for minutes in (20 + 1700, 30 + 1700)  # so much text takes long to prepare
    }
    for minutes, plan in plans.items():
        assert plan.method == method
        assert 60 * minutes - 5 < plan.seconds <= 60 * minutes
    short, long = ([step for step in plan.steps if step.updates] for plan in plans.values())
    assert len(short) == len(long) == (2 if method == "minipost" else 1)
    for one, other in zip(short, long, strict=True):
        assert other.updates > one.updates
        command = " ".join(one.command)
        assert f"--max-update {one.updates} " in command and "--tokens-per-sample 128 " in command
        assert "--batch-size 16 " in command
    shape = Shape(6 if method == "standard" else 4, 384, 1536, 12, 32_000)
    token = masked_lm_flops(shape, 1, 128, freeze="body", predictions_only=True).total
    assert short[-1].flops == pytest.approx(token * 16 * 128 * short[-1].updates)


def test_a_small_text_is_not_read_more_often_than_is_of_use():
    plan = make_plan(options(budget="10h"), model(), material(pairs=2_000), MACHINE)
    [training] = [step for step in plan.steps if step.updates]
    assert training.updates == int(10 * TEXT / 4 / (16 * 128))


def test_a_budget_that_is_too_short_for_training_gives_a_start():
    plan = make_plan(options(budget="1m"), model(), material(pairs=2_000), MACHINE)
    assert plan.method == "start" and "enough for 0 updates of standard" in plan.why
    with pytest.raises(InputError, match="--budget than 1m"):
        make_plan(options(budget="1m", method="standard"), model(), material(), MACHINE)


def test_tasks_do_not_change_the_training():
    with_task = options(tasks=[Path("topics")])
    plans = [
        make_plan(given, model(), material(pairs=2_000), MACHINE)
        for given in (options(), with_task)
    ]
    commands = [[step.line for step in plan.steps] for plan in plans]
    [new] = [line for line in commands[1] if line not in commands[0]]
    assert new.startswith("fairseq-minimodel export-hf --model topics --pack out/packs/de ")


def test_sentence_vectors_are_learned_from_pairs():
    given = {"kind": "sentence-vectors", "parallel": [(Path("a"), Path("b"))]}
    plan = make_plan(options(**given, budget="10h"), model(False), material(2_000), MACHINE)
    [training] = [step for step in plan.steps if step.updates]
    assert plan.method == "sentence-vectors" and training.updates == 10 * 2_000 // 64
    command = " ".join(training.command)
    assert (
        "--task sentence_distillation " in command and "--source-pack out/source/pack " in command
    )
    assert "--pairs out/pairs/train.source out/pairs/train.target " in command
    [retrieve] = [step for step in plan.steps if step.name == "retrieve"]
    assert "--layer" not in retrieve.command  # vectors as the model's settings say
    short = make_plan(options(**given, budget="1m"), model(False), material(2_000), MACHINE)
    assert short.method == "start"
    with pytest.raises(InputError, match="learns from sentences and their translations"):
        make_plan(options(**given), model(), material(0), MACHINE)
    with pytest.raises(InputError, match="--method standard trains on masked words"):
        make_plan(options(**given, method="standard"), model(), material(2_000), MACHINE)


def test_sentence_vectors_are_learned_from_a_word_list_where_there_are_no_pairs():
    given = {"kind": "sentence-vectors", "dictionary": Path("words"), "budget": "10h"}
    commands, flops = [], []
    for files, pairs in (([], 0), ([(Path("a"), Path("b"))], 2_000)):
        found = material(pairs, words=3_200)
        plan = make_plan(options(**given, parallel=files), model(False), found, MACHINE)
        [training] = [step for step in plan.steps if step.updates]
        commands.append(" ".join(training.command))
        flops.append(training.flops / training.updates)
        assert training.updates == 10 * (pairs or 3_200) // 64
    assert "--word-pairs words " in commands[0] and "--word-pairs" not in commands[1]
    assert flops[1] > 5 * flops[0]  # a sentence has more tokens than a word


@pytest.mark.parametrize("kind", ["language", "sentence-vectors"])
def test_with_a_word_list_and_source_text_sentences_are_translated_word_by_word(kind):
    given = {"dictionary": Path("words"), "source_text": [Path("en.txt")], "budget": "10h"}
    found = material(0, words=3_200, source_text=TEXT)
    plan = make_plan(options(kind=kind, **given), model(False), found, MACHINE)
    lines = {step.name: step.line for step in plan.steps}
    names = list(lines)
    assert names.index("translate-words") < names.index("start")
    assert lines["translate-words"] == (
        "fairseq-minimodel translate-words --dictionary words --text en.txt --target-text "
        f"{' '.join(map(str, options().text))} --sentences 10000 --output out/words"
    )
    made = "out/words/sentences.source out/words/sentences.target"
    assert f" --parallel {made} --dictionary words " in lines["start"]
    if kind == "sentence-vectors":
        assert names.index("translate-words-even") < names.index("trained")
        assert lines["translate-words-even"].endswith(
            "translate-words --dictionary words --text en.txt --sentences 10000 --output out/words-even"
        )
        even = "out/words-even/sentences.source out/words-even/sentences.target"
        assert f" --pairs {even} " in lines["trained"] and "--word-pairs" not in lines["trained"]
        [training] = [step for step in plan.steps if step.updates]
        assert training.updates == 10 * 10_000 // 64
    for other in (material(0, words=3_200), material(2_000, words=3_200, source_text=TEXT)):
        files = [(Path("a"), Path("b"))] if other.pairs else []
        changed = given | {"source_text": given["source_text"] if other.source_text else []}
        plan = make_plan(
            options(kind=kind, **changed, parallel=files), model(False), other, MACHINE
        )
        assert not [step for step in plan.steps if "translate" in step.name]


@pytest.mark.parametrize("pairs", [0, 2_000])
@pytest.mark.parametrize("has_head", [False, True])
def test_every_command_of_a_plan_is_one(has_head, pairs):
    """The verbs take their options; what fairseq takes, the run of all of it shows."""
    given = options(
        source_text=[Path("en.txt")], parallel=[(Path("a"), Path("b"))] if pairs else [],
        dictionary=Path("words"), tasks=[Path("topics")], method="minipost",
    )  # fmt: skip
    plan = make_plan(given, model(has_head), material(pairs, 10, 1e6), MACHINE)
    outputs = [step.output for step in plan.steps]
    assert len(set(outputs)) == len(outputs)
    for step in plan.steps:
        words = shlex.split(step.line)
        if words[0] == "fairseq-minimodel":
            build_parser(words[1]).parse_args(words[1:])
        else:
            assert words[0] == "fairseq-train"


@pytest.mark.parametrize(
    ("layers", "every", "top"), [(22, 3, 10), (5, 3, 4), (22, 1, 9), (2, 3, 2)]
)
def test_a_modernbert_is_trained_as_one_up_to_a_layer_that_attends_to_all(layers, every, top):
    shape = replace(SHAPE, layers=layers, modern=True)
    settings = {**SETTINGS, "local_attention": 64, "global_every": every}
    modern = Model(None, None, "minimodel_modernbert", shape, settings, True)
    given = options(method="minipost", source_text=[Path("en.txt")], budget="10h")
    plan = make_plan(given, modern, material(source_text=TEXT), MACHINE)
    lines = {step.name: step.line for step in plan.steps}
    depth = layers // 2 if layers <= 6 else layers // 3
    assert f" --depth {depth} --new-layers {top - depth} " in lines["extend"]
    assert f" --encoder-layers {top} " in lines["post"]
    assert f" --local-attention 64 --global-every {every} " in lines["post"]
    for name in ("post", "trained"):
        assert " --arch minimodel_modernbert " in lines[name]


@pytest.mark.parametrize("tied", [True, False])
def test_a_new_head_begins_with_the_counts_of_a_text_where_it_has_a_bias(tied):
    new = replace(model(has_head=False), shape=replace(SHAPE, modern=not tied, tied=tied))
    given = options(method="minipost", source_text=[Path("en.txt")], budget="10h")
    plan = make_plan(given, new, material(source_text=TEXT), MACHINE)
    (line,) = (step.line for step in plan.steps if step.name == "import")
    assert (" --text en.txt" in line) == tied


# ---- a tiny model and text


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder with a tiny RoBERTa, text in its language and another, and pairs of lines."""
    from support.huggingface_models import make_model
    from support.modern_models import make_euro, make_modern

    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("given")
    assert main(["toy", "--output", str(folder / "toy"), "--sentences", "2000"]) == 0
    for name, side in (("en", "source"), ("de", "target")):
        text = (folder / f"toy/{side}/mono.txt").read_text()
        (folder / f"{name}.txt").write_text(text)
        lines = [line for line in text.split("\n") if line]
        (folder / f"pairs.{name}").write_text("\n".join(lines[:400]) + "\n")
        (folder / "table.csv").write_text("id,text\n1,Ein Satz\n2,Noch einer\n")
        if name == "en":
            make_model(folder / "tiny", "roberta fast", lines, size=400)
            make_modern(
                folder / "modern", lines, size=400, max_position_embeddings=32,
                global_attn_every_n_layers=2, local_rope_theta=500.0,
            )  # fmt: skip
            make_euro(folder / "euro", lines, size=400, max_position_embeddings=32)
            vectors = {"sentence_pooling": "mean", "sentence_normalise": True}
            for kind in ("modern", "euro"):
                write_sentence_settings(folder / kind, {**vectors, "sentence_length": 32}, 32, 32)
    return folder


def arguments(given, place, **changes):
    return {
        "model": str(given / "tiny"), "text": given / "de.txt", "language": "de", "output": place,
        "parallel": [(given / "pairs.en", given / "pairs.de")], "budget": "2m",
        "method": "standard",
    } | changes  # fmt: skip


def command_line(options):
    words = []
    for name, value in options.items():
        words.append(f"--{name.replace('_', '-')}")
        for one in value if isinstance(value, list) else [value]:
            words += map(str, one if isinstance(one, tuple) else [one])
    return words


def test_what_a_model_is_told_by_its_files(given, joint_checkpoint):
    tiny = read_model(str(given / "tiny"))
    assert tiny.has_head and tiny.shape.layers == 3 and tiny.shape.width == 32
    assert tiny.settings["max_positions"] == 64 and tiny.settings["layer_norm_eps"] == 1e-5
    modern = read_model(str(given / "modern"))
    assert modern.architecture == "minimodel_modernbert" and modern.has_head
    assert modern.shape.modern and modern.shape.layers == 5
    assert modern.settings["max_positions"] == 32 and modern.settings["global_every"] == 2
    assert modern.settings["local_rope_theta"] == 500 and modern.settings["local_attention"] == 8
    euro = read_model(str(given / "euro"))
    assert euro.architecture == "minimodel_eurobert" and euro.has_head
    assert not euro.shape.tied and euro.shape.key_value_heads == 2
    assert euro.settings["encoder_key_value_heads"] == 2 and euro.settings["rope_theta"] == 250_000
    body = read_model(str(joint_checkpoint))
    assert body.body == joint_checkpoint and body.has_head and body.shape.layers == 3


CONFIG = {
    "model_type": "roberta", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 1, "intermediate_size": 8, "max_position_embeddings": 9,
}  # fmt: skip


def test_a_damaged_folder_of_a_model_is_one_sentence(tmp_path):
    def write(**changes):
        (tmp_path / "config.json").write_text(json.dumps(CONFIG | changes))

    for classes in (5, {"a": 1}, [None], None):
        write(architectures=classes)
        assert not read_model(str(tmp_path)).has_head
    write(architectures=["RobertaForMaskedLM"])
    assert read_model(str(tmp_path)).has_head
    for size in ("many", None, [9]):
        write(hidden_size=size)
        with pytest.raises(InputError, match="config.json is damaged"):
            read_model(str(tmp_path))
    write()
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match="model.safetensors is damaged .*Git LFS pointer"):
        read_model(str(tmp_path))


def test_a_dry_run_prints_commands_and_writes_nothing(given, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verb, "measure", lambda shape: MACHINE)
    words = command_line(arguments(given, tmp_path / "out"))
    assert main(["adapt", *words, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("method: standard, because it was asked for\n")
    assert re.search(r"\| trained +\| +[\d.]+ GFLOP \| +\d+ s \| +0\.\d GB \|\n", printed)
    commands = printed.partition("\n\nfairseq-minimodel import-hf ")[2].splitlines()
    assert "fairseq-train" in commands[5] and len(commands) == 11
    assert not list(tmp_path.iterdir())


@pytest.fixture
def ran(monkeypatch):
    """The names of the steps that are run, by a runner that makes their outputs; `ran.fail` says where
    it is killed: before the output of a step is there, or after, before it is recorded."""

    class Ran(list):
        fail = None

    names = Ran()

    def fake(step, log):
        if names.fail == (step.name, "before"):
            raise KeyboardInterrupt
        names.append(step.name)
        step.output.parent.mkdir(parents=True, exist_ok=True)
        step.output.touch()
        if step.name in ("retrieve", "perplexity"):
            step.output.write_text("[]")
        if names.fail == (step.name, "after"):
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr(runner, "_print", fake)
    monkeypatch.setattr(runner, "_train", fake)
    monkeypatch.setattr(verb, "measure", lambda shape: MACHINE)
    return names


def test_a_killed_run_goes_on_with_the_step_that_was_not_done(given, tmp_path, ran, capsys):
    adapted = adapt(**arguments(given, tmp_path / "whole"))
    names = list(ran)
    assert names[:3] == ["import", "split-pairs", "prepare"] and names[-2:] == ["export", "report"]
    assert adapted.pack == tmp_path / "whole/packs/de" and adapted.models[0].name == "tiny-de"
    for place in ("before", "after"):
        for index, name in enumerate(names):
            ran.clear()
            ran.fail = name, place
            output = tmp_path / f"{place}-{name}"
            with pytest.raises(KeyboardInterrupt):
                adapt(**arguments(given, output))
            ran.clear()
            ran.fail = None
            adapt(**arguments(given, output))
            assert ran == names[index:]
    ran.clear()
    adapt(**arguments(given, output))
    assert ran == []
    capsys.readouterr()
    (output / "report.html").unlink()  # what is gone is made again
    adapt(**arguments(given, output))
    printed = capsys.readouterr().out
    assert ran == ["report"] and printed.count(": done before\n") == len(names) - 1
    assert "$ fairseq-minimodel report " in printed


def test_a_faster_machine_changes_nothing_of_a_run_that_was_begun(
    given, tmp_path, ran, monkeypatch
):
    adapt(**arguments(given, tmp_path / "out"))
    ran.clear()
    monkeypatch.setattr(verb, "measure", lambda shape: Machine(False, 1e15, False))
    adapt(**arguments(given, tmp_path / "out"))
    assert ran == []


def test_a_task_can_be_added(given, tmp_path, ran):
    adapt(**arguments(given, tmp_path / "out"))
    ran.clear()
    adapted = adapt(**arguments(given, tmp_path / "out", tasks=[given / "tiny"]))
    assert ran == ["export-tiny"]
    assert len(adapted.models) == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"budget": "1h"}, r'begun with another --budget \("2m"\): give another --output'),
        ({"method": "start"}, r'begun with another --method \("standard"\)'),
        ({"parallel": []}, "begun with another --parallel"),
    ],
)
def test_a_changed_option_is_refused(changes, sentence, given, tmp_path, ran):
    adapt(**arguments(given, tmp_path / "out"))
    with pytest.raises(InputError, match=sentence):
        adapt(**arguments(given, tmp_path / "out", **changes))


def test_a_changed_text_is_refused(given, tmp_path, ran):
    text = tmp_path / "text.txt"
    text.write_bytes((given / "de.txt").read_bytes())
    adapt(**arguments(given, tmp_path / "out", text=text))
    with open(text, "a") as file:
        file.write("Noch ein Satz.\n")
    with pytest.raises(InputError, match=r"begun with another .*text\.txt: give another --output"):
        adapt(**arguments(given, tmp_path / "out", text=text))


def test_one_process_at_a_time(given, tmp_path, ran):
    adapt(**arguments(given, tmp_path / "out"))
    with open(tmp_path / "out/.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is at work in"):
            adapt(**arguments(given, tmp_path / "out"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"model": "absent/model/here"},
            "there is no absent/model/here/config.json: check the path",
        ),
        ({"model": "."}, "there is no config.json"),
        ({"language": "en"}, "--language en is the language of the model"),
        ({"language": "../de"}, "language"),
        ({"budget": "30"}, "--budget 30 is not a time: give 90s, 30m"),
        ({"budget": "1s", "method": "standard"}, "enough for 0 updates of standard: give a longer"),
        ({"method": "minipost"}, "give text in it .--source-text"),
        ({"text": "absent.txt"}, "absent.txt"),
        ({"parallel": [("{given}/pairs.en", "{given}/de.txt")]}, "de.txt has more lines than"),
        ({"tasks": ["{given}/toy"]}, "toy has no config.json"),
        ({"tasks": ["{given}/tiny", "{given}/toy/../tiny"]}, "two of --tasks are called tiny"),
        ({"dictionary": "absent.tsv"}, "absent.tsv"),
        ({"output": "{given}/run:1"}, "run:1 has a colon"),
        ({"text": "{given}/table.csv"}, r"table.csv is a table \(CSV\), not running text"),
        (
            {"output": "{given}/toy"},
            "holds dictionary.tsv, source, target: only an empty folder is replaced",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(changes, sentence, given, tmp_path, capsys):
    def filled(value):
        if isinstance(value, (list, tuple)):
            return type(value)(map(filled, value))
        return value.format(given=given)

    changes = {name: filled(value) for name, value in changes.items()}
    words = command_line(arguments(given, tmp_path / "out", **changes))
    assert main(["adapt", *words]) == 2
    printed = capsys.readouterr()
    assert re.search(f"^fairseq-minimodel: error: .*{sentence}.*\n$", printed.err)
    assert not list(tmp_path.iterdir())


def test_a_name_of_the_hub_without_a_network_is_refused(given, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    words = command_line(arguments(given, tmp_path / "out", model="nobody/nothing"))
    assert main(["adapt", *words]) == 2
    sentence = capsys.readouterr().err
    assert "there is no folder nobody/nothing, and the Hub gives no model of that name" in sentence
    assert sentence.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_step_that_fails_ends_the_run_with_a_sentence(given, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(
        runner, "program", lambda *words: [sys.executable, "-c", "print('so far'); exit(3)"]
    )
    assert main(["adapt", *command_line(arguments(given, tmp_path / "out"))]) == 2
    printed = capfd.readouterr()
    assert "the step import has failed (exit code 3; what it printed: " in printed.err
    assert "so far\n" in printed.out
    assert (tmp_path / "out/logs/import.log").read_text() == "so far\n"
    assert json.loads((tmp_path / "out/adapt.json").read_text())["done"] == {}


# ---- all of it


@pytest.mark.slow
def test_a_tiny_model_in_another_language(given, tmp_path, capfd):
    """The real command, killed in the middle of its training, and then again to the end."""
    output = tmp_path / "out"
    words = command_line(arguments(given, output))
    command = [sys.executable, "-m", "fairseq_minimodel", "adapt", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    log = output / "logs/trained.log"
    while process.poll() is None and not (log.exists() and '"num_updates"' in log.read_text()):
        time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    adapted = fairseq_minimodel.adapt(**arguments(given, output))
    printed = capfd.readouterr().out
    assert printed.count(": done before") == 5 and "updates" in printed
    start, trained = [row for row in adapted.scores if row["kind"] == "retrieval"]
    assert start["pack"].endswith("de-start") and trained["pairs"] == 40
    assert adapted.report.is_file()

    from transformers import AutoModelForMaskedLM, AutoTokenizer

    [folder] = adapted.models
    tokenizer, loaded = (
        kind.from_pretrained(folder) for kind in (AutoTokenizer, AutoModelForMaskedLM)
    )
    sentence = (given / "de.txt").read_text().split("\n")[0]
    ids = tokenizer(sentence, return_tensors="pt")["input_ids"]
    trained = fairseq_minimodel.load(adapted.body, adapted.pack)
    assert tokenizer.convert_ids_to_tokens(ids[0])[1:-1] == trained.tokenize([sentence])[0]
    assert loaded(ids).logits.shape == (1, ids.size(1), len(tokenizer))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["standard", "minipost", "sentence-vectors"])
@pytest.mark.parametrize("model", ["modern", "euro"])
def test_a_tiny_modern_model_in_another_language(model, how, given, tmp_path, monkeypatch):
    """What is trained is the language side, over a body that stays as it is by bits."""
    for name, value in (("MOST_EPOCHS", 1), ("FEWEST_UPDATES", 5)):
        monkeypatch.setattr(planning, name, value)
    monkeypatch.setattr(steps, "LONGEST", 1_000)  # how busy the machine is changes nothing
    kind = {"kind": how, "method": "auto"} if how == "sentence-vectors" else {"method": how}
    wanted = arguments(
        given, tmp_path / "out", model=str(given / model), source_text=given / "en.txt",
        budget="1h", **kind,
    )  # fmt: skip
    adapted = fairseq_minimodel.adapt(**wanted)
    packs = [row["pack"] for row in adapted.scores if row["kind"] == "retrieval"]
    assert [Path(pack).name for pack in packs] == ["de-start", "de"]
    start, trained = (
        read_checkpoint(tmp_path / "out" / name).state
        for name in ("started/model.pt", "trained/checkpoint_last.pt")
    )
    assert start.keys() == trained.keys()
    for name, tensor in trained.items():
        learns = is_language_side(name)
        if how == "sentence-vectors":  # the embeddings alone, and what is tied to them
            learns = name == EMBEDDING or (model == "modern" and name == OUTPUT_PROJECTION)
        assert torch.equal(tensor, start[name]) != learns, name
    if how == "minipost":  # what was put on top is of step 1b alone
        bottom, body = read_checkpoint(tmp_path / "out/post/checkpoint_last.pt"), adapted.body
        for name, tensor in read_checkpoint(body).state.items():
            if ".layers.0." in name or ".layers.1." in name:
                assert torch.equal(bottom.state[name], tensor), name
    from transformers import AutoModel, AutoTokenizer

    [folder] = adapted.models
    sentence = (given / "de.txt").read_text().split("\n")[0]
    ids = AutoTokenizer.from_pretrained(folder)(sentence, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder)(ids).last_hidden_state
    ours = fairseq_minimodel.load(adapted.body, adapted.pack)
    expected = torch.nn.functional.normalize(hidden.mean(1)).numpy()
    assert ours.encode([sentence]) == pytest.approx(expected, abs=1e-5)
