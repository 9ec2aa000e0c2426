"""What does not work is said in a sentence, and what was fixed stays fixed."""

import ast
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import fairseq.trainer
import fairseq.utils
import pytest
import torch
from conftest import LENGTH, SMALL_MODEL, USER_DIR, run, state_of, train
from fairseq.criterions import sentence_prediction
from fairseq.data import Dictionary
from fairseq.logging import metrics
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from torch import nn

from fairseq_minimodel.bodies.identity import LINEAGE
from fairseq_minimodel.bodies.tensors import EMBEDDING, LAYERS, OUTPUT_BIAS, OUTPUT_PROJECTION
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.plugin.compat.settings import read_value
from fairseq_minimodel.plugin.fused_adam import FusedAdam

BROKEN = {
    "missing": "raise ModuleNotFoundError(\"No module named 'fairseq'\")",
    "of Python 3.10": 'raise ValueError("mutable default CommonConfig for field common")',
}


REGISTER = "import fairseq_minimodel; fairseq_minimodel.register()"


@pytest.mark.parametrize("kind", BROKEN)
def test_a_fairseq_that_cannot_work_is_one_sentence_with_the_commands(kind, tmp_path):
    (tmp_path / "fairseq").mkdir()
    (tmp_path / "fairseq" / "__init__.py").write_text(BROKEN[kind])
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{USER_DIR.parent}"}
    result = run(["python", "-c", REGISTER], env=environment)
    assert result.returncode == 1
    sentence = result.stderr.splitlines()[-1]
    assert sentence.startswith("fairseq_minimodel.errors.SetupError: ")
    assert "needs a working fairseq" in sentence
    assert "pip install --no-build-isolation --no-deps fairseq-fixed==0.12.3.1" in sentence


def test_an_old_pytorch_is_refused():
    code = f"import torch; torch.__version__ = '2.5.1+cpu'; {REGISTER}"
    result = run(["python", "-c", code])
    assert result.returncode == 1
    assert "SetupError: fairseq-minimodel needs PyTorch 2.6 or newer, and 2.5.1" in result.stderr


def test_the_commands_are_those_of_makefile_and_documents():
    from fairseq_minimodel.plugin.compat.patches import INSTALL_COMMANDS

    root = USER_DIR.parent
    package = INSTALL_COMMANDS.split()[-1]
    assert f"FAIRSEQ = {package}" in (root / "Makefile").read_text()
    for page in ("README.md", "docs/install.md"):
        text = (root / page).read_text()
        assert f"pip install --no-build-isolation --no-deps {package}" in text
        assert "-r requirements.txt" in text


READ_AHEAD_AND_END = """
import torch
import fairseq_minimodel
fairseq_minimodel.register()
from fairseq.data import iterators

class Batches:
    def __len__(self):
        return 10**6
    def __iter__(self):
        for number in range(10**6):
            values = torch.rand(64, 64)
            for _ in range(20):
                values = values.sort().values.cumsum(0).index_select(0, torch.randperm(64))
            yield number

batches = iterators.BufferedIterator(10, Batches())
assert [next(batches) for _ in range(3)] == [0, 1, 2]
"""


@pytest.mark.slow
def test_a_run_that_ends_while_batches_are_read_ahead_ends_well():
    """Without the workaround the process is aborted nearly every time (exit status -6)."""
    for _ in range(2):
        result = subprocess.run(
            [sys.executable, "-c", READ_AHEAD_AND_END], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr


def test_bfloat16_on_the_command_line(source_data, tmp_path):
    log = train(
        source_data, tmp_path, "--task", "masked_lm", "--criterion", "joint_masked_lm",
        *SMALL_MODEL, *LENGTH, "--bf16",
    )  # fmt: skip
    losses = [float(loss) for loss in re.findall(r'"train_loss": "([\d.]+)"', log)]
    assert losses and 3 < losses[-1] < 8  # 64 symbols are 6 bits
    checkpoint = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)
    assert checkpoint["cfg"]["common"]["bf16"]
    assert checkpoint["model"]["encoder.sentence_encoder.layers.0.fc1.weight"].dtype in (
        torch.bfloat16,
        torch.float32,
    )


