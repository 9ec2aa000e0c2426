"""Checkpoints that are damaged, or made to do harm, end in one sentence; harmless extras are read."""

import argparse
import io
import pickle
import shutil
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy
import pytest
import torch
from conftest import USER_DIR, run

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.tensors import EMBEDDING, OUTPUT_BIAS
from fairseq_minimodel.bodies.weights import check_weights, read_torch
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError

LAYERS = "encoder.sentence_encoder.layers."
FC1 = f"{LAYERS}1.fc1.weight"


@pytest.fixture
def altered(joint_checkpoint, tmp_path):
    """A copy of the checkpoint that a function has changed."""

    def save(change):
        content = torch.load(joint_checkpoint, weights_only=True)
        change(content)
        torch.save(content, tmp_path / "altered.pt")
        return tmp_path / "altered.pt"

    return save


def setting(value, name=FC1):
    def change(content):
        content["model"][name].view(-1)[:3] = value

    return change


# ---- what people's checkpoints hold


def test_numbers_of_numpy_and_paths_are_read_as_plain_ones(altered):
    numbers = {
        "best": numpy.float64(6.5),
        "half": numpy.float16(0.5),
        "count": numpy.int64(-(2**40)),
        "byte": numpy.uint8(200),
        "yes": numpy.bool_(True),
        "big-endian": numpy.dtype(">f4").type(1.5),
    }

    def change(content):
        content["extra_state"].update(numbers)
        content["cfg"]["task"]["data"] = Path("/data/de")
        content["cfg"]["checkpoint"]["save_dir"] = PurePosixPath("runs/de")

    checkpoint = read_checkpoint(altered(change))
    for name, number in numbers.items():
        assert checkpoint.extra_state[name] == number.item(), name
        assert type(checkpoint.extra_state[name]) is type(number.item())
    assert checkpoint.config["task"]["data"] == "/data/de"
    assert checkpoint.config["checkpoint"]["save_dir"] == "runs/de"


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numbers_are_read_as_numpy_1_and_2_write_them(module, tmp_path):
    text = b"\x80\x02c" + module.encode() + b"\nscalar\ncnumpy\ndtype\nX\x02\0\0\0f8\x89\x88\x87R"
    text += b"(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    text += b"c_codecs\nencode\nX\x08\0\0\0" + b"\0\0\0\0\0\0\x1a@X\x06\0\0\0latin1\x86R\x86R."
    buffer = io.BytesIO()
    torch.save("number", buffer)
    # the legacy form: magic number, protocol, system information, the object, its storages
    parts = [
        pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    ]
    (tmp_path / "number.pt").write_bytes(b"".join(parts) + text + pickle.dumps([], 2))
    assert read_torch(tmp_path / "number.pt") == 6.5


def test_other_things_of_numpy_are_refused_by_name(altered):
    for value, name in ((numpy.ones(3), "_reconstruct"), (numpy.str_("x"), "numpy.dtype")):
        path = altered(lambda content, value=value: content["extra_state"].update(best=value))
        with pytest.raises(InputError, match=f"is refused: it holds objects of .*{name}"):
            read_checkpoint(path)


def test_a_prefix_of_distributed_training_is_taken_off(joint_checkpoint, altered):
    def change(content):
        content["model"] = {f"module.{name}": one for name, one in content["model"].items()}

    plain, prefixed = read_checkpoint(joint_checkpoint), read_checkpoint(altered(change))
    assert list(plain.state) == list(prefixed.state)


def test_fairseqs_training_reads_them_too(altered, source_data, tmp_path):
    def change(content):
        content["model"] = {f"module.{name}": one for name, one in content["model"].items()}
        content["extra_state"]["best"] = numpy.float64(6.5)

    result = fine_tune(altered(change), source_data, tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]


