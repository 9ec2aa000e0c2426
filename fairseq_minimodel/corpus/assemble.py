"""The encoded buckets joined to shards, with dict.txt and prepare.json."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files.atomic import atomic_folder
from ..terminal.progress import Progress
from ..vocabulary.tokenizers import EOS, SPECIAL_SYMBOLS, UNK, Vocabulary, write_dictionary
from .indexed import IndexedDatasetWriter
from .record import RECORD_NAME
from .run import Run
from .splits import SPLITS, BucketPlan

_COPY_ITEMS = 1 << 13


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


def assemble(
    run: Run,
    buckets: Sequence[BucketPlan],
    distributed: Mapping[str, Any],
    model: Path,
    dictionary: Path,
    dtype: np.dtype,
) -> dict[str, Any]:
    """Join the encoded buckets to shards in the output folder. Returns what prepare.json holds.

    Args:
        distributed: what `distribute` returned.
        dtype: of the tokens.
    """
    symbols = Vocabulary(model, dictionary).symbols
    kept = sum(bucket.documents for bucket in buckets)
    valid = sum(bucket.valid for bucket in buckets)
    divided = sum(bucket.divided > 0 for bucket in buckets)  # documents that both splits have
    splits = {
        "train": _SplitCounts(kept - valid, np.zeros(len(symbols), np.int64)),
        "valid": _SplitCounts(valid + divided, np.zeros(len(symbols), np.int64)),
    }
    shards = buckets[-1].shard + 1
    total = sum(path.stat().st_size for path in run.encoded.glob("*.tokens"))
    # Inside the work folder: what a run that is killed leaves of it goes with that.
    whole = run.work / "output"
    shutil.rmtree(whole, ignore_errors=True)
    with atomic_folder(whole) as output, Progress("writing", total) as progress:

        def join(split: str, folder: Path, parts: Sequence[BucketPlan]) -> None:
            pieces = [run.encoded / f"{bucket.number:04d}.{split}" for bucket in parts]
            _join(pieces, folder / split, dtype, splits[split], progress)

        folders = shard_folders(output, shards)
        for number, folder in enumerate(folders):
            folder.mkdir(exist_ok=True)
            join("train", folder, [bucket for bucket in buckets if bucket.shard == number])
        join(
            "valid", folders[0], buckets
        )  # fairseq reads validation data from the first shard alone
        for folder in {output, *folders}:  # every shard is a whole data folder
            shutil.copyfile(model, folder / model.name)
            if run.given_dictionary is not None:
                shutil.copyfile(dictionary, folder / "dict.txt")
            else:
                first = len(SPECIAL_SYMBOLS)
                counts = splits["train"].ids[first:].tolist()
                write_dictionary(folder / "dict.txt", symbols[first:], counts)
        record = {
            **run.settings(),
            "inputs": distributed["inputs"],
            "counts": {
                "documents": distributed["documents"],
                "too_short": distributed["too_short"],
                "duplicates": distributed["documents"] - distributed["too_short"] - kept,
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


def shard_folders(output: Path, shards: int) -> list[Path]:
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
