"""From raw text to fairseq's shards: clean, shuffle, drop duplicates, train a vocabulary, encode.

The corpus never stands in memory. Every document gets a key, the hash of the seed and its clean
text; the order of the keys is the order of the corpus. The work is an external bucket sort:

1. distribute: read and clean the documents and append each to the bucket that the top of its key
   names. Buckets are files small enough to be loaded one at a time.
2. vocabulary: train SentencePiece on the first documents of the training part.
3. encode: load a bucket, sort it, drop repeated keys, encode it. One bucket is one task.
4. assemble: join the encoded buckets to shards and write dict.txt with counts.

Nothing in the output depends on the order of the files, on the number of workers or on being
interrupted: a stage that was finished is not done again, any other one starts anew.
"""

import errno
import fcntl
import json
import mmap
import os
import shutil
import signal
import threading
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from glob import escape
from hashlib import blake2b
from importlib.metadata import version
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..atomic import atomic_file, atomic_folder
from ..errors import InputError
from .cleaning import KEY_BYTES, Cleaner
from .indexed import IndexedDatasetWriter, token_type
from .options import PrepareOptions
from .progress import Progress
from .reading import TextFile, read_raw_documents
from .vocabulary import (
    EOS,
    SPECIAL_SYMBOLS,
    UNK,
    Vocabulary,
    dictionary_pieces,
    load_sentencepiece,
    train_sentencepiece,
    write_dictionary,
    write_sample,
)

MODEL_NAME = "sentencepiece.bpe.model"  # the name fairseq and its published models use
RECORD_NAME = "prepare.json"
SPLITS = ("train", "valid")

BUCKET_BYTES = 32_000_000
SMALL_BUCKET_BYTES = 1_000_000  # while there are few buckets, smaller ones keep all cores busy
FEW_BUCKETS, MOST_BUCKETS = 64, 4096
SHARD_BYTES = 4_000_000_000
_EXPANSION = {".gz": 4, ".xz": 6, ".zst": 5}  # guessed; a wrong guess only changes bucket sizes

_BATCH_BYTES = 1_000_000  # of raw documents, the unit of work of a cleaning task
_WRITE_BUFFER_BYTES = 32_000_000  # of all buckets together
_ENCODE_BYTES = 500_000  # of text encoded at a time: a list of Python ints is 20 times as large
_COPY_ITEMS = 1 << 13

_RECORD = np.dtype([("high", ">u8"), ("low", ">u8"), ("bytes", "<u4")])


def prepare(
    text: Sequence[str | Path],
    output: str | Path,
    workers: int | None = None,
    sentencepiece_model: str | Path | None = None,
    dictionary: str | Path | None = None,
    **options: Any,
) -> None:
    """Write fairseq's training and validation data for the given text files to a folder.

    Args:
        text: plain text or JSON Lines (`.jsonl`), each perhaps compressed (`.gz`, `.xz`, `.zst`).
        output: the folder to make. Work files stand beside it, in a folder `.NAME.work`.
        workers: processes (default: one a core).
        sentencepiece_model: use this model instead of training one.
        dictionary: use this dict.txt with the model instead of making one.
        options: fields of `PrepareOptions`.

    Raises:
        InputError: bad options or files, or `output` holds something else.
    """
    run = _Run(
        sources=sorted({Path(path).resolve() for path in text}),
        output=Path(output).resolve(),
        workers=_usable_cores() if workers is None else workers,
        given_model=None if sentencepiece_model is None else Path(sentencepiece_model),
        given_dictionary=None if dictionary is None else Path(dictionary),
        options=PrepareOptions(**options),
    )
    if run.workers < 1:
        raise InputError(f"--workers is {run.workers}, but it must be at least 1.")
    if run.given_dictionary is not None and run.given_model is None:
        raise InputError("--dict is given without --sentencepiece-model; give both.")
    for path in run.sources:
        with TextFile(path):  # a missing file shall be known before hours of work
            pass
    if run.given_model is not None:
        load_sentencepiece(run.given_model)
        if run.given_dictionary is not None:
            Vocabulary(run.given_model, run.given_dictionary)
    try:
        run.work.mkdir(parents=True, exist_ok=True)
        lock = open(run.work / "lock", "w")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"Cannot write to {run.output.parent}: {error.strerror}.") from None
    with lock:
        try:  # a POSIX lock: the kernel frees it with the process, and workers do not inherit it
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"Another process is preparing {run.output}; wait for it or give another --output."
            ) from None
        try:
            if _is_finished(run):
                print(f"{run.output} is prepared from these files and options: nothing to do.")
            else:
                _run_stages(run)
        except BrokenProcessPool:
            raise InputError(
                "A worker process was killed, perhaps for want of memory; run the same command "
                "again, with fewer --workers: it goes on where it stopped."
            ) from None
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise InputError(
                f"The disk that holds {run.output.parent} is full; free some of it and run the "
                "same command again: it goes on where it stopped."
            ) from None
        except InputError:
            shutil.rmtree(run.work)
            raise
        shutil.rmtree(run.work)