def fine_tune(checkpoint, data, folder):
    return run(
        ["fairseq-train", data, "--user-dir", USER_DIR, "--save-dir", folder / "run",
         "--task", "masked_lm", "--arch", "minimodel_roberta", "--encoder-layers", "3",
         "--encoder-embed-dim", "16", "--encoder-ffn-embed-dim", "32", "--max-update", "1",
         "--encoder-attention-heads", "2", "--auxiliary-head-layers", "2", "--criterion",
         "joint_masked_lm", "--cpu", "--batch-size", "8", "--tokens-per-sample", "32",
         "--optimizer", "adam", "--num-workers", "0", "--finetune-from-model", checkpoint]
    )  # fmt: skip


# ---- NaN


@pytest.mark.parametrize(
    ("value", "words"), [(torch.nan, "3 NaN of 512"), (-torch.inf, "3 infinite of 512")]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused(altered, value, words, dtype):
    def change(content):
        content["model"] = {name: one.to(dtype) for name, one in content["model"].items()}
        setting(value)(content)

    path = altered(change)
    with pytest.raises(InputError, match=f"altered.pt holds values .* {FC1} has {words} values"):
        read_checkpoint(path)
    assert not read_checkpoint(path, finite=False).state[FC1].isfinite().all()


def test_large_weights_are_not_taken_for_infinite():
    tensors = {"a": torch.full((2000,), 65504.0).half(), "b": torch.full((99,), 3e38)}
    check_weights("x.pt", tensors, "")


def test_every_verb_that_takes_a_body_refuses_nan(altered, source_data, tmp_path, capsys):
    path, out = str(altered(setting(torch.nan))), str(tmp_path / "out")
    text = tmp_path / "a.txt"
    text.write_text("word1 word2\n")
    for words in (
        ["truncate", "--body", path, "--depth", "2", "--output", out],
        ["extend", "--body", path, "--depth", "2", "--new-layers", "1", "--output", out],
        ["pack", "--checkpoint", path, "--language", "xx", "--output", out],
        ["plug", "--body", path, "--pack", "none", "--output", out],
        ["merge", "--body", path, "--module", "none", "--output", out],
        ["module", "--checkpoint", path, "--output", out],
        ["evaluate", "--body", path, "--test", "none", str(text)],
        ["perplexity", "--body", path, "--pack", "none", str(text)],
        ["retrieve", "--body", path, "--source-pack", "a", "--pack", "b", "--data", "c"],
        ["predict", "--body", path, "--input", str(text)],
        ["flops", "--body", path],
    ):
        try:
            assert main(words) == 2, words
        except SystemExit as ended:
            raise AssertionError(f"{words}: {capsys.readouterr().err}") from ended
        error = capsys.readouterr().err
        assert "3 NaN of 512" in error and error.count("\n") == 1, words
    assert not Path(out).exists()
    assert main(["inspect", path]) == 0  # which tells what is wrong
    assert f"{FC1} has 3 NaN" in " ".join(capsys.readouterr().out.split())


def test_training_over_a_body_with_nan_is_refused(altered, source_data, target_data, tmp_path):
    path = altered(setting(torch.nan))
    result = fine_tune(path, source_data, tmp_path)
    assert result.returncode == 2 and "3 NaN of 512" in result.stderr
    result = run(
        ["fairseq-train", target_data, "--user-dir", USER_DIR, "--save-dir", tmp_path / "adapted",
         "--task", "language_adaptation", "--arch", "minimodel_roberta", "--base-checkpoint", path,
         "--cpu", "--batch-size", "8", "--tokens-per-sample", "32", "--optimizer", "adam"]
    )  # fmt: skip
    assert result.returncode == 2 and "3 NaN of 512" in result.stderr


# ---- structure


def moved(name, other):
    def change(content):
        content["model"][other] = content["model"].pop(name)

    return change


def tensor(name, value):
    return lambda content: content["model"].update({name: value})


def options(section, **values):
    return lambda content: content["cfg"][section].update(values)


def expanded(content):
    content["model"][FC1] = torch.zeros(1).expand(32, 16)


def nested(content):
    inner = {"a": 1}
    for _ in range(22):
        inner = dict.fromkeys(("a", "b", "c"), inner)
    content["cfg"]["note"] = inner


def deep(content):
    inner = {}
    for _ in range(200):
        inner = {"a": inner}
    content["cfg"]["note"] = inner


BIAS = f"{LAYERS}0.fc1.bias"
DAMAGES = {
    "a layer far away": (moved(FC1, f"{LAYERS}99999.fc1.weight"), "without a gap"),
    "a layer beyond all numbers": (tensor(f"{LAYERS}{'9' * 5000}.x", torch.ones(1)), "without a gap"),
    "a vector for the embedding": (tensor(EMBEDDING, torch.ones(9)), "shape"),
    "a number for the embedding": (tensor(EMBEDDING, torch.tensor(1.0)), "shape"),
    "whole numbers": (tensor(FC1, torch.ones(32, 16).long()), "as int64"),
    "no numbers": (tensor(FC1, torch.ones(0, 16)), "shape"),
    "fewer numbers than the shape": (expanded, "shape"),
    "a text": (tensor(FC1, "weights"), "not a tensor"),
    "a number for a name": (lambda content: content["model"].update({5: torch.ones(1)}), "tensor"),
    "sparse": (tensor(FC1, torch.eye(16).to_sparse()), "sparse"),
    "another width": (tensor(FC1, torch.ones(32, 17)), r"\(32, 17\).*need \(32, 16\)"),
    "another height": (tensor(BIAS, torch.ones(31)), r"\(31,\).*need \(32,\)"),
    "another vocabulary": (tensor(OUTPUT_BIAS, torch.ones(64)), r"\(64,\).*need \(65,\)"),
    "another lineage": (tensor("encoder.lineage", torch.full((16,), 1e9)), "not an identifier"),
    "a short lineage": (tensor("encoder.lineage", torch.ones(3)), "not an identifier"),
    "heads in words": (options("model", encoder_attention_heads="two"), "heads is 'two'"),
    "a list for a task": (lambda content: content["cfg"].update(task=[1]), "it is a list"),
    "data in numbers": (options("task", data=3), "data is 3, not text"),
    "settings nested in each other": (nested, "settings have more than"),
    "settings nested deeply": (deep, "settings have more than"),
    "no model": (lambda content: content["cfg"].pop("model"), "has no model"),
    "a rank of a text": (options("model", module_rank="8"), "module_rank is '8'"),
    "updates in words": (
        lambda content: content.update(optimizer_history=[{"num_updates": "4"}]), "no updates"),
    "a list for a history": (lambda content: content.update(optimizer_history=[3]), "no updates"),
    "a list for a state": (lambda content: content.update(extra_state=[3]), "extra_state is a list"),
    "a Namespace in a Namespace": (
        lambda content: content.update(cfg=None, args=argparse.Namespace(arch=argparse.Namespace())),
        "_name is"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_structure_is_one_sentence_at_once(altered, name):
    change, words = DAMAGES[name]
    path, started = altered(change), time.monotonic()
    with pytest.raises(InputError, match=words) as refused:
        read_checkpoint(path)
    assert str(refused.value).startswith(str(path)) and "\n" not in str(refused.value)
    assert time.monotonic() - started < 3


def test_shared_settings_are_copied(joint_checkpoint, altered):
    shared = {"lr": [0.1]}
    checkpoint = read_checkpoint(altered(lambda content: content["cfg"].update(a=shared, b=shared)))
    assert checkpoint.config["a"] == checkpoint.config["b"] == shared
    assert checkpoint.config["a"] is not checkpoint.config["b"]


def test_heads_that_do_not_divide_the_width(joint_checkpoint):
    checkpoint = read_checkpoint(joint_checkpoint)
    for heads in (3, -2):
        with pytest.raises(InputError, match=f"encoder_attention_heads is {heads}"):
            checkpoint.replaced(checkpoint.state, encoder_attention_heads=heads).body_settings()


def test_a_model_with_missing_parts_is_not_built(joint_checkpoint, tmp_path):
    from fairseq_minimodel.bodies.training_files import symbols_of
    from fairseq_minimodel.inference.build import build_model

    checkpoint = read_checkpoint(joint_checkpoint)
    state = {name: one for name, one in checkpoint.state.items() if "k_proj" not in name}
    with pytest.raises(InputError, match="is not a complete minimodel_roberta"):
        build_model(replace(checkpoint, state=state), symbols_of(checkpoint))
    write_checkpoint(tmp_path / "whole.pt", checkpoint)
    build_model(read_checkpoint(tmp_path / "whole.pt"), symbols_of(checkpoint))


# ---- what only a second look shows


def test_bits_that_were_flipped_are_seen_by_the_check_sums(joint_checkpoint, tmp_path):
    content = bytearray(joint_checkpoint.read_bytes())
    tensor = torch.load(joint_checkpoint, weights_only=True)["model"][FC1].numpy().tobytes()
    place = content.index(tensor) + 5
    content[place] ^= 1  # another weight, and a file that PyTorch reads
    path = tmp_path / "flipped.pt"
    path.write_bytes(content)
    assert not torch.equal(
        torch.load(path, weights_only=True)["model"][FC1],
        torch.load(joint_checkpoint, weights_only=True)["model"][FC1],
    )
    with pytest.raises(InputError, match="flipped.pt is damaged .the check sum of .* does not fit"):
        read_checkpoint(path)


def test_a_checkpoint_without_check_sums_is_read(joint_checkpoint, tmp_path):
    content = torch.load(joint_checkpoint, weights_only=True)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(content, tmp_path / "plain.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_checkpoint(tmp_path / "plain.pt").layers == 3


@pytest.mark.parametrize("name", [f"{LAYERS}2.fc2.bias", f"{LAYERS}0.self_attn.q_proj.weight"])
def test_every_tensor_of_the_body_must_be_there(altered, name):
    path = altered(lambda content: content["model"].pop(name))
    with pytest.raises(InputError, match=f"is not a complete RoBERTa: it lacks {name}"):
        read_checkpoint(path)


@pytest.mark.parametrize("part", ["dense.weight", "dense.bias", "out_proj.weight", "out_proj.bias"])
def test_every_tensor_of_a_head_must_be_there(altered, part):
    """fairseq would fill it with whatever it has drawn."""
    shapes = {"dense.weight": (8, 16), "dense.bias": (8,), "out_proj.weight": (3, 8)}
    name = "classification_heads.topics.{}".format
    whole = {name(one): torch.ones(shape) for one, shape in shapes.items()}
    whole[name("out_proj.bias")] = torch.ones(3)
    assert read_checkpoint(altered(lambda content: content["model"].update(whole)))
    missing = name(part)
    del whole[missing]
    path = altered(lambda content: content["model"].update(whole))
    with pytest.raises(InputError, match=f"is not a complete RoBERTa: it lacks {missing}"):
        read_checkpoint(path)


def test_the_tokenizer_of_another_language_is_refused(
    joint_checkpoint, source_data, target_data, tmp_path, capsys
):
    pack = ["pack", "--checkpoint", str(joint_checkpoint), "--language", "en", "--output"]
    for model in (target_data / "sentencepiece.bpe.model", source_data / "dict.txt"):
        assert main([*pack, str(tmp_path / "pack"), "--sentencepiece-model", str(model)]) == 2
        error = capsys.readouterr().err
        assert "do not belong together" in error or "is not a SentencePiece model" in error
        assert error.count("\n") == 1 and not (tmp_path / "pack").exists()
    assert main([*pack, str(tmp_path / "pack")]) == 0
    shutil.copy(target_data / "sentencepiece.bpe.model", tmp_path / "pack")
    plug = ["plug", "--body", str(joint_checkpoint), "--pack", str(tmp_path / "pack"), "--output"]
    assert main([*plug, str(tmp_path / "plugged")]) == 2
    assert "do not belong together" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["extra_state", "optimizer_history"])
def test_a_part_of_another_type_is_one_sentence(altered, part):
    path = altered(lambda content: content.update({part: torch.ones(3)}))
    with pytest.raises(InputError, match=f"is damaged .*{part}"):
        read_checkpoint(path)
