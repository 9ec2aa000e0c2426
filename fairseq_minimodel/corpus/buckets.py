"""The documents of a corpus, distributed over files by their keys: an external bucket sort.

A document's key is the hash of the seed and its clean text; the top of the key names its bucket.
Buckets in order, each sorted when it is loaded, are the corpus in the order of the keys.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..files.text import LONGEST_LINE, TextFile, read_raw_documents
from ..terminal.progress import Progress
from .cleaning import KEY_BYTES, Cleaner
from .options import PrepareOptions
from .workers import bounded_map, worker_pool

BUCKET_BYTES = 32_000_000
SMALL_BUCKET_BYTES = 1_000_000  # while there are few buckets, smaller ones keep all cores busy
FEW_BUCKETS, MOST_BUCKETS = 64, 4096
LARGE_DOCUMENT = 100_000  # bytes; few articles have so many, and text without blank lines has
# Which some scripts write with.
JOINERS = {"\u200c": "zero-width non-joiners", "\u200d": "zero-width joiners"}
# Guessed from the name; a wrong guess only changes the sizes of buckets.
_EXPANSION = {".gz": 4, ".xz": 6, ".zst": 5, ".bz2": 6}
_BATCH_BYTES = 1_000_000  # of raw documents, the unit of work of a cleaning task
_WRITE_BUFFER_BYTES = 32_000_000  # of all buckets together

_RECORD = np.dtype([("high", ">u8"), ("low", ">u8"), ("bytes", "<u4")])


def distribute(
    sources: Sequence[Path], folder: Path, options: PrepareOptions, workers: int
) -> dict[str, Any]:
    """Clean all documents into buckets.

    Returns:
        the number of buckets, input digests, and counts of documents and of each of `JOINERS`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    total = sum(path.stat().st_size for path in sources)
    number = _bucket_number(sources, options)
    buffers = [(bytearray(), bytearray()) for _ in range(number)]
    inputs: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    buffered = 0
    with Progress("reading", total) as progress, worker_pool(workers) as pool:
        batches = _batches(sources, options, number, inputs, progress)
        for batch in bounded_map(pool, _clean_batch, batches, 3 * workers):
            counts += batch.counts
            for bucket, (records, texts) in batch.buckets.items():
                buffers[bucket][0].extend(records)
                buffers[bucket][1].extend(texts)
                buffered += len(records) + len(texts)
            if buffered > _WRITE_BUFFER_BYTES:
                _append(folder, buffers)
                buffered = 0
        _append(folder, buffers)
    return {
        "buckets": number,
        "documents": counts["documents"],
        "too_short": counts["too short"],
        "joiners": {joiner: counts[joiner] for joiner in JOINERS},
        "inputs": sorted(inputs, key=lambda entry: sorted(entry.items())),
    }


