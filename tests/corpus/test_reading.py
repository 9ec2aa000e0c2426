"""Reading: formats, limits, and damaged files."""

import gzip
import io
import lzma
import random

import pytest
import zstandard

from fairseq_minimodel.corpus import reading
from fairseq_minimodel.corpus.reading import TextFile, cut_position, decode, read_raw_documents
from fairseq_minimodel.errors import InputError

COMPRESS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def documents(path, document_per_line=False):
    with TextFile(path) as file:
        return list(read_raw_documents(file, document_per_line))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_every_compression_gives_the_same_documents(tmp_path, suffix):
    text = "\ufeffeins\nzwei\n\n \t\nvierß\r\n\r\nfünf".encode()
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](text))
    assert documents(path) == [
        (1, b"eins\nzwei\n"),
        (5, "vierß\r\n".encode()),
        (7, "fünf".encode()),
    ]
    lines = [line.strip() for _, line in documents(path, document_per_line=True)]
    assert lines == [b"eins", b"zwei", "vierß".encode(), "fünf".encode()]


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_several_compressed_streams_in_one_file_are_one_text(tmp_path, suffix):
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](b"one\n\ntw") + COMPRESS[suffix](b"o\n"))
    assert [document for _, document in documents(path)] == [b"one\n", b"two\n"]


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_damaged_compression_is_named(tmp_path, suffix, damage):
    whole = COMPRESS[suffix](random.Random(1).randbytes(50_000).hex().encode())
    middle = len(whole) // 2
    damaged = whole[:middle]
    if damage == "noise":
        damaged += random.Random(2).randbytes(len(whole) - middle)
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=f"text.txt{suffix}.*damaged or cut off"):
        documents(path)


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(InputError, match=f"Cannot read {path}"):
            TextFile(path)


def test_broken_utf8_names_the_line():
    with pytest.raises(InputError, match=r"x.txt, line 12: not UTF-8 \(byte 0xff\)"):
        decode(b"one\ntwo\n\xff\n", "x.txt", 10)


def test_a_large_document_is_cut_at_a_line_end(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LARGEST_DOCUMENT", 100)
    lines = [b"%d " % n + b"x" * 30 + b"\n" for n in range(10)]
    (tmp_path / "text.txt").write_bytes(b"".join(lines))
    parts = documents(tmp_path / "text.txt")
    assert b"".join(part for _, part in parts) == b"".join(lines)
    assert [number for number, _ in parts] == [1, 4, 7, 10]
    assert all(len(part) <= 100 for _, part in parts)


@pytest.mark.parametrize("word", ["wörter ", "ß", "字", "𝔘"])
def test_a_line_without_end_is_cut_between_words_or_characters(tmp_path, word):
    text = word * 1000
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    with TextFile(tmp_path / "text.txt") as file:
        parts = list(file.lines(longest=101))
    assert {number for number, _ in parts} == {1}
    assert all(len(part) <= 101 for _, part in parts)
    decoded = [part.decode("utf-8").removesuffix("\n") for _, part in parts]
    assert "".join(decoded) == text
    if " " in word:
        assert all(part.endswith(" ") for part in decoded)


def test_a_json_line_is_never_cut(tmp_path):
    (tmp_path / "text.jsonl").write_text('{"text": "' + "x" * 100 + '"}')
    too_long = pytest.raises(InputError, match="text.jsonl, line 1: the line is longer")
    with TextFile(tmp_path / "text.jsonl") as file, too_long:
        list(file.lines(longest=50, cut=False))


def test_cut_position_prefers_lines_to_words():
    assert cut_position(b"aaaa\nbb cc", 9) == 5
    assert cut_position(b"aaaa bb cc", 9) == 8
    assert cut_position("aaaß".encode(), 4) == 3


def test_position_and_digest_are_of_the_stored_file(tmp_path):
    from hashlib import blake2b

    data = gzip.compress(b"text\n" * 1000) + b"\0" * 100  # padded, as tapes and archives do
    (tmp_path / "text.txt.gz").write_bytes(data)
    with TextFile(tmp_path / "text.txt.gz") as file:
        assert len(list(file.lines())) == 1000
        assert file.position == len(data)
        assert file.digest == blake2b(data, digest_size=16).hexdigest()


def test_reading_does_not_hold_the_file_in_memory(tmp_path):
    import tracemalloc

    with gzip.open(tmp_path / "text.txt.gz", "wb") as file:
        for _ in range(40):
            file.write((b"a word " * 142 + b"\n") * 1000 + b"\n")  # 40 MB in all
    tracemalloc.start()
    with TextFile(tmp_path / "text.txt.gz") as file:
        size = sum(len(document) for _, document in read_raw_documents(file, False))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 39_000_000
    assert peak < 10_000_000


def test_zstd_reader_reads_small_pieces():
    data = random.Random(1).randbytes(1000)
    reader = io.BufferedReader(reading._ZstdReader(io.BytesIO(COMPRESS[".zst"](data))), 16)
    assert b"".join(iter(lambda: reader.read(7), b"")) == data
