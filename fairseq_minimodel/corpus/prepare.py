"""From raw text to fairseq's shards: clean, shuffle, drop duplicates, train a vocabulary, encode.

The corpus never stands in memory. Every document gets a key, the hash of the seed and its clean
text; the order of the keys is the order of the corpus. The work is an external bucket sort:

1. distribute (`buckets.py`): read and clean the documents and append each to the bucket that the top
   of its key names. Buckets are files small enough to be loaded one at a time.
2. plan (`splits.py`) which documents are for validation.
3. vocabulary: train SentencePiece on the first documents of the training part.
4. encode: load a bucket, sort it, drop repeated keys, encode it. One bucket is one task.
5. assemble: join the encoded buckets to shards and write dict.txt with counts.

Nothing in the output depends on the order of the files, on the number of workers or on being
interrupted: a stage that was finished is not done again, any other one starts again (`work.py`).
"""

import errno
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files.refusals import cause_of
from ..terminal.progress import Progress
from ..vocabulary.tokenizers import TOKENIZER_FILES, Vocabulary, folds_case, load_tokenizer
from .assemble import assemble, shard_folders
from .buckets import distribute
from .encode import encode_bucket
from .indexed import token_type
from .options import FOLD, KEEP, PrepareOptions, sequence_length_of, with_case
from .run import Run
from .splits import SPLITS, BucketPlan, plan_splits
from .vocabulary import make_vocabulary, warn_about_export, warn_about_joiners
from .work import forget_other_work, locked_work, once, remove_work
from .workers import bounded_map, usable_cores, worker_pool


def prepare(
    text: Sequence[str | Path],
    output: str | Path,
    workers: int | None = None,
    sentencepiece_model: str | Path | None = None,
    dictionary: str | Path | None = None,
    max_line_tokens: int | None = None,
    case: str | None = None,
    body: str | Path | None = None,
    **options: Any,
) -> None:
    """Write fairseq's training and validation data for the given text files to a folder.

    Args:
        text: plain text or JSON Lines, each perhaps compressed (gzip, xz, zstd, bzip2).
        output: the folder to make. Work files stand beside it, in a folder `.NAME.work`.
        workers: processes (default: one for each core).
        sentencepiece_model: use this model instead of training one.
        dictionary: use this dict.txt with the model instead of making one.
        max_line_tokens: older name for `sequence_length`, less <s> and </s>.
        case: "fold" or "keep", what the vocabulary does with capitals (default: keep, or what
            `normalisation_rule` or `body` says).
        body: checkpoint that the language is for: the vocabulary folds case if its tokenizer does.
        options: fields of `PrepareOptions`.

    Raises:
        InputError: bad options or files, or `output` holds something else.
    """
    if sentencepiece_model is not None and (case or body):
        raise InputError(
            "--case and --body are for a vocabulary that is trained here, but "
            f"--sentencepiece-model {sentencepiece_model} has been: give one of the two."
        )
    if case is None and body is not None:
        case = case_of(body)
    options = with_case(sequence_length_of(options, max_line_tokens), case)
    run = Run(
        sources=sorted(set(map(_resolved, text))),
        output=_resolved(output),
        workers=usable_cores() if workers is None else workers,
        given_model=None if sentencepiece_model is None else Path(sentencepiece_model),
        given_dictionary=None if dictionary is None else Path(dictionary),
        options=PrepareOptions(**options),
    )
    run.check()
    with locked_work(run):
        try:
            if run.is_finished():
                print(f"{run.output} is prepared from these files and options: nothing to do.")
            else:
                _run_stages(run)
        except BrokenProcessPool:
            raise InputError(
                "A worker process was killed, perhaps because memory ran out; run the same command "
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
                remove_work(run.work)
            raise
        remove_work(run.work)


def case_of(body: str | Path) -> str:
    """What the tokenizer of a body does with capitals: `FOLD` or `KEEP`.

    Raises:
        InputError: there is no body, or no tokenizer for it.
    """
    from ..bodies.checkpoint import read_checkpoint  # which imports torch
    from ..bodies.training_files import find_training_file

    tokenizer = find_training_file(read_checkpoint(body), *TOKENIZER_FILES)
    return FOLD if folds_case(load_tokenizer(tokenizer)) else KEEP


def _resolved(path: str | Path) -> Path:
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError):  # RuntimeError until Python 3.12
        raise InputError(f"{path} is a link that leads back to itself: name a file.") from None


def _run_stages(run: Run) -> None:
    started = time.monotonic()
    forget_other_work(run)
    distributed = once(
        run.work / "distributed.json",
        lambda: distribute(run.sources, run.buckets, run.options, run.workers),
    )
    buckets = plan_splits(
        run, distributed["buckets"], distributed["documents"], distributed["too_short"]
    )
    model, dictionary = make_vocabulary(run, buckets)
    warn_about_joiners(distributed["joiners"], model)
    warn_about_export(model)
    dtype = _encode(run, buckets, model, dictionary)
    record = assemble(run, buckets, distributed, model, dictionary, dtype)
    _report(run, record, time.monotonic() - started)


def _encode(run: Run, buckets: list[BucketPlan], model: Path, dictionary: Path) -> np.dtype:
    """Encode every bucket that is not yet encoded. Returns the type of the tokens."""
    run.encoded.mkdir(exist_ok=True)
    dtype = token_type(len(Vocabulary(model, dictionary)))
    tasks = (
        (run.buckets, run.encoded, plan, model, dictionary, dtype, run.options.longest_line)
        for plan in buckets
    )
    total = sum(plan.bytes for plan in buckets)
    with Progress("encoding", total) as progress, worker_pool(run.workers) as pool:
        for size in bounded_map(pool, encode_bucket, tasks, 2 * run.workers):
            progress.update(size)
    return dtype


def _report(run: Run, record: dict[str, Any], seconds: float) -> None:
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
    print(
        f"vocabulary: {counts['vocabulary']:,} symbols; {counts['text_bytes'] / 1e6:,.1f} MB of text "
        f"in {seconds:,.0f} s"
    )
    print(
        "data for fairseq-train:", ":".join(map(str, shard_folders(run.output, record["shards"])))
    )
    print(
        f"options that fit it: --tokens-per-sample {run.options.sequence_length} "
        "--sample-break-mode complete",
        flush=True,
    )