SIXTEEN_BITS = {
    "bf16": ["--bf16"],
    "fp16": ["--fp16", "--fp16-no-flatten-grads", "--fp16-init-scale", "4"],
    "memory-efficient-bf16": ["--memory-efficient-bf16"],
    "memory-efficient-fp16": ["--memory-efficient-fp16", "--fp16-init-scale", "4"],
}


@pytest.mark.parametrize("precision", SIXTEEN_BITS)
@pytest.mark.slow
def test_training_in_16_bits_resumes_by_bits(precision, source_data, tmp_path):
    options = [
        "--task", "masked_lm", "--criterion", "joint_masked_lm", *SMALL_MODEL, *LENGTH,
        *SIXTEEN_BITS[precision], "--lr", "0.001",
    ]  # fmt: skip
    train(source_data, tmp_path / "whole", *options, "--max-update", "4")
    for limit in ("2", "4"):
        train(source_data, tmp_path / "halves", *options, "--max-update", limit)
    whole, halves = (tmp_path / name / "checkpoint_last.pt" for name in ("whole", "halves"))
    expected, found = state_of(whole), state_of(halves)
    expected.pop(LINEAGE)  # drawn anew for each body
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    states = [
        torch.load(path, weights_only=True)["last_optimizer_state"] for path in (whole, halves)
    ]
    assert ("fp32_params" in states[0]) == (not precision.startswith("memory"))
    for weights in zip(*(state.get("fp32_params", []) for state in states), strict=True):
        assert torch.equal(*weights)
        assert not torch.equal(weights[0], weights[0].bfloat16().float()) or not weights[0].any()


def test_what_is_frozen_stays_by_bits_in_16_bits(source_data, tmp_path):
    options = [
        "--task", "masked_lm", "--criterion", "joint_masked_lm", *SMALL_MODEL, *LENGTH, "--lr", "0.001",
    ]  # fmt: skip
    train(source_data, tmp_path / "body", *options, "--max-update", "1")
    body = tmp_path / "body/checkpoint_last.pt"
    options += ["--bf16", "--freeze", "language", "--finetune-from-model", body]
    for limit in ("1", "2"):  # the second resumes
        train(source_data, tmp_path / "run", *options, "--max-update", limit)
    before, after = state_of(body), state_of(tmp_path / "run/checkpoint_last.pt")
    assert not torch.equal(before[EMBEDDING], before[EMBEDDING].bfloat16().float())
    for name in (EMBEDDING, OUTPUT_PROJECTION, OUTPUT_BIAS):
        assert torch.equal(after[name], before[name])
    trained = f"{LAYERS}0.fc1.weight"
    assert not torch.equal(after[trained], before[trained].bfloat16().float())


def test_weights_that_were_changed_in_a_checkpoint_stay_changed(source_data, tmp_path):
    options = [
        "--task", "masked_lm", "--criterion", "joint_masked_lm", *SMALL_MODEL, *LENGTH, "--bf16",
        "--lr", "0", "--weight-decay", "0",
    ]  # fmt: skip
    train(source_data, tmp_path, *options, "--max-update", "1")
    checkpoint = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)
    name = "encoder.sentence_encoder.layers.0.fc1.weight"
    checkpoint["model"][name].fill_(0.5)
    torch.save(checkpoint, tmp_path / "checkpoint_last.pt")
    train(source_data, tmp_path, *options, "--max-update", "2")
    assert (state_of(tmp_path / "checkpoint_last.pt")[name] == 0.5).all()


CODE = [
    "__import__('os').getpid()",
    "print(1)",
    "[x for x in (1, 2)]",
    "(0.9).real",
    "a",
    "lambda: 1",
]


@pytest.mark.parametrize(
    "text",
    [*CODE, "(0.9, ", "", "9 ** 9 ** 9", "(" * 10**5, "[0] * 99999999999999", "[0] * 9999 * 9999"],
)
def test_what_is_no_value_is_not_run(text):
    with pytest.raises(InputError, match="is not a value"):
        read_value(text)


@pytest.mark.parametrize(
    "text", ["(0.9, 0.98)", " 1e-3", "[(512, 10, 5)] + [(512, 3, 2)] * 4", "{'a': -1, 'b': True}"]
)
def test_values_are_read(text):
    assert read_value(text) == eval(text)