@dataclass(frozen=True)
class _Run:
    """One call of `prepare`."""

    sources: list[Path]
    output: Path
    workers: int
    given_model: Path | None
    given_dictionary: Path | None
    options: PrepareOptions

    @property
    def work(self) -> Path:
        return self.output.with_name(f".{self.output.name}.work")

    def settings(self) -> dict[str, Any]:
        """Everything but the text that decides the output."""
        versions = {"sentencepiece": version("sentencepiece")}
        if self.options.moses_punctuation is not None:
            versions["sacremoses"] = version("sacremoses")
        if self.options.unicode_normalisation != "none":
            versions["unicode"] = unicodedata.unidata_version
        return {
            "options": asdict(self.options),
            "sentencepiece_model": self.given_model and _digest(self.given_model),
            "dictionary": self.given_dictionary and _digest(self.given_dictionary),
            "versions": versions,
        }


def _run_stages(run: _Run) -> None:
    started = time.monotonic()
    for leftover in run.output.parent.glob(f".{escape(run.output.name)}.*.partial"):
        shutil.rmtree(leftover)  # of a run that was killed while it assembled
    _forget_other_work(run)
    summary = _once(run.work / "distributed.json", lambda: _distribute(run))
    buckets = _plan(run, summary)
    model_path, dictionary_path = _vocabulary(run, buckets)
    dtype = _encode(run, buckets, model_path, dictionary_path)
    counts = _assemble(run, buckets, summary, model_path, dictionary_path, dtype)
    _report(run, counts, time.monotonic() - started)


