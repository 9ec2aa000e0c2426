"""Reading: formats, limits, and damaged files."""

import bz2
import gzip
import io
import json
import lzma
import random
import tracemalloc

import pytest
import zstandard

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.files import text as reading
from fairseq_minimodel.files.rows import json_text
from fairseq_minimodel.files.text import (
    TextFile,
    cut_position,
    decode,
    read_raw_documents,
)

COMPRESS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
    ".bz2": bz2.compress,
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


@pytest.mark.parametrize("name", ["text", "text.txt", "text.gz", "text.xz", "text.zst", "text.bz2"])
@pytest.mark.parametrize("suffix", COMPRESS)
def test_compression_is_known_by_the_bytes_whatever_the_name(tmp_path, suffix, name):
    (tmp_path / name).write_bytes(COMPRESS[suffix]("eins\n\nzweiß\n".encode()))
    assert [document for _, document in documents(tmp_path / name)] == [
        b"eins\n",
        "zweiß\n".encode(),
    ]


def test_zstd_with_a_long_window_is_read(tmp_path):
    settings = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    data = stream.compress(b"one\n\ntwo\n" * 50_000) + stream.flush()
    assert zstandard.get_frame_parameters(data).window_size == 1 << 28
    (tmp_path / "text.zst").write_bytes(data)
    assert len(documents(tmp_path / "text.zst")) == 50_001


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst", ".bz2"])
def test_a_line_much_larger_than_its_compressed_file_is_read_in_parts(tmp_path, suffix):
    path = tmp_path / f"text{suffix}"
    path.write_bytes(COMPRESS[suffix](bytes(b"a" * 64_000_000)))
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    with TextFile(path) as file:
        size = sum(len(part) for _, part in file.lines())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 64_000_000 and file.cuts == size - 64_000_000  # each part has an end of its own
    assert peak < 48_000_000


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst", ".bz2"])
def test_several_compressed_streams_in_one_file_are_one_text(tmp_path, suffix):
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](b"one\n\ntw") + COMPRESS[suffix](b"o\n"))
    assert [document for _, document in documents(path)] == [b"one\n", b"two\n"]


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst", ".bz2"])
@pytest.mark.parametrize("damage", ["cut", "noise", "something behind"])
def test_damaged_compression_is_named(tmp_path, suffix, damage):
    whole = COMPRESS[suffix](random.Random(1).randbytes(50_000).hex().encode())
    middle = len(whole) // 2
    damaged = whole[:middle]
    if damage == "noise":
        damaged += random.Random(2).randbytes(len(whole) - middle)
    if damage == "something behind":
        damaged = whole + random.Random(2).randbytes(64)
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


def test_a_nul_names_the_line():
    with pytest.raises(InputError, match=r"x.txt, line 11: a NUL character"):
        decode(b"one\ntw\0o\n", "x.txt", 10)


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"text": 1}',
            "no text under the key 'text'; the keys of this line are 'text': .*--field",
        ),
        ('{"id": 1, "body": "x"}', "no text under the key 'text'; .*'id', 'body': .*--field"),
        ("{}", "the keys of this line are none"),
        ('["text"]', "JSON, but not an object"),
        ("text", "not JSON"),
        ('{"text": ' + DEEP + "}", "the JSON is nested too deeply"),
        ('{"text": "a", "n": ' + "9" * 5000 + "}", "not JSON .*digits"),
        (r'{"text": "a\u0000b"}', "NUL character"),
        (r'{"text": "a\ud800"}', "surrogate"),
        (json.dumps({"\x1b[2J" + "x" * 99: 1}), r"keys of this line are '\\x1b\[2Jx{36}':"),
    ],
)
def test_bad_json_names_the_line_and_the_keys(line, message):
    with pytest.raises(InputError, match=rf"^x.jsonl, line 7: .*{message}") as caught:
        json_text(line.encode(), "text", "x.jsonl", 7)
    assert len(str(caught.value)) < 300


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
