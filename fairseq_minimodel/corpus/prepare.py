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
import os
import shutil
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, TextIO

import numpy as np

from ..errors import InputError
from ..files.atomic import atomic_file, atomic_folder
from ..files.records import read_json
from ..files.refusals import cause_of
from ..files.text import TextFile, cut_position, refuse_structure
from ..terminal.progress import Progress, ProgressFile
from ..vocabulary.tokenizers import (
    EOS,
    SENTENCEPIECE_FILE,
    SPECIAL_SYMBOLS,
    UNK,
    Vocabulary,
    dictionary_pieces,
    load_tokenizer,
    tokenizer_file,
    train_sentencepiece,
    write_dictionary,
    write_sample,
)
from .buckets import (
    JOINERS,
    LARGE_DOCUMENT,
    Bucket,
    bucket_size,
    distribute,
    is_json_lines,
)
from .encode import SPLITS, BucketPlan, encode_bucket, split_texts
from .indexed import IndexedDatasetWriter, check_folder_name, token_type
from .options import PrepareOptions, sequence_length_of
from .record import AGAIN, RECORD_NAME
from .workers import bounded_map, usable_cores, worker_pool

LOCK = "lock"  # in the folder of work files

SHARD_BYTES = 4_000_000_000
_COPY_ITEMS = 1 << 13
_SMALLEST_DIVISION = 1000  # bytes; a document with fewer is not divided for validation


def prepare(
    text: Sequence[str | Path],
    output: str | Path,
    workers: int | None = None,
    sentencepiece_model: str | Path | None = None,
    dictionary: str | Path | None = None,
    max_line_tokens: int | None = None,
    **options: Any,
) -> None:
    """Write fairseq's training and validation data for the given text files to a folder.

    Args:
        text: plain text or JSON Lines, each perhaps compressed (gzip, xz, zstd, bzip2).
        output: the folder to make. Work files stand beside it, in a folder `.NAME.work`.
        workers: processes (default: one a core).
        sentencepiece_model: use this model instead of training one.
        dictionary: use this dict.txt with the model instead of making one.
        max_line_tokens: older name for `sequence_length`, less <s> and </s>.
        options: fields of `PrepareOptions`.

    Raises:
        InputError: bad options or files, or `output` holds something else.
    """
    run = _Run(
        sources=sorted(set(map(_resolved, text))),
        output=_resolved(output),
        workers=usable_cores() if workers is None else workers,
        given_model=None if sentencepiece_model is None else Path(sentencepiece_model),
        given_dictionary=None if dictionary is None else Path(dictionary),
        options=PrepareOptions(**sequence_length_of(options, max_line_tokens)),
    )
    if run.workers < 1:
        raise InputError(f"--workers is {run.workers}, but it must be at least 1.")
    if run.given_dictionary is not None and run.given_model is None:
        raise InputError("--dict is given without --sentencepiece-model; give both.")
    check_folder_name(run.output)
    for path in run.sources:  # what is wrong with a file shall be known before hours of work
        if path.is_fifo() or path.is_char_device():
            raise InputError(
                f"{path} is a pipe or a device, and prepare reads files more than once: write the "
                "text to a file first."
            )
        with TextFile(path) as file:
            _check_running_text(file, run.options)
    if run.given_model is not None:
        _check_given_vocabulary(run)
    with _open_work(run) as lock:
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
        except (OSError, InputError) as error:
            cause = cause_of(error)
            if cause is not None and cause.errno == errno.ENOSPC:
                raise InputError(
                    f"The disk that holds {run.output.parent} is full; free some of it and run the "
                    "same command again: it goes on where it stopped."
                ) from None
            if isinstance(error, InputError):
                _remove_work(run.work)
            raise
        _remove_work(run.work)


def _resolved(path: str | Path) -> Path:
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError):  # RuntimeError until Python 3.12
        raise InputError(f"{path} is a link that leads back to itself: name a file.") from None


def _remove_work(work: Path) -> None:
    """The lock file last: by it a run knows what an earlier one, killed meanwhile, has left."""
    for path in work.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
    (work / LOCK).unlink()
    work.rmdir()


def _check_running_text(file: TextFile, options: PrepareOptions) -> None:
    """Raise InputError if a file holds no running text: a table, markup, JSON of another form."""
    if options.text_format == "auto" and not file.is_json_lines:
        refuse_structure(file, "; if it is plain text all the same, give --text-format plain")


