import errno
import multiprocessing
import os
import signal
import stat
import time

import pytest
import safetensors.torch
import torch

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.files import atomic as module
from fairseq_minimodel.files.atomic import atomic_file, atomic_folder, locked
from fairseq_minimodel.files.outputs import FileForm, FolderForm


@pytest.fixture
def umask():
    former = os.umask(0o027)
    yield
    os.umask(former)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_files_and_folders_are_as_readable_as_any_other(tmp_path, umask):
    with atomic_file(tmp_path / "file") as partial:
        partial.write_text("text")
    with atomic_folder(tmp_path / "folder") as partial:
        safetensors.torch.save_file({"a": torch.ones(1)}, partial / "a.safetensors")
    assert mode(tmp_path / "file") == mode(tmp_path / "folder/a.safetensors") == 0o640
    assert mode(tmp_path / "folder") == 0o750


FOLDER = FolderForm("a folder", ["file"])
FILE = FileForm("a file", lambda path: path.read_text() in ("former", "new"))


@pytest.mark.parametrize(("atomic", "form"), [(atomic_file, FILE), (atomic_folder, FOLDER)])
def test_what_fails_leaves_the_former_and_no_rest(tmp_path, atomic, form):
    def write(path, text):
        (path if atomic is atomic_file else path / "file").write_text(text)

    def read(path):
        return (path if atomic is atomic_file else path / "file").read_text()

    target = tmp_path / "target"
    with atomic(target, form) as partial:
        write(partial, "former")
    with pytest.raises(ZeroDivisionError), atomic(target, form) as partial:
        write(partial, "half")
        raise ZeroDivisionError
    assert read(target) == "former"
    assert list(tmp_path.iterdir()) == [target]
    with atomic(target, form) as partial:
        write(partial, "new")
    assert read(target) == "new"
    assert list(tmp_path.iterdir()) == [target]


# ---- killed writers

BOTH = pytest.mark.parametrize(("atomic", "form"), [(atomic_file, FILE), (atomic_folder, FOLDER)])
fork = multiprocessing.get_context("fork")


def write(path, text):
    (path / "file" if path.is_dir() else path).write_text(text)


def read(path):
    return (path / "file" if path.is_dir() else path).read_text()


def begin(atomic, form, target, began):
    with atomic(target, form) as partial:
        write(partial, "half")
        began.set()
        time.sleep(60)


@pytest.fixture
def writer(tmp_path):
    """Starts a process that writes half of the target and waits."""
    started = []

    def start(atomic, form):
        began = fork.Event()
        process = fork.Process(target=begin, args=(atomic, form, tmp_path / "target", began))
        process.start()
        started.append(process)
        assert began.wait(30)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join()


@BOTH
def test_what_a_killed_writer_leaves_is_removed_by_the_next(atomic, form, tmp_path, writer):
    target = tmp_path / "target"
    with atomic(target, form) as partial:
        write(partial, "former")
    kill(writer(atomic, form))
    left = [path.name for path in tmp_path.iterdir() if path != target]
    assert len(left) == 1 and left[0].startswith(".target.") and read(target) == "former"
    with atomic(target, form) as partial:
        write(partial, "new")
    assert list(tmp_path.iterdir()) == [target] and read(target) == "new"


@BOTH
def test_what_another_process_is_writing_stays(atomic, form, tmp_path, writer):
    target = tmp_path / "target"
    process = writer(atomic, form)
    with atomic(target, form) as partial:
        write(partial, "new")
    [unfinished] = [path for path in tmp_path.iterdir() if path != target]
    assert read(unfinished) == "half" and process.is_alive()


@BOTH
def test_names_that_only_look_like_unfinished_files_stay(atomic, form, tmp_path):
    target, mine = tmp_path / "target", tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("mine")
    (tmp_path / ".target.abcdefgh.partial").symlink_to(mine)
    (tmp_path / ".target.other.abcdefgh.partial").mkdir()
    (tmp_path / ".target.partial").mkdir()
    with atomic(target, form) as partial:
        write(partial, "new")
    assert len(list(tmp_path.iterdir())) == 5
    assert (mine / "file").read_text() == "mine"


