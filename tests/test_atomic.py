import os
import stat

import pytest
import safetensors.torch
import torch

from fairseq_minimodel.atomic import atomic_file, atomic_folder
from fairseq_minimodel.outputs import FileForm, FolderForm


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