def _check_given_vocabulary(run: "_Run") -> None:
    load_tokenizer(run.given_model)
    if run.given_dictionary is not None:
        Vocabulary(run.given_model, run.given_dictionary)
    for name, default in (("normalisation_rule", "nmt_nfkc"), ("user_defined_symbols", ())):
        if getattr(run.options, name) != default:
            raise InputError(
                f"--{name.replace('_', '-')} is for a vocabulary that is trained here, but "
                f"--sentencepiece-model {run.given_model} has been: give one of the two."
            )


@contextmanager
def _open_work(run: "_Run") -> Iterator[TextIO]:
    """Make the folder of work files, or take one that an earlier run left; yield its lock file.

    Anybody knows what it is called, and all in it is removed at the end: so it must be a folder,
    not a link, that nobody else can write to and that has the lock file of an earlier run.
    """
    lock, no_link = run.work / LOCK, os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        run.work.parent.mkdir(parents=True, exist_ok=True)
        try:
            run.work.mkdir(mode=0o700)
        except FileExistsError:
            if not _is_left_over(run.work, lock):
                raise InputError(
                    f"{run.work} exists and is not what an interrupted run of prepare left there; "
                    "remove it or give another --output."
                ) from None
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | no_link, 0o600)
    except OSError as error:
        raise InputError(f"Cannot write to {run.output.parent}: {error.strerror}.") from None
    with os.fdopen(descriptor, "r+") as file:
        yield file


def _is_left_over(work: Path, lock: Path) -> bool:
    """Whether a folder is of a run of this user: nobody else's, and empty or with the lock file."""
    status = work.lstat()
    if not S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        return False
    return S_ISREG(lock.lstat().st_mode) if os.path.lexists(lock) else not any(work.iterdir())


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
        options = asdict(self.options)
        options["user_defined_symbols"] = list(self.options.user_defined_symbols)  # as JSON has it
        return {
            "options": options,
            "sentencepiece_model": self.given_model and _digest(self.given_model),
            "dictionary": self.given_dictionary and _digest(self.given_dictionary),
            "versions": versions,
        }


def _run_stages(run: _Run) -> None:
    started = time.monotonic()
    _forget_other_work(run)
    summary = _once(
        run.work / "distributed.json",
        lambda: distribute(run.sources, run.work / "buckets", run.options, run.workers),
    )
    buckets = _plan(run, summary)
    model_path, dictionary_path = _vocabulary(run, buckets)
    _warn_about_joiners(summary["joiners"], model_path)
    _warn_about_export(model_path)
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
        for unfinished in run.work.glob(".*.partial"):
            shutil.rmtree(unfinished) if unfinished.is_dir() else unfinished.unlink()
        return
    for old in run.work.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name != LOCK:
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


# ---- the plan: splits and shards


