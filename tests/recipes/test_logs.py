"""What arrives in TensorBoard and Weights & Biases by fairseq's own switches, read from their files."""

import json
import os
import struct

import pytest
from conftest import LENGTH, OPTIMISER, SMALL_MODEL, USER_DIR, run

UPDATES = 4
CUMULATIVE = ("flops", "tokens")
LOGGED = {
    "train_inner": ("loss", "loss_l2", "loss_l3", "ppl_l2", "wps", "tflops", *CUMULATIVE, "lr"),
    "train": ("loss", "loss_l2", "loss_l3", "wps", "tflops", *CUMULATIVE),
    "valid": ("loss", "loss_l2", "loss_l3", "ppl_l3"),
}


def train(data, folder, *options):
    """Train with two heads; returns what the JSON log says of each update.

    In a process of its own: writers are closed when the interpreter ends, which a fork leaves out.
    """
    result = run(
        ["fairseq-train", data, "--user-dir", USER_DIR, "--save-dir", folder / "checkpoints",
         "--task", "masked_lm", "--criterion", "joint_masked_lm", *SMALL_MODEL, *LENGTH, *OPTIMISER,
         "--auxiliary-head-layers", "2", "--max-update", UPDATES, "--no-epoch-checkpoints", *options],
        env=os.environ,
    )  # fmt: skip
    log = result.stdout + result.stderr
    assert result.returncode == 0, log[-3000:]
    lines = [line for line in log.splitlines() if "| INFO | train_inner | " in line]
    return [json.loads(line.split(" | ")[-1]) for line in lines]


def check(values, updates):
    """Compare what was logged, {part: {name: {update: value}}}, with the log on the screen."""
    for part, names in LOGGED.items():
        for name in names:
            assert values[part][name], (part, name)
            assert UPDATES in values[part][name], (part, name)
    inner = values["train_inner"]
    for update in updates:
        number = int(update["num_updates"])
        for name in ("loss", "loss_l2", "loss_l3", *CUMULATIVE):
            assert inner[name][number] == pytest.approx(float(update[name]), rel=1e-4), name
    flops = [inner["flops"][number] for number in range(1, UPDATES + 1)]
    assert 0 < flops[0] < flops[1] < flops[2] < flops[3]
    assert inner["tflops"][UPDATES] > 0
    assert "utilisation" not in inner  # on a CPU


@pytest.mark.slow
def test_tensorboard(source_data, tmp_path):
    events = pytest.importorskip("tensorboardX.proto.event_pb2")
    updates = train(source_data, tmp_path, "--tensorboard-logdir", tmp_path / "tensorboard")
    values = {}
    for path in (tmp_path / "tensorboard").rglob("events.*"):
        scalars = values.setdefault(path.parent.name, {})
        for record in event_records(path.read_bytes()):
            event = events.Event.FromString(record)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    check(values, updates)


def event_records(content):
    """The records of an event file: each behind its length (8 bytes) and a checksum, before another."""
    place = 0
    while place < len(content):
        (size,) = struct.unpack_from("<Q", content, place)
        yield content[place + 12 : place + 12 + size]
        place += 12 + size + 4


@pytest.mark.slow
def test_weights_and_biases_without_a_network(source_data, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    for name, value in {"MODE": "offline", "SILENT": "true", "DIR": str(tmp_path)}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    updates = train(source_data, tmp_path, "--wandb-project", "languages")
    [path] = tmp_path.rglob("run-*.wandb")
    values, config = {}, {}
    for record in wandb_records(path.read_bytes()):
        record = Record.FromString(record)
        config.update((item.key, item.value_json) for item in record.config.update)
        row = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
        for key, value in row.items():
            part, _, name = key.partition("/")
            if name:
                series = values.setdefault(part, {}).setdefault(name, {})
                series[int(row["_step"])] = json.loads(value)
    check(values, updates)
    assert json.loads(config["model"])["auxiliary_head_layers"] == "2"


def wandb_records(content):
    """The records of a .wandb file: LevelDB's log format behind 7 bytes, in blocks of 32 KiB."""
    place, whole = 7, b""
    while place < len(content):
        left = 32768 - place % 32768
        if left < 7:  # too little for a header
            place += left
            continue
        size, kind = struct.unpack_from("<HB", content, place + 4)
        whole += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""
