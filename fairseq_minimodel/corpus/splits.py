"""Which documents are for training and which for validation, and which bucket goes to which shard."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..files.text import cut_position
from .buckets import LARGE_DOCUMENT, Bucket, bucket_size
from .run import Run
from .workers import bounded_map, worker_pool

SPLITS = ("train", "valid")
SHARD_BYTES = 4_000_000_000
_SMALLEST_DIVISION = 1000  # bytes; a document with fewer is not divided for validation


class BucketPlan(NamedTuple):
    """What becomes of a bucket."""

    number: int
    documents: int
    valid: int  # this many documents, the first ones, belong to the validation split,
    divided: int  # and so many bytes of the document behind them, whose rest is for training
    bytes: int
    shard: int


def split_texts(bucket: Bucket, plan: BucketPlan, split: str) -> Iterator[bytes]:
    """The clean texts of a bucket that belong to a split, in order."""
    whole = plan.valid + (plan.divided > 0)  # the first document of which all is for training
    shared = bucket.texts(plan.valid, whole)
    if split == "valid":
        yield from bucket.texts(0, plan.valid)
        yield from (text[: plan.divided].strip() for text in shared)
    else:
        yield from (text[plan.divided :].strip() for text in shared)
        yield from bucket.texts(whole, plan.documents)


def plan_splits(run: Run, buckets: int, found: int, too_short: int) -> list[BucketPlan]:
    """Decide what becomes of each bucket.

    Args:
        buckets: how many there are.
        found, too_short: documents in the text, and those of them that were dropped.

    Raises:
        InputError: the documents are too few for two splits, or for the shards.
    """
    options = run.options
    with worker_pool(run.workers) as pool:
        tasks = ((run.buckets, number) for number in range(buckets))
        sizes = list(bounded_map(pool, bucket_size, tasks, 3 * run.workers))
    documents, text_bytes, large = (sum(column) for column in zip(*sizes, strict=True))
    if documents < 2:
        raise InputError(
            f"The text holds {found} documents, of which {documents} remain when {too_short} too "
            f"short ones (--min-characters {options.min_characters}) and "
            f"{found - too_short - documents} duplicates are dropped, but at least 2 are needed "
            "(one to train, one to validate); give more text, or one document per line with "
            "--document-per-line."
        )
    valid, divided = _choose_valid(run, buckets, documents, text_bytes)
    if any(divided) or large > text_bytes / 2:
        _warn_about_large_documents(run, documents, large > text_bytes / 2, any(divided))
    shards = options.shards or min(-(-text_bytes // SHARD_BYTES), buckets)
    plan = [
        BucketPlan(n, size.documents, valid[n], divided[n], size.bytes, n * shards // buckets)
        for n, size in enumerate(sizes)
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


def _choose_valid(
    run: Run, buckets: int, documents: int, text_bytes: int
) -> tuple[list[int], list[int]]:
    """How many documents of each bucket are for validation, and how many bytes of the next one.

    They are the first documents of the corpus: the wanted share of their number, but at least one.
    Where documents are too few or too unequal for that, they are the first ones that hold the wanted
    bytes at most; and if these are less than half of what is wanted, the document behind them is
    divided. But a small one is not: it is taken as a whole if there would be nothing else.
    """
    options, divided = run.options, [0] * buckets
    most_bytes = options.valid_megabytes * 1e6
    count = min(max(int(documents * options.valid_fraction), 1), documents - 1)
    valid, number, taken = _first_documents(run.buckets, buckets, count, most_bytes)
    if not taken:
        valid[number], taken = 1, int(Bucket(run.buckets, number).sizes[0])
    wanted = min(text_bytes * options.valid_fraction, most_bytes)
    if 0.5 * wanted <= taken <= 1.5 * wanted:
        return valid, divided
    valid, number, taken = _first_documents(run.buckets, buckets, documents, wanted)
    if taken < wanted / 2:
        bucket, place = Bucket(run.buckets, number), valid[number]
        limit = max(int(wanted) - taken, _SMALLEST_DIVISION)
        if bucket.sizes[place] > limit:
            [text] = bucket.texts(place, place + 1)
            divided[number] = cut_position(text, limit)
        elif not taken:
            valid[number] += 1
    return valid, divided


def _first_documents(
    folder: Path, buckets: int, most: int, most_bytes: float
) -> tuple[list[int], int, int]:
    """The first documents of the corpus, at most so many with so many bytes together.

    Returns: how many of each bucket, the bucket of the document behind them, and their bytes.
    """
    valid, taken = [0] * buckets, 0
    for number in range(buckets):
        ends = taken + np.cumsum(Bucket(folder, number).sizes[:most])
        valid[number] = fitting = int(np.searchsorted(ends, most_bytes, side="right"))
        if fitting:
            most, taken = most - fitting, int(ends[fitting - 1])
        if not most or fitting < len(ends):
            break
    return valid, number, taken


def _warn_about_large_documents(run: Run, documents: int, most: bool, divided: bool) -> None:
    if most:
        found = f"most of the text is in documents of more than {LARGE_DOCUMENT // 1000} kB"
    else:
        found = f"the text has only {documents:,} documents"
    found += ", each of which is shuffled, and compared for duplicates, as a whole"
    if divided:
        found += "; one was divided between training and validation"
    if not run.options.document_per_line and run.has_plain_text():
        found += "; if each line is a text of its own, give --document-per-line"
    print(f"warning: {found}", flush=True)