def _plan(run: _Run, summary: dict[str, Any]) -> list[BucketPlan]:
    """Decide which documents are for validation and which bucket goes to which shard."""
    folder, options = run.work / "buckets", run.options
    with worker_pool(run.workers) as pool:
        tasks = ((folder, number) for number in range(summary["buckets"]))
        sizes = list(bounded_map(pool, bucket_size, tasks, 3 * run.workers))
    documents, text_bytes, large = (sum(column) for column in zip(*sizes, strict=True))
    kept = summary["documents"] - summary["too_short"]
    if documents < 2:
        raise InputError(
            f"The text holds {summary['documents']} documents, of which {documents} remain when "
            f"{summary['too_short']} too short ones (--min-characters {options.min_characters}) "
            f"and {kept - documents} duplicates are dropped, but at least 2 are needed (one to "
            "train, one to validate); give more text, or one document a line with "
            "--document-per-line."
        )
    most_bytes = options.valid_megabytes * 1e6
    wanted = min(max(int(documents * options.valid_fraction), 1), documents - 1)
    valid, taken = _valid_documents(folder, wanted, most_bytes, len(sizes))
    wanted_bytes, split = min(text_bytes * options.valid_fraction, most_bytes), {}
    if not 0.5 * wanted_bytes <= taken <= 1.5 * wanted_bytes:
        valid, split = _valid_bytes(folder, wanted_bytes, len(sizes))
    if split or large > text_bytes / 2:
        _warn_about_large_documents(run, documents, large > text_bytes / 2, bool(split))
    shards = options.shards or min(-(-text_bytes // SHARD_BYTES), len(sizes))
    plan = [
        BucketPlan(
            number,
            size.documents,
            valid[number],
            split.get(number, 0),
            size.bytes,
            number * shards // len(sizes),
        )
        for number, size in enumerate(sizes)
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


def _valid_documents(
    folder: Path, wanted: int, most_bytes: float, buckets: int
) -> tuple[list[int], int]:
    """How many documents of each bucket are for validation, and their bytes: the first `wanted`
    ones of the corpus that hold no more than `most_bytes` together, but at least one."""
    valid, taken, taken_bytes = [0] * buckets, 0, 0
    for number in range(buckets):
        ends = taken_bytes + np.cumsum(Bucket(folder, number).sizes[: wanted - taken])
        fitting = int(np.searchsorted(ends, most_bytes, side="right"))
        if taken == 0 and len(ends):
            fitting = max(fitting, 1)
        if fitting:
            valid[number], taken, taken_bytes = fitting, taken + fitting, int(ends[fitting - 1])
        if taken == wanted or fitting < len(ends):
            break
    return valid, taken_bytes


def _valid_bytes(folder: Path, wanted: float, buckets: int) -> tuple[list[int], dict[int, int]]:
    """Which text is for validation where documents are too few, or too unequal, to count them: the
    first ones that hold `wanted` bytes at most.

    Where these are less than half of what is wanted, the document behind them is divided; but not
    a small one, which is taken as a whole if there would be nothing else.

    Returns:
        how many whole documents of each bucket; and of the bucket whose next document is divided,
        if there is one, how many bytes of it.
    """
    valid, taken = [0] * buckets, 0
    for number in range(buckets):
        bucket = Bucket(folder, number)
        ends = taken + np.cumsum(bucket.sizes)
        valid[number] = int(np.searchsorted(ends, wanted, side="right"))
        if valid[number]:
            taken = int(ends[valid[number] - 1])
        if valid[number] < len(ends):
            break
    if taken >= wanted / 2:
        return valid, {}
    limit = max(int(wanted) - taken, _SMALLEST_DIVISION)
    if bucket.sizes[valid[number]] <= limit:
        valid[number] += taken == 0
        return valid, {}
    [text] = bucket.texts(valid[number], valid[number] + 1)
    return valid, {number: cut_position(text, limit)}


def _warn_about_large_documents(run: _Run, documents: int, most: bool, divided: bool) -> None:
    if most:
        found = f"most of the text is in documents of more than {LARGE_DOCUMENT // 1000} kB"
    else:
        found = f"the text has only {documents:,} documents"
    found += ", each of which is shuffled, and compared for duplicates, as a whole"
    if divided:
        found += "; one was divided between training and validation"
    way_out = ""
    if not run.options.document_per_line and _has_plain_text(run):
        way_out = "; if each line is a text of its own, give --document-per-line"
    _warn(f"{found}{way_out}")


def _has_plain_text(run: _Run) -> bool:
    for path in run.sources:
        with TextFile(path) as file:
            if not is_json_lines(file, run.options):
                return True
    return False


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", flush=True)


# ---- 2. vocabulary


def _vocabulary(run: _Run, buckets: list[BucketPlan]) -> tuple[Path, Path]:
    """Paths of the tokenizer and of the dict.txt (without counts unless it is given)."""
    model = run.work / tokenizer_file(run.given_model or SENTENCEPIECE_FILE)
    dictionary = run.work / "dict.txt"
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
            symbols = [piece for piece, _ in dictionary_pieces(load_tokenizer(model))]
            write_dictionary(temporary, symbols, [0] * len(symbols))
    return model, dictionary


def _train_vocabulary(run: _Run, buckets: list[BucketPlan], model: Path) -> None:
    sample = run.work / "sample.txt"
    texts = (
        text
        for plan in buckets
        for text in split_texts(Bucket(run.work / "buckets", plan.number), plan, "train")
    )
    size = write_sample(texts, sample, run.options.vocabulary_sample_megabytes * 1e6)
    print(f"training the vocabulary on {size / 1e6:,.1f} MB of text", flush=True)
    options = run.options
    proto, messages = train_sentencepiece(
        sample,
        options.vocabulary_size,
        options.character_coverage,
        options.normalisation_rule,
        options.user_defined_symbols,
    )
    for message in messages:
        print(message, flush=True)
    with atomic_file(model) as temporary:
        temporary.write_bytes(proto)
    sample.unlink()


def _warn_about_joiners(counts: list[int], model: Path) -> None:
    """Say it where the vocabulary's normalisation takes joiners, which the text has, out of it."""
    tokenizer = load_tokenizer(model)
    lost = [
        f"{count:,} {name} (U+{ord(joiner):04X})"
        for count, joiner, name in zip(
            counts, JOINERS, ("zero-width non-joiners", "zero-width joiners"), strict=True
        )
        if count and joiner not in tokenizer.normalize(f"a{joiner}b")
    ]
    if lost:
        _warn(
            f"the text has {' and '.join(lost)}, which the vocabulary's normalisation makes "
            "spaces; a vocabulary that is trained with --normalisation-rule nfkc keeps them"
        )


def _warn_about_export(model: Path) -> None:
    """Say before all training what `export-hf` would say after it."""
    if model.name == SENTENCEPIECE_FILE:
        from ..vocabulary.sentencepiece_model import read_model

        try:
            read_model(model)
        except InputError as error:
            reason = str(error).removeprefix(f"{model} ")
            _warn(f"export-hf cannot write models of this vocabulary: it {reason}")


# ---- 3. encode


def _encode(run: _Run, buckets: list[BucketPlan], model: Path, dictionary: Path) -> np.dtype:
    """Encode every bucket that is not yet encoded. Returns the type of the tokens."""
    folder = run.work / "encoded"
    folder.mkdir(exist_ok=True)
    dtype = token_type(len(Vocabulary(model, dictionary)))
    tasks = (
        (run.work / "buckets", folder, plan, model, dictionary, dtype, run.options.longest_line)
        for plan in buckets
    )
    total = sum(plan.bytes for plan in buckets)
    with Progress("encoding", total) as progress, worker_pool(run.workers) as pool:
        for size in bounded_map(pool, encode_bucket, tasks, 2 * run.workers):
            progress.update(size)
    return dtype


# ---- 4. assemble


def _assemble(
    run: _Run,
    buckets: list[BucketPlan],
    summary: dict[str, Any],
    model_path: Path,
    dictionary_path: Path,
    dtype: np.dtype,
) -> dict[str, Any]:
    """Join the encoded buckets to shards in the output folder. Returns what prepare.json holds."""
    symbols = Vocabulary(model_path, dictionary_path).symbols
    encoded, shards = run.work / "encoded", buckets[-1].shard + 1
    valid = sum(bucket.valid for bucket in buckets)
    divided = sum(bucket.divided > 0 for bucket in buckets)
    kept = sum(bucket.documents for bucket in buckets)
    splits = {
        split: _SplitCounts(documents, np.zeros(len(symbols), np.int64))
        for split, documents in (("train", kept - valid), ("valid", valid + divided))
    }
    total = sum(path.stat().st_size for path in encoded.glob("*.tokens"))
    # Inside the work folder: what a run that is killed leaves of it goes with that.
    whole = run.work / "output"
    shutil.rmtree(whole, ignore_errors=True)
    with atomic_folder(whole) as output, Progress("writing", total) as progress:
        folders = _shard_folders(output, shards)
        for number, folder in enumerate(folders):
            folder.mkdir(exist_ok=True)
            pieces = [encoded / f"{b.number:04d}.train" for b in buckets if b.shard == number]
            _join(pieces, folder / "train", dtype, splits["train"], progress)
        pieces = [encoded / f"{bucket.number:04d}.valid" for bucket in buckets]
        # fairseq reads validation data from the first shard alone.
        _join(pieces, folders[0] / "valid", dtype, splits["valid"], progress)
        for folder in {output, *folders}:  # every shard is a whole data folder
            shutil.copyfile(model_path, folder / model_path.name)
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
    whole.replace(run.output)
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
        record = read_json(run.output / RECORD_NAME, AGAIN)
        same_settings = all(record[key] == value for key, value in run.settings().items())
        bytes_of_text = sorted(entry["bytes"] for entry in record["inputs"])
        digests = sorted(entry["blake2b"] for entry in record["inputs"])
        files = dict(record["files"])
    except (LookupError, TypeError, ValueError):
        raise InputError(
            f"{run.output} exists and holds no finished output of prepare; {mend}."
        ) from None
    if not same_settings:
        raise InputError(f"{run.output} was prepared with other options; {mend}.")
    if bytes_of_text != sorted(path.stat().st_size for path in run.sources):
        raise InputError(f"{run.output} was prepared from other text; {mend}.")
    for name, size in files.items():
        path = run.output / name
        if not path.is_file() or path.stat().st_size != size:
            raise InputError(f"{path} is missing or was changed; {mend}.")
    if digests != sorted(_digest(path) for path in run.sources):
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
    print(f"data for fairseq-train: {data}")
    length = run.options.sequence_length
    print(
        f"options that fit it: --tokens-per-sample {length} --sample-break-mode complete",
        flush=True,
    )


def _digest(path: Path) -> str:
    digest = blake2b(digest_size=16)
    with ProgressFile(path, "r", f"checking {path.name}") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()
