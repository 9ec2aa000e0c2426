"""A run's folder after a kill, a full disk, a second run, and when its run is finished."""

import errno
import fcntl
import os
import re
import resource
import shutil
from types import SimpleNamespace

import pytest
import torch
from conftest import LENGTH, SMALL_MODEL, USER_DIR, run, state_of, train
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.file_io import PathManager

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.plugin.compat import run_folder
from fairseq_minimodel.plugin.compat.run_folder import restored_path

MODEL = ["--task", "masked_lm", "--criterion", "joint_masked_lm", *SMALL_MODEL, *LENGTH]
FORMER, CONTENT = b"former" * 1000, os.urandom(300_000)


@pytest.fixture(scope="module")
def finished(source_data, tmp_path_factory):
    """A run of 6 updates, with a checkpoint after each second one."""
    folder = tmp_path_factory.mktemp("finished")
    train(source_data, folder, *MODEL, "--max-update", "6", "--save-interval-updates", "2")
    return folder


def in_a_process(function):
    """Its exit status in a fork, -9 for a kill."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            function()
            status = 0
        except InputError as error:
            os.write(2, str(error).encode())
            status = 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def copy(source, target):
    PathManager.copy(str(source), str(target), overwrite=True)


def save(source, target):
    checkpoint_utils.torch_persistent_save({"bytes": source.read_bytes()}, str(target))


@pytest.fixture
def files(tmp_path):
    source, target = tmp_path / "checkpoint_1_50.pt", tmp_path / "checkpoint_last.pt"
    source.write_bytes(CONTENT)
    target.write_bytes(FORMER)
    return source, target


@pytest.mark.parametrize("write", [copy, save])
def test_a_checkpoint_is_written_in_place_of_the_former(files, write):
    source, target = files
    assert in_a_process(lambda: write(source, target)) == 0
    if write is copy:
        assert target.read_bytes() == CONTENT
        with open(source, "r+b") as file:  # and is not a link to it
            file.write(b"changed")
        assert target.read_bytes() == CONTENT
    else:
        assert torch.load(target, weights_only=True) == {"bytes": CONTENT}
    assert set(target.parent.iterdir()) == {source, target}


@pytest.mark.parametrize("write", [copy, save])
def test_a_kill_while_a_checkpoint_is_written_leaves_the_former(files, write, monkeypatch):
    source, target = files

    def half(*arguments):
        path = arguments[1] if write is copy else arguments[1].name
        with open(path, "wb") as file:
            file.write(CONTENT[:1000])
        os.kill(os.getpid(), 9)

    monkeypatch.setattr(*((shutil, "copyfile") if write is copy else (torch, "save")), half)
    assert in_a_process(lambda: write(source, target)) == -9
    assert target.read_bytes() == FORMER
    (leftover,) = set(target.parent.iterdir()) - {source, target}
    assert leftover.stat().st_size == 1000
    other = target.parent / ".notes.partial"
    other.touch()
    in_a_process(lambda: run_folder._claim(target.parent))  # as the next run does
    assert not leftover.exists() and other.exists() and target.exists()


def test_only_what_is_half_written_by_this_run_is_removed(tmp_path):
    ours = (
        ".checkpoint3.pt.abcd_123.partial", ".checkpoint_2_500.pt.x.partial",
        "checkpoint_best.pt.tmp", ".checkpoint.best_loss_5.1230.pt.x.partial",
    )  # fmt: skip
    others = (
        "checkpoint_last.pt", ".checkpoint_last_b.pt.x.partial", ".de.x.partial", "notes.tmp",
        "checkpoint_mine.pt.tmp",
    )  # fmt: skip
    for name in (*ours, *others):
        (tmp_path / name).touch()
    in_a_process(lambda: run_folder._claim(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {*others, ".lock"}


@pytest.mark.parametrize("write", [copy, save])
def test_a_full_disk_is_a_sentence_and_leaves_the_former(files, write, capfd):
    source, target = files

    def write_to_full_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        write(source, target)

    assert in_a_process(write_to_full_disk) == 2
    assert f"{target} could not be written: File too large" in capfd.readouterr().err
    assert target.read_bytes() == FORMER
    assert set(target.parent.iterdir()) == {source, target}


def test_a_copy_is_flushed_before_it_takes_the_name(files, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (events.append("flush"), fsync(file)))
    monkeypatch.setattr(
        os, "replace", lambda *paths, **kinds: (events.append("name"), replace(*paths, **kinds))
    )
    for write in (copy, save):
        events.clear()
        write(*files)
        assert events == ["flush", "name"]


def damage(path, how):
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "zeros": bytes(999)}[how])


@pytest.mark.parametrize("how", ["empty", "half", "zeros"])
def test_a_damaged_last_checkpoint_is_known(finished, how, tmp_path):
    path = tmp_path / "checkpoint_last.pt"
    shutil.copy(finished / "checkpoint_last.pt", path)
    assert not run_folder._is_damaged(path)
    torch.save({"before": 1.6}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert not run_folder._is_damaged(tmp_path / "old.pt")
    damage(path, how)
    assert run_folder._is_damaged(path)


def test_a_run_goes_on_from_the_newest_whole_checkpoint(finished, source_data, tmp_path):
    for path in finished.glob("checkpoint_1_[24].pt"):
        shutil.copy(path, tmp_path)
    os.utime(tmp_path / "checkpoint_1_4.pt", (1, 1))  # a copied folder has other times
    shutil.copy(finished / "checkpoint_last.pt", tmp_path)
    damage(tmp_path / "checkpoint_last.pt", "half")
    log = train(source_data, tmp_path, *MODEL, "--max-update", "6")
    assert re.search(r"checkpoint_last.pt is damaged.*checkpoint_1_4.pt \(4 updates\)", log)
    expected = state_of(finished / "checkpoint_last.pt")  # and of its lineage: it is the same body
    found = state_of(tmp_path / "checkpoint_last.pt")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def command(data, save_dir, *options):
    return run(
        ["fairseq-train", data, "--user-dir", USER_DIR, "--save-dir", save_dir, *MODEL, "--cpu",
         "--optimizer", "adam", "--lr", "0.01", "--batch-size", "8", "--num-workers", "0",
         "--max-update", "1", *options]
    )  # fmt: skip


def check_refused(result, sentence):
    assert result.returncode == 2, result.stdout[-2000:]
    assert "Traceback" not in result.stderr
    assert re.search(sentence, result.stderr.splitlines()[-1])


def test_without_a_whole_checkpoint_a_sentence_says_so(finished, source_data, tmp_path):
    last = tmp_path / "checkpoint_last.pt"
    last.write_bytes((finished / "checkpoint_last.pt").read_bytes()[:5000])
    result = command(source_data, tmp_path)
    check_refused(result, "checkpoint_last.pt is damaged, and no complete checkpoint is beside it")
    assert last.stat().st_size == 5000
    result = command(source_data, tmp_path / "other", "--restore-file", last)
    check_refused(result, "checkpoint_last.pt is damaged: give another --restore-file")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "there is no such file"),
        ("folder", "it is a folder"),
        ("link to itself", "it is a link to nothing, or to itself"),
        ("dangling link", "it is a link to nothing, or to itself"),
    ],
)
def test_a_body_that_is_no_file_is_a_sentence(kind, reason, tmp_path):
    body = tmp_path / "body.pt"
    if kind == "folder":
        body.mkdir()
    elif kind != "missing":
        body.symlink_to(body if kind == "link to itself" else tmp_path / "nothing")
    cfg = CheckpointConfig(save_dir=str(tmp_path / "run"), finetune_from_model=str(body))
    trainer = SimpleNamespace(checkpoint_suffix="")
    with pytest.raises(InputError, match=f"--finetune-from-model {body}: {reason}"):
        run_folder._without_damage(cfg, trainer)


@pytest.mark.parametrize(
    ("first", "again", "reason"),
    [
        (["--max-update", "6"], [], "it has had 6 updates (--max-update 6)"),
        (["--max-update", "6"], ["--max-update", "5"], "6 updates (--max-update 5)"),
        (["--max-update", "0", "--max-epoch", "1"], [], "it has had 1 epochs (--max-epoch 1)"),
    ],
    ids=["max-update", "smaller max-update", "max-epoch"],
)
def test_a_finished_run_has_nothing_to_do(first, again, reason, finished, source_data, tmp_path):
    if "6" in first:
        shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    else:
        train(source_data, tmp_path, *MODEL, *first)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("*.pt")}
    log = train(source_data, tmp_path, *MODEL, *first, *again)
    assert f"nothing to do in {tmp_path}: " in log and reason in log
    assert "begin training epoch" not in log and "begin dry-run validation" not in log
    assert before == {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("*.pt")
    }


@pytest.mark.slow
def test_patience_counts_on_after_a_resume(source_data, tmp_path):
    """Weights stand still: the first validation is the best one, and three more are not better."""
    options = [
        *MODEL, "--lr", "0", "--validate-interval-updates", "1", "--save-interval-updates", "1",
        "--patience", "3", "--keep-interval-updates", "1",
    ]  # fmt: skip
    for limit in ("2", "3"):
        train(source_data, tmp_path, *options, "--max-update", limit)
    train(source_data, tmp_path, *options, "--max-update", "20")
    last = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)
    assert last["optimizer_history"][-1]["num_updates"] == 4
    log = train(source_data, tmp_path, *options, "--max-update", "20")
    assert (
        "nothing to do" in log
        and "it has had 3 validations without a better one (--patience)" in log
    )
    # a new run in a process that had another begins anew
    count = run_folder._Patience(SimpleNamespace(patience=0), None).count
    assert count == {}


def test_a_folder_takes_one_run_at_a_time(source_data, tmp_path):
    with open(tmp_path / ".lock", "a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        result = command(source_data, tmp_path)
        check_refused(result, f"another training is writing to {tmp_path}: wait for it")
        assert not list(tmp_path.glob("*.pt"))
        assert command(source_data, tmp_path, "--no-save").returncode == 0
    assert command(source_data, tmp_path).returncode == 0
    assert (tmp_path / "checkpoint_last.pt").exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_no_hindrance(code, tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    run_folder._claim(tmp_path)


def test_a_folder_that_cannot_be_written_is_a_sentence(source_data, tmp_path):
    (tmp_path / "file").touch()
    check_refused(command(source_data, tmp_path / "file" / "run"), "give another --save-dir")


@pytest.mark.parametrize(
    ("restore_file", "suffix", "expected"),
    [
        ("checkpoint_last.pt", "", "runs/de/checkpoint_last.pt"),
        ("checkpoint_last.pt", "-shard0", "runs/de/checkpoint_last-shard0.pt"),
        ("other/checkpoint_best.pt", "", "other/checkpoint_best.pt"),
        ("checkpoint_best.pt", "", "checkpoint_best.pt"),
        ("/runs/en/checkpoint_best.pt", "-shard0", "/runs/en/checkpoint_best-shard0.pt"),
    ],
)
def test_the_restored_checkpoint_is_the_one_that_fairseq_takes(
    restore_file, suffix, expected, monkeypatch
):
    assert str(restored_path("runs/de", restore_file, suffix)) == expected
    asked = []

    class Trainer:
        checkpoint_suffix = suffix
        cfg = SimpleNamespace(distributed_training=SimpleNamespace(distributed_rank=1))

        def load_checkpoint(self, path, *_, **__):
            asked.append(path)
            raise KeyboardInterrupt

    config = checkpoint_utils.CheckpointConfig(save_dir="runs/de", restore_file=restore_file)
    with pytest.raises(KeyboardInterrupt):
        checkpoint_utils.load_checkpoint(config, Trainer())
    assert asked == [expected]