def _bucket_number(sources: Sequence[Path], options: PrepareOptions) -> int:
    size = sum(path.stat().st_size * _EXPANSION.get(path.suffix, 1) for path in sources)
    number = max(min(size // SMALL_BUCKET_BYTES, FEW_BUCKETS), size // BUCKET_BYTES)
    return min(max(number, options.shards or 1), MOST_BUCKETS)


class _CleanBatch(NamedTuple):
    counts: Counter[str]  # of documents, of too short ones, and of each of `JOINERS`
    buckets: dict[int, tuple[bytearray, bytearray]]  # records (of `_RECORD`) and texts, joined


def _batches(
    sources: Sequence[Path],
    options: PrepareOptions,
    buckets: int,
    inputs: list[dict[str, Any]],
    progress: Progress,
) -> Iterator[tuple[Path, bool, list[tuple[int, bytes]], PrepareOptions, int]]:
    """Yield the arguments of `_clean_batch` for all text; note each finished file in `inputs`."""
    for path in sources:
        with TextFile(path) as file:
            json_lines = is_json_lines(file, options)
            batch, size, position = [], 0, 0
            for line, document in read_raw_documents(file, options.document_per_line, json_lines):
                batch.append((line, document))
                size += len(document)
                if size > _BATCH_BYTES:
                    yield path, json_lines, batch, options, buckets
                    progress.update(file.position - position)
                    batch, size, position = [], 0, file.position
            if batch:
                yield path, json_lines, batch, options, buckets
            progress.update(file.position - position)
            if file.cuts:
                print(
                    f"warning: {path} has lines of more than {LONGEST_LINE // 1_000_000} MB, which "
                    f"were cut in {file.cuts:,} places; is it text?",
                    flush=True,
                )
            inputs.append({"name": path.name, "bytes": file.position, "blake2b": file.digest})


def is_json_lines(file: TextFile, options: PrepareOptions) -> bool:
    """Whether a file is read as JSON Lines."""
    return {"plain": False, "jsonl": True}.get(options.text_format, file.is_json_lines)


def _clean_batch(
    path: Path,
    json_lines: bool,
    raw_documents: list[tuple[int, bytes]],
    options: PrepareOptions,
    bucket_number: int,
) -> _CleanBatch:
    """Clean documents, each given as (number of its first line, bytes), and assign buckets."""
    cleaner = _cleaner(options)
    counts: Counter[str] = Counter()
    buckets: dict[int, tuple[bytearray, bytearray]] = {}
    for line, raw in raw_documents:
        for text in cleaner.texts(raw, json_lines, path, line):
            counts["documents"] += 1
            if len(text) < options.min_characters:
                counts["too short"] += 1
                continue
            for joiner in JOINERS:
                counts[joiner] += text.count(joiner)
            data = text.encode("utf-8")
            key = cleaner.key(data)
            # The top 64 bits of the key, scaled to the number of buckets: monotone in the key.
            bucket = int.from_bytes(key[:8], "big") * bucket_number >> 64
            records, texts = buckets.setdefault(bucket, (bytearray(), bytearray()))
            records += key
            records += len(data).to_bytes(_RECORD.itemsize - KEY_BYTES, "little")
            texts += data
    return _CleanBatch(counts, buckets)


@lru_cache(maxsize=1)
def _cleaner(options: PrepareOptions) -> Cleaner:
    return Cleaner(options)


def _append(folder: Path, buffers: list[tuple[bytearray, bytearray]]) -> None:
    for bucket, pair in enumerate(buffers):
        for suffix, buffer in zip(("records", "texts"), pair, strict=True):
            with open(folder / f"{bucket:04d}.{suffix}", "ab") as file:
                file.write(buffer)
            buffer.clear()


class Bucket:
    """The documents of one bucket in the order of their keys, without repeated ones."""

    def __init__(self, folder: Path, number: int) -> None:
        records = np.fromfile(folder / f"{number:04d}.records", _RECORD)
        high, low = records["high"].astype("<u8"), records["low"].astype("<u8")
        order = np.lexsort((low, high))
        high, low = high[order], low[order]
        new = np.ones(len(order), bool)
        new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        ends = np.cumsum(records["bytes"], dtype=np.int64)
        self.ends = ends[order[new]]  # (documents,)
        self.sizes = records["bytes"].astype(np.int64)[order[new]]  # (documents,) in bytes
        self._path = folder / f"{number:04d}.texts"

    def texts(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the clean texts of documents `start` to `stop`."""
        if start >= stop:
            return
        # Mapped, not read: pages of a bucket larger than planned can leave memory again.
        data = np.memmap(self._path, np.uint8, "r")
        for end, size in zip(self.ends[start:stop], self.sizes[start:stop], strict=True):
            yield data[end - size : end].tobytes()


class BucketSize(NamedTuple):
    """What a bucket holds."""

    documents: int
    bytes: int
    large: int  # bytes in documents of more than `LARGE_DOCUMENT`


def bucket_size(folder: Path, number: int) -> BucketSize:
    sizes = Bucket(folder, number).sizes
    return BucketSize(len(sizes), int(sizes.sum()), int(sizes[sizes > LARGE_DOCUMENT].sum()))
