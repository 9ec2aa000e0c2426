"""Files in folders, archives and by themselves."""

import gzip
import lzma

import pytest
import zstandard
from support.published import SHAPES, publish

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.files import archive
from fairseq_minimodel.files.archive import open_source

FILES = {"data/b.txt": "\ufeffeins\nzwei\u2028\n", "data/deep/a.txt": "drei"}


def contents(path):
    with open_source(path) as files:
        result = {}
        for file in files:
            with file.lines() as lines:
                result[file.name.split("data/")[-1]] = list(lines)
        return result


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_holds_the_same_files(tmp_path, shape):
    assert contents(publish(tmp_path, FILES, shape)) == {
        "b.txt": [(1, b"eins\n"), (2, "zwei\u2028\n".encode())],
        "deep/a.txt": [(1, b"drei")],
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_two_files_can_be_read_in_turns(tmp_path, shape):
    many = {name: "".join(f"{name} {i}\n" for i in range(50_000)) for name in ("a", "b")}
    with open_source(publish(tmp_path, many, shape)) as files:
        with files[0].lines() as first, files[1].lines() as second:
            for (number, left), (_, right) in zip(first, second, strict=True):
                assert (left[2:], right[2:]) == (right[2:], b"%d\n" % (number - 1))
        assert number == 50_000


@pytest.mark.parametrize("shape", SHAPES)
def test_messages_can_name_a_file(tmp_path, shape):
    path = publish(tmp_path, FILES, shape)
    with open_source(path) as files:
        assert {file.path for file in files} == {f"{path}/{name}" for name in FILES}


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.compress)],
)
def test_a_compressed_file_goes_by_its_name_without_the_suffix(tmp_path, suffix, compress):
    folder = publish(tmp_path, {f"data/a.json{suffix}": compress(b"eins\n")})
    assert contents(folder) == {"a.json": [(1, b"eins\n")]}
    assert contents(folder / f"data/a.json{suffix}") == {"a.json": [(1, b"eins\n")]}


def test_a_file_by_itself_keeps_its_folders_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(publish(tmp_path, FILES) / "data" / "deep")
    with open_source("a.txt") as [file]:
        assert file.name.endswith("/data/deep/a.txt")


def test_nothing_there(tmp_path):
    with (
        pytest.raises(InputError, match="nowhere does not exist"),
        open_source(tmp_path / "nowhere"),
    ):
        pass


@pytest.mark.parametrize("shape", ["zip", "tar.gz"])
@pytest.mark.parametrize("keep", [0, 30, 0.5])
def test_a_cut_off_archive_is_refused(tmp_path, shape, keep):
    path = publish(tmp_path, {"a.txt": bytes(range(256)) * 100}, shape)
    data = path.read_bytes()
    path.write_bytes(data[: keep if keep != 0.5 else len(data) // 2])
    with pytest.raises(InputError, match=rf"published.{shape} cannot be read .*fetch it again"):
        contents(path)


def test_a_damaged_member_of_a_zip_is_named(tmp_path):
    path = publish(tmp_path, {"a.txt": "".join(f"line {i}\n" for i in range(999))}, "zip")
    data = bytearray(path.read_bytes())
    position = data.rindex(b"a.txt", 0, data.index(b".DS_Store")) + 100
    data[position : position + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(InputError, match="published.zip/a.txt cannot be read"):
        contents(path)


def test_an_error_of_the_reader_is_not_taken_for_damage(tmp_path):
    with pytest.raises(OSError, match="mine"), open_source(publish(tmp_path, FILES, "zip")):
        raise OSError("mine")


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "folder"])
def test_a_file_that_would_fill_the_memory_is_refused_by_its_size(tmp_path, shape, monkeypatch):
    """By the size that the archive declares, before anything of it is unpacked."""
    monkeypatch.setattr(archive, "_LARGEST_MEMBER", 1000)
    path = publish(tmp_path, {"data/a.txt": "x" * 1000, "data/b.txt": "x" * 1001}, shape)
    with open_source(path) as files:
        with files[0].lines() as lines:
            assert len(list(lines)) == 1
        with pytest.raises(InputError, match="b.txt unpacks to 1,001 bytes"), files[1].lines():
            pytest.fail("it was opened")


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "folder"])
def test_a_line_without_end_is_refused_where_lines_are_examples(tmp_path, shape, monkeypatch):
    monkeypatch.setattr(archive, "LONGEST_JSON_LINE", 1_000_000)
    line = "x" * 1_000_001
    path = publish(tmp_path, {"data/a.json": line, "data/b.jsonl": line}, shape)
    with open_source(path) as (document, rows):
        with document.lines() as lines:
            assert len(list(lines)) == 1
        with rows.lines() as lines, pytest.raises(InputError, match="b.jsonl, line 1: .* 1 MB"):
            list(lines)


def test_a_loop_of_links_ends(tmp_path):
    folder = publish(tmp_path, FILES)
    (folder / "itself").symlink_to(folder / "itself")
    (folder / "above").symlink_to(folder, target_is_directory=True)
    assert len(contents(folder)) == 2
    with pytest.raises(InputError, match="itself does not exist"), open_source(folder / "itself"):
        pass