def test_all_of_fairseq_reads_settings_as_values():
    """Every module of fairseq that is imported, and calls `eval`, calls ours."""
    asked = set()
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None) or ""
        if not name.startswith("fairseq.") or not path.endswith(".py"):
            continue
        with open(path, encoding="utf-8") as file:
            calls = [node.func for node in ast.walk(ast.parse(file.read()))
                     if isinstance(node, ast.Call)]  # fmt: skip
        if any(isinstance(call, ast.Name) and call.id == "eval" for call in calls):
            asked.add(name)
            assert module.eval is read_value, name
    assert {"fairseq.optim.adam", "fairseq.utils", "fairseq.models.wav2vec.wav2vec2"} <= asked
    with pytest.raises(InputError):
        fairseq.utils.eval_str_list(CODE[0])
    assert fairseq.utils.eval_bool(None, True) and fairseq.utils.eval_str_list("(1, 2)") == [1, 2]


@pytest.mark.parametrize("optimiser", [FairseqAdam, FusedAdam])
@pytest.mark.parametrize("betas", [*CODE, "0.9", "(0.9, 1.5)", "(0.9, 0.98, 0.99)", "(0.9, 'b')"])
def test_betas_are_two_numbers(optimiser, betas):
    parameters = [torch.ones(1, requires_grad=True)]
    with pytest.raises(InputError) as refused:
        optimiser(FairseqAdamConfig(adam_betas=betas, lr=[0.1]), parameters)
    assert str(refused.value).startswith(f'--adam-betas "{betas}" is not two numbers')
    good = optimiser(FairseqAdamConfig(adam_betas="(0.9, 0.98)", lr=[0.1]), parameters)
    assert good.param_groups[0]["betas"] == (0.9, 0.98)


# By hand, of the classes 0, 1, 2 (or two of them) in their order in the dictionary.
TARGETS, PREDICTED = [0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0]
MACRO = 100 * (1 / 2 + 4 / 5 + 2 / 3) / 3
PAIR_TARGETS, PAIR_PREDICTED = [0, 0, 1, 1, 1], [0, 1, 1, 1, 0]
LABELS = {
    "three words": (["travel", "sport", "food"], TARGETS, PREDICTED, MACRO, 400 / 6),
    "three numbers": (["0", "1", "2"], TARGETS, PREDICTED, MACRO, 400 / 6),
    "two words": (["no", "yes"], PAIR_TARGETS, PAIR_PREDICTED, 100 * (1 / 2 + 2 / 3) / 2, 60),
    "0 and 1": (["0", "1"], PAIR_TARGETS, PAIR_PREDICTED, 200 / 3, 60),
    "1 and 0": (["1", "0"], PAIR_TARGETS, PAIR_PREDICTED, 50, 60),
}


def score(labels, targets, predicted, **reports):
    dictionary = Dictionary()
    for label in labels:
        dictionary.add_symbol(label)
    dictionary.pad_to_multiple_(8)
    task = SimpleNamespace(label_dictionary=dictionary, target_dictionary=None)
    config = sentence_prediction.SentencePredictionConfig(**reports)
    criterion = sentence_prediction.SentencePredictionCriterion(config, task)

    class Model(torch.nn.Module):
        classification_heads = {"sentence_classification_head": None}

        def forward(self, **_):
            return torch.eye(len(labels))[predicted] * 5, None

        def get_targets(self, sample, _):
            return sample["target"]

    sample = {"net_input": {}, "target": torch.tensor(targets), "ntokens": 9}
    log = criterion(Model().eval(), sample)[2]
    with metrics.aggregate(new_root=True) as aggregate:
        criterion.reduce_metrics([log])
    return aggregate.get_smoothed_values()


@pytest.mark.parametrize("kind", LABELS)
def test_scores_of_labels_whatever_they_are_called(kind):
    labels, targets, predicted, f1, accuracy = LABELS[kind]
    values = score(labels, targets, predicted, report_acc_and_f1=True, report_mcc=True)
    assert values["f1"] == pytest.approx(f1, abs=0.05)
    assert values["acc_and_f1"] == pytest.approx((f1 + accuracy) / 2, abs=0.05)
    assert values["accuracy"] == pytest.approx(accuracy, abs=0.05) and values["mcc"] > 0


def test_words_have_no_correlation():
    with pytest.raises(InputError, match='numbers, and this task has "no"'):
        score(["no", "yes"], [0, 1], [0, 1], report_pearson_and_spearman=True)


