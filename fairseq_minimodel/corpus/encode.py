"""Text to tokens: one bucket of documents to the items of fairseq's binary data."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..files.atomic import atomic_file
from ..vocabulary.tokenizers import EOS, Vocabulary
from .buckets import Bucket
from .splits import SPLITS, BucketPlan, split_texts

_ENCODE_BYTES = 500_000  # of text encoded at a time: a list of Python ints is 20 times as large


def encode_bucket(
    buckets: Path,
    encoded: Path,
    plan: BucketPlan,
    model: Path,
    dictionary: Path,
    dtype: np.dtype,
    longest: int,
) -> int:
    """Write the tokens and item sizes of a bucket's two splits. Returns the bytes of its text."""
    paths = {split: encoded / f"{plan.number:04d}.{split}" for split in SPLITS}
    missing = [split for split in SPLITS if not Path(f"{paths[split]}.tokens").exists()]
    bucket = Bucket(buckets, plan.number) if missing else None
    for split in missing:
        # The tokens are renamed last: where they stand, the sizes do, too.
        with (
            atomic_file(f"{paths[split]}.tokens") as tokens_path,
            atomic_file(f"{paths[split]}.sizes") as sizes_path,
            open(tokens_path, "wb") as tokens_file,
            open(sizes_path, "wb") as sizes_file,
        ):
            for lines in _line_batches(split_texts(bucket, plan, split)):
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