def _forget_other_work(run: _Run) -> None:
    """Keep the work of an earlier, interrupted run only if its text and settings were the same."""
    stats = [(str(path), path.stat()) for path in run.sources]
    text = [[name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in stats]
    fingerprint = json.dumps([text, run.settings()])
    path = run.work / "fingerprint.json"
    if path.exists() and path.read_text() == fingerprint:
        print("going on with an interrupted run")
        return
    for old in run.work.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name != "lock":
            old.unlink()
    with atomic_file(path) as temporary:
        temporary.write_text(fingerprint)


def _once(path: Path, stage: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of a stage: read from `path` if the stage was finished, else worked out."""
    if not path.exists():
        result = stage()
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(result))
    return json.loads(path.read_text())


# ---------------------------------------------------------------- 1. distribute


def _distribute(run: _Run) -> dict[str, Any]:
    """Clean all documents into buckets. Returns the number of buckets, counts and input digests."""
    folder = run.work / "buckets"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    total = sum(path.stat().st_size for path in run.sources)
    number = _bucket_number(run)
    buffers = [(bytearray(), bytearray()) for _ in range(number)]
    inputs: list[dict[str, Any]] = []
    documents = too_short = buffered = 0
    with Progress("reading", total) as progress, _pool(run.workers) as pool:
        batches = _batches(run, inputs, progress)
        for batch in _bounded_map(pool, _clean_batch, batches, 3 * run.workers):
            documents += batch.documents
            too_short += batch.too_short
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
        "documents": documents,
        "too_short": too_short,
        "inputs": sorted(inputs, key=lambda entry: sorted(entry.items())),
    }


def _bucket_number(run: _Run) -> int:
    size = sum(path.stat().st_size * _EXPANSION.get(path.suffix, 1) for path in run.sources)
    number = max(min(size // SMALL_BUCKET_BYTES, FEW_BUCKETS), size // BUCKET_BYTES)
    return min(max(number, run.options.shards or 1), MOST_BUCKETS)


class _CleanBatch(NamedTuple):
    documents: int
    too_short: int
    buckets: dict[int, tuple[bytearray, bytearray]]  # records (of `_RECORD`) and texts, joined


def _batches(
    run: _Run, inputs: list[dict[str, Any]], progress: Progress
) -> Iterator[tuple[Path, list[tuple[int, bytes]], PrepareOptions, int]]:
    """Yield the arguments of `_clean_batch` for all text; note each finished file in `inputs`."""
    buckets = _bucket_number(run)
    for path in run.sources:
        with TextFile(path) as file:
            batch, size, position = [], 0, 0
            for line, document in read_raw_documents(file, run.options.document_per_line):
                batch.append((line, document))
                size += len(document)
                if size > _BATCH_BYTES:
                    yield path, batch, run.options, buckets
                    progress.update(file.position - position)
                    batch, size, position = [], 0, file.position
            if batch:
                yield path, batch, run.options, buckets
            progress.update(file.position - position)
            inputs.append({"name": path.name, "bytes": file.position, "blake2b": file.digest})


def _clean_batch(
    path: Path, raw_documents: list[tuple[int, bytes]], options: PrepareOptions, bucket_number: int
) -> _CleanBatch:
    """Clean documents, each given as (number of its first line, bytes), and assign buckets."""
    cleaner = _cleaner(options)
    documents = too_short = 0
    buckets: dict[int, tuple[bytearray, bytearray]] = {}
    for line, raw in raw_documents:
        for text in cleaner.texts(raw, path, line):
            documents += 1
            if len(text) < options.min_characters:
                too_short += 1
                continue
            data = text.encode("utf-8")
            key = cleaner.key(data)
            # The top 64 bits of the key, scaled to the number of buckets: monotone in the key.
            bucket = int.from_bytes(key[:8], "big") * bucket_number >> 64
            records, texts = buckets.setdefault(bucket, (bytearray(), bytearray()))
            records += key
            records += len(data).to_bytes(_RECORD.itemsize - KEY_BYTES, "little")
            texts += data
    return _CleanBatch(documents, too_short, buckets)


@lru_cache(maxsize=1)
def _cleaner(options: PrepareOptions) -> Cleaner:
    return Cleaner(options)


def _append(folder: Path, buffers: list[tuple[bytearray, bytearray]]) -> None:
    for bucket, pair in enumerate(buffers):
        for suffix, buffer in zip(("records", "texts"), pair, strict=True):
            with open(folder / f"{bucket:04d}.{suffix}", "ab") as file:
                file.write(buffer)
            buffer.clear()


class _Bucket:
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
        with (
            open(self._path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            for end, size in zip(
                self.ends[start:stop].tolist(), self.sizes[start:stop].tolist(), strict=True
            ):
                yield data[end - size : end]


# ---------------------------------------------------------------- the plan: splits and shards


class _BucketPlan(NamedTuple):
    number: int
    documents: int
    valid: int  # this many documents, the first ones, belong to the validation split
    bytes: int
    shard: int


def _plan(run: _Run, summary: dict[str, Any]) -> list[_BucketPlan]:
    """Decide which documents are for validation and which bucket goes to which shard."""
    folder, options = run.work / "buckets", run.options
    with _pool(run.workers) as pool:
        tasks = ((folder, number) for number in range(summary["buckets"]))
        sizes = list(_bounded_map(pool, _bucket_size, tasks, 3 * run.workers))
    documents, text_bytes = (sum(column) for column in zip(*sizes, strict=True))
    kept = summary["documents"] - summary["too_short"]
    if documents < 2:
        raise InputError(
            f"The text holds {summary['documents']} documents, of which {documents} remain when "
            f"{summary['too_short']} too short ones (--min-characters {options.min_characters}) "
            f"and {kept - documents} duplicates are dropped, but at least 2 are needed (one to "
            "train, one to validate); give more text, or one document a line with "
            "--document-per-line."
        )
    wanted = min(max(int(documents * options.valid_fraction), 1), documents - 1)
    valid = _valid_documents(folder, wanted, options.valid_megabytes * 1e6, len(sizes))
    shards = options.shards or min(-(-text_bytes // SHARD_BYTES), len(sizes))
    plan = [
        _BucketPlan(number, count, valid[number], size, number * shards // len(sizes))
        for number, (count, size) in enumerate(sizes)
    ]
    trained = [0] * shards
    for bucket in plan:
        trained[bucket.shard] += bucket.documents - bucket.valid
    if 0 in trained:
        raise InputError(
            f"--shards is {shards}, but the {documents} documents are too few: shard "
            f"{trained.index(0)} would be empty; give fewer shards."
        )
    return plan


def _valid_documents(folder: Path, wanted: int, most_bytes: float, buckets: int) -> list[int]:
    """How many documents of each bucket are for validation: the first `wanted` ones of the corpus
    that hold no more than `most_bytes` together, but at least one."""
    valid, taken, taken_bytes = [0] * buckets, 0, 0
    for number in range(buckets):
        ends = taken_bytes + np.cumsum(_Bucket(folder, number).sizes[: wanted - taken])
        fitting = int(np.searchsorted(ends, most_bytes, side="right"))
        if taken == 0 and len(ends):
            fitting = max(fitting, 1)
        if fitting:
            valid[number], taken, taken_bytes = fitting, taken + fitting, int(ends[fitting - 1])
        if taken == wanted or fitting < len(ends):
            break
    return valid


def _bucket_size(folder: Path, number: int) -> tuple[int, int]:
    bucket = _Bucket(folder, number)
    return len(bucket.sizes), int(bucket.sizes.sum())


# ---------------------------------------------------------------- 2. vocabulary


def _vocabulary(run: _Run, buckets: list[_BucketPlan]) -> tuple[Path, Path]:
    """Paths of the SentencePiece model and of the dict.txt (without counts unless it is given)."""
    model, dictionary = run.work / MODEL_NAME, run.work / "dict.txt"
    if not model.exists():
        if run.given_model is not None:
            with atomic_file(model) as temporary:
                shutil.copyfile(run.given_model, temporary)
        else:
            _train_vocabulary(run, buckets, model)
    with atomic_file(dictionary) as temporary:
        if run.given_dictionary is not None:
            shutil.copyfile(run.given_dictionary, temporary)
        else:
            symbols = [piece for piece, _ in dictionary_pieces(load_sentencepiece(model))]
            write_dictionary(temporary, symbols, [0] * len(symbols))
    return model, dictionary


def _train_vocabulary(run: _Run, buckets: list[_BucketPlan], model: Path) -> None:
    sample = run.work / "sample.txt"
    texts = (
        text
        for plan in buckets
        for text in _Bucket(run.work / "buckets", plan.number).texts(plan.valid, plan.documents)
    )
    size = write_sample(texts, sample, run.options.vocabulary_sample_megabytes * 1e6)
    print(f"training the vocabulary on {size / 1e6:,.1f} MB of text", flush=True)
    options = run.options
    proto, messages = train_sentencepiece(
        sample, options.vocabulary_size, options.character_coverage
    )
    for message in messages:
        print(message, flush=True)
    with atomic_file(model) as temporary:
        temporary.write_bytes(proto)
    sample.unlink()


# ---------------------------------------------------------------- 3. encode


def _encode(run: _Run, buckets: list[_BucketPlan], model: Path, dictionary: Path) -> np.dtype:
    """Encode every bucket that is not yet encoded. Returns the type of the tokens."""
    folder = run.work / "encoded"
    folder.mkdir(exist_ok=True)
    dtype = token_type(len(Vocabulary(model, dictionary)))
    tasks = (
        (run.work, plan, model, dictionary, dtype, run.options.max_line_tokens) for plan in buckets
    )
    total = sum(plan.bytes for plan in buckets)
    with Progress("encoding", total) as progress, _pool(run.workers) as pool:
        for size in _bounded_map(pool, _encode_bucket, tasks, 2 * run.workers):
            progress.update(size)
    return dtype


def _encode_bucket(
    work: Path, plan: _BucketPlan, model: Path, dictionary: Path, dtype: np.dtype, longest: int
) -> int:
    """Write the tokens and item sizes of a bucket's two splits. Returns the bytes of its text."""
    paths = {split: work / "encoded" / f"{plan.number:04d}.{split}" for split in SPLITS}
    missing = [split for split in SPLITS if not Path(f"{paths[split]}.tokens").exists()]
    bucket = _Bucket(work / "buckets", plan.number) if missing else None
    for split in missing:
        start, stop = (0, plan.valid) if split == "valid" else (plan.valid, plan.documents)
        # The tokens are renamed last: where they stand, the sizes do, too.
        with (
            atomic_file(f"{paths[split]}.tokens") as tokens_path,
            atomic_file(f"{paths[split]}.sizes") as sizes_path,
            open(tokens_path, "wb") as tokens_file,
            open(sizes_path, "wb") as sizes_file,
        ):
            for lines in _line_batches(bucket.texts(start, stop)):
                tokens, sizes = encode_lines(_loaded(model, dictionary), lines, longest)
                tokens_file.write(tokens.astype(dtype))
                sizes_file.write(sizes.astype("<i4"))
    return plan.bytes


@lru_cache(maxsize=1)
def _loaded(model: Path, dictionary: Path) -> Vocabulary:
    return Vocabulary(model, dictionary)


def _line_batches(texts: Iterable[bytes]) -> Iterator[list[str]]:
    """Join documents to lists of lines, with an empty line after each document."""
    lines, size = [], 0
    for text in texts:
        lines += text.decode("utf-8").split("\n")
        lines.append("")
        size += len(text)
        if size > _ENCODE_BYTES:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


def encode_lines(
    vocabulary: Vocabulary, lines: list[str], longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Encode lines to items that end in </s>, as fairseq-preprocess does.

    An empty line becomes the item [</s>], which fairseq's `--sample-break-mode complete_doc` takes
    for the end of a document. A line of which nothing is left after SentencePiece's normalisation
    is dropped, so that it is not taken for one. A line of more than `longest` tokens becomes
    several items.

    Returns:
        tokens (sum of sizes,) and sizes (items,), both int64, </s> included.
    """
    ids, sizes = vocabulary.encode_flat(lines)
    empty = np.fromiter((not line for line in lines), bool, len(lines))
    sizes = sizes[empty | (sizes > 0)]
    parts = np.maximum(-(-sizes // longest), 1)
    last = np.cumsum(parts) - 1
    item_sizes = np.full(int(parts.sum()), longest)
    item_sizes[last] = sizes - (parts - 1) * longest
    ends = np.cumsum(item_sizes + 1)
    tokens = np.empty(len(ids) + len(item_sizes), np.int64)
    is_token = np.ones(len(tokens), bool)
    is_token[ends - 1] = False
    tokens[is_token] = ids
    tokens[ends - 1] = EOS
    return tokens, item_sizes + 1


# ---------------------------------------------------------------- 4. assemble


def _assemble(
    run: _Run,
    buckets: list[_BucketPlan],
    summary: dict[str, Any],
    model_path: Path,
    dictionary_path: Path,
    dtype: np.dtype,
) -> dict[str, Any]:
    """Join the encoded buckets to shards in the output folder. Returns what prepare.json holds."""
    symbols = Vocabulary(model_path, dictionary_path).symbols
    encoded, shards = run.work / "encoded", buckets[-1].shard + 1
    valid = sum(bucket.valid for bucket in buckets)
    kept = sum(bucket.documents for bucket in buckets)
    splits = {
        split: _SplitCounts(documents, np.zeros(len(symbols), np.int64))
        for split, documents in (("train", kept - valid), ("valid", valid))
    }
    total = sum(path.stat().st_size for path in encoded.glob("*.tokens"))
    with atomic_folder(run.output) as output, Progress("writing", total) as progress:
        folders = _shard_folders(output, shards)
        for number, folder in enumerate(folders):
            folder.mkdir(exist_ok=True)
            pieces = [encoded / f"{b.number:04d}.train" for b in buckets if b.shard == number]
            _join(pieces, folder / "train", dtype, splits["train"], progress)
        pieces = [encoded / f"{bucket.number:04d}.valid" for bucket in buckets]
        # fairseq reads validation data from the first shard alone.
        _join(pieces, folders[0] / "valid", dtype, splits["valid"], progress)
        for folder in {output, *folders}:  # every shard is a whole data folder
            shutil.copyfile(model_path, folder / MODEL_NAME)
            if run.given_dictionary is not None:
                shutil.copyfile(dictionary_path, folder / "dict.txt")
            else:
                first = len(SPECIAL_SYMBOLS)
                counts = splits["train"].ids[first:].tolist()
                write_dictionary(folder / "dict.txt", symbols[first:], counts)
        record = {
            **run.settings(),
            "inputs": summary["inputs"],
            "counts": {
                "documents": summary["documents"],
                "too_short": summary["too_short"],
                "duplicates": summary["documents"] - summary["too_short"] - kept,
                "text_bytes": sum(bucket.bytes for bucket in buckets),
                "vocabulary": len(symbols),
                **{split: splits[split].as_dict() for split in SPLITS},
            },
            "shards": shards,
            "files": {
                str(path.relative_to(output)): path.stat().st_size
                for path in sorted(output.rglob("*"))
                if path.is_file()
            },
        }
        (output / RECORD_NAME).write_text(json.dumps(record, indent=2) + "\n")
    return record


@dataclass
class _SplitCounts:
    """What a split holds. `items` are those of the binary data, without the document separators;
    `ids` (vocabulary,) counts each token."""

    documents: int
    ids: np.ndarray
    items: int = 0

    def as_dict(self) -> dict[str, Any]:
        pieces = int(self.ids.sum() - self.ids[EOS])
        return {
            "documents": self.documents,
            "items": self.items,
            "tokens": int(self.ids.sum()),
            "unknown_share": round(int(self.ids[UNK]) / max(pieces, 1), 8),
        }


def _shard_folders(output: Path, shards: int) -> list[Path]:
    """The folders that fairseq-train is given, joined by colons."""
    if shards == 1:
        return [output]
    return [output / f"shard{number:02d}" for number in range(shards)]


def _join(
    pieces: list[Path], prefix: Path, dtype: np.dtype, counts: _SplitCounts, progress: Progress
) -> None:
    """Join encoded buckets to one dataset of fairseq and add what it holds to `counts`."""
    with IndexedDatasetWriter(prefix, dtype) as writer:
        for piece in pieces:
            with open(f"{piece}.tokens", "rb") as tokens, open(f"{piece}.sizes", "rb") as sizes_of:
                while len(sizes := np.fromfile(sizes_of, "<i4", _COPY_ITEMS)):
                    ids = np.fromfile(tokens, dtype, int(sizes.sum(dtype=np.int64)))
                    writer.write(ids, sizes)
                    counts.ids += np.bincount(ids, minlength=len(counts.ids))
                    counts.items += int(np.count_nonzero(sizes > 1))
                    progress.update(ids.nbytes)
        writer.remove_last_token_item()  # separators stand between documents, not behind the last
        counts.ids[EOS] -= 1


def _is_finished(run: _Run) -> bool:
    """Whether the output is there already. Raises InputError if something else is."""
    if not run.output.exists() or (run.output.is_dir() and not any(run.output.iterdir())):
        return False
    mend = "remove it or give another --output"
    try:
        record = json.loads((run.output / RECORD_NAME).read_text())
        same_settings = all(record[key] == value for key, value in run.settings().items())
        inputs, files = record["inputs"], record["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{run.output} exists and holds no finished output of prepare; {mend}."
        ) from None
    if not same_settings:
        raise InputError(f"{run.output} was prepared with other options; {mend}.")
    if sorted(entry["bytes"] for entry in inputs) != sorted(p.stat().st_size for p in run.sources):
        raise InputError(f"{run.output} was prepared from other text; {mend}.")
    for name, size in files.items():
        path = run.output / name
        if not path.is_file() or path.stat().st_size != size:
            raise InputError(f"{path} is missing or was changed; {mend}.")
    digests = sorted(_digest(path) for path in run.sources)
    if digests != sorted(entry["blake2b"] for entry in inputs):
        raise InputError(f"{run.output} was prepared from other text; {mend}.")
    return True


def _report(run: _Run, record: dict[str, Any], seconds: float) -> None:
    counts = record["counts"]
    print(
        f"{counts['documents']:,} documents: {counts['too_short']:,} too short, "
        f"{counts['duplicates']:,} duplicates dropped"
    )
    for split in SPLITS:
        print(
            f"{split}: {counts[split]['documents']:,} documents, {counts[split]['items']:,} lines, "
            f"{counts[split]['tokens']:,} tokens, {counts[split]['unknown_share']:.4%} unknown"
        )
    megabytes = counts["text_bytes"] / 1e6
    print(
        f"vocabulary: {counts['vocabulary']:,} symbols; {megabytes:,.1f} MB of text "
        f"in {seconds:,.0f} s"
    )
    data = ":".join(map(str, _shard_folders(run.output, record["shards"])))
    print(f"data for fairseq-train: {data}", flush=True)


# ---------------------------------------------------------------- processes


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes for one stage. On an error, Ctrl-C included, they are ended at once.

    They are forked from this process, which has no other threads then (each stage has its own pool)
    and has not loaded torch when it is our command: that is light and safe.
    """
    others = set(active_children())
    pool = ProcessPoolExecutor(
        workers, get_context("fork"), initializer=_start_worker, initargs=(os.getpid(),)
    )
    try:
        yield pool
    except BaseException:
        for worker in set(active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent

    def end_with_parent() -> None:  # a worker whose parent was killed would wait for ever
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _bounded_map(
    pool: ProcessPoolExecutor,
    function: Callable[..., Any],
    tasks: Iterable[tuple[Any, ...]],
    most: int,
) -> Iterator[Any]:
    """Yield function(*task) in the order of the tasks, with at most `most` of them under way.
    Executor.map would take all tasks, that is all the text, into memory first."""
    waiting: deque[Future] = deque()
    for task in tasks:
        waiting.append(pool.submit(function, *task))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        digest = blake2b(digest_size=16)
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()