def test_a_run_reports_scores_of_labels_that_are_words(pair_data, tmp_path):
    log = train(
        pair_data, tmp_path, "--task", "sentence_prediction", "--criterion", "sentence_prediction",
        "--num-classes", "3", "--init-token", "0", "--separator-token", "2", *SMALL_MODEL,
        "--max-positions", "64", "--max-update", "1", "--report-acc-and-f1",
        "--required-batch-size-multiple", "1",
    )  # fmt: skip
    assert '"valid_acc_and_f1": ' in log and '"valid_f1": ' in log


def fairseq_train(data, save_dir, *options):
    return run(
        ["fairseq-train", data, "--user-dir", USER_DIR, "--save-dir", save_dir, "--task",
         "masked_lm", "--criterion", "masked_lm", *SMALL_MODEL, *LENGTH, "--cpu", "--optimizer",
         "adam", "--lr", "0.01", "--batch-size", "8", "--max-update", "1", *options]
    )  # fmt: skip


@pytest.mark.parametrize("missing", ["the folder", "dict.txt", "valid.bin"])
def test_missing_data_is_a_sentence(missing, source_data, tmp_path):
    data = tmp_path / "data"
    if missing != "the folder":
        data.mkdir()
        for path in source_data.glob("*.*"):
            if path.name != missing and path.stem + ".bin" != missing:
                (data / path.name).symlink_to(path)
    result = fairseq_train(data, tmp_path / "run")
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr[-2000:]
    sentence = result.stderr.splitlines()[-1]
    if missing == "the folder":
        assert f"there is no data folder {data}: name one of prepared data" in sentence
    else:
        assert f"the data folder {data} lacks a file: " in sentence
        assert str(data / missing).removesuffix(".bin") in sentence


BAD_DICTIONARIES = {
    "HTML page": b"<!DOCTYPE html>\n<html>\n",
    "random bytes": b"\xff\xfe\x93\x00\n",
    "blank line": b"a 5\n\nb 4\n",
    "no count": b"a 5\nb\n",
    "flipped bit": b'a 5\nb"98\n',
    "zeros": b"a 5\n\x00\x00\x00\n",
    "twice": b"a 5\na 4\n",
}


@pytest.mark.parametrize("kind", [*BAD_DICTIONARIES, "link to itself", "folder"])
def test_a_damaged_dictionary_is_a_sentence(kind, tmp_path):
    path = tmp_path / "dict.txt"
    if kind in BAD_DICTIONARIES:
        path.write_bytes(BAD_DICTIONARIES[kind])
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    with pytest.raises(InputError, match=re.escape(str(path))) as refused:
        Dictionary.load(str(path))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("layout", ["alone", "shard", "of another folder"])
@pytest.mark.parametrize("lines", [2, 3, 4])
def test_a_dictionary_has_as_many_lines_as_the_data_were_prepared_with(lines, layout, tmp_path):
    path = tmp_path / ("dict.txt" if layout == "alone" else "shard0/dict.txt")
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{symbol} 5\n" for symbol in "abcd"[:lines]))
    files = {} if layout == "of another folder" else {str(path.relative_to(tmp_path)): 12}
    record = {"options": {}, "counts": {"vocabulary": 4 + 3}, "files": files}
    (tmp_path / "prepare.json").write_text(json.dumps(record))
    if lines == 3 or layout == "of another folder":
        assert len(Dictionary.load(str(path))) == 4 + lines
        return
    sentence = f"{path} has {4 + lines} symbols, and the data were prepared with 7"
    with pytest.raises(InputError, match=re.escape(sentence)):
        Dictionary.load(str(path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_fp16_without_a_gpu_is_a_sentence(source_data, tmp_path):
    result = fairseq_train(source_data, tmp_path / "run", "--fp16")
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr[-2000:]
    assert "trains on a GPU, and PyTorch finds none here" in result.stderr.splitlines()[-1]


def test_absent_biases_are_not_shared_parameters():
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["c"], model["d"] = nn.Linear(2, 2), nn.Linear(2, 2)
    model["d"].weight = model["c"].weight
    assert fairseq.trainer._catalog_shared_params(model) == [["c.weight", "d.weight"]]