def without_exchange(monkeypatch):
    monkeypatch.setattr(module, "_exchange", lambda first, second: False)


@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_folder_is_replaced_in_one_step_or_in_two(in_one_step, tmp_path, monkeypatch):
    if not in_one_step:
        without_exchange(monkeypatch)
    for text in ("former", "new"):
        with atomic_folder(tmp_path / "target", FOLDER) as partial:
            write(partial, text)
    assert list(tmp_path.iterdir()) == [tmp_path / "target"]
    assert read(tmp_path / "target") == "new"


def test_linux_replaces_a_folder_in_one_step(tmp_path):
    """There is no moment at which the place is empty."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, name)
    if not module._exchange(tmp_path / "first", tmp_path / "second"):
        pytest.skip("this system or its disk cannot exchange folders")
    assert read(tmp_path / "first") == "second" and read(tmp_path / "second") == "first"
    with pytest.raises(FileNotFoundError):
        module._exchange(tmp_path / "first", tmp_path / "third")


def test_a_folder_that_was_moved_aside_comes_back(tmp_path):
    """A writer was killed between its two steps, and the next one fails, too."""
    former = tmp_path / ".target.abcdefgh.former"
    former.mkdir()
    write(former, "former")
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "target", FOLDER):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [tmp_path / "target"]
    assert read(tmp_path / "target") == "former"


def test_a_second_step_that_fails_takes_back_the_first(tmp_path, monkeypatch):
    without_exchange(monkeypatch)
    with atomic_folder(tmp_path / "target", FOLDER) as partial:
        write(partial, "former")
    rename = module.Path.rename

    def refuse(self, to):
        if self.name.endswith(".partial"):
            raise OSError(errno.EIO, "Input/output error", str(self))
        return rename(self, to)

    monkeypatch.setattr(module.Path, "rename", refuse)
    with (
        pytest.raises(InputError, match="target: input/output error"),
        atomic_folder(tmp_path / "target", FOLDER) as partial,
    ):
        write(partial, "new")
    assert list(tmp_path.iterdir()) == [tmp_path / "target"]
    assert read(tmp_path / "target") == "former"


def test_a_name_that_just_fits_can_be_written(tmp_path):
    for atomic, form, name in ((atomic_file, FILE, "f" * 255), (atomic_folder, FOLDER, "d" * 255)):
        with atomic(tmp_path / name, form) as partial:
            write(partial, "new")
        assert read(tmp_path / name) == "new"


# ---- what the system refuses


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@BOTH
def test_a_full_disk_is_named(atomic, form, number, tmp_path):
    sentence = rf"cannot write {tmp_path / 'target'}: .* \(the disk at /"
    with pytest.raises(InputError, match=sentence), atomic(tmp_path / "target", form):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        lambda: safetensors.SafetensorError("I/O error: No space left on device (os error 28)"),
        lambda: RuntimeError("[enforce fail at x.cc:1] PytorchStreamWriter failed writing file"),
    ],
)
def test_libraries_that_word_it_in_their_own_way(error, tmp_path):
    with (
        pytest.raises(InputError, match="target: no space left on device"),
        atomic_file(tmp_path / "target", FILE),
    ):
        raise error()


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file", "/an/input"),  # not about the output
        KeyError("a bug"),
        OSError("no number"),
    ],
)
def test_other_errors_stay_what_they_are(error, tmp_path):
    with pytest.raises(type(error)) as found, atomic_file(tmp_path / "target", FILE):
        raise error
    assert found.value is error


# ---- one file, several writers


def add(path, number):
    for _ in range(20):
        with locked(path):
            path.write_text(path.read_text() + f"{number}\n")


def test_a_lock_lets_one_process_at_a_time_read_and_write(tmp_path):
    path = tmp_path / "rows"
    path.write_text("")
    processes = [fork.Process(target=add, args=(path, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(path.read_text().split()) == sorted("012" * 20)
    assert list(tmp_path.iterdir()) == [path]
