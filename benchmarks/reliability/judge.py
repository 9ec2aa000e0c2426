"""What nobody could see: damage after which a file is a sound file with other content.

No format read here has a checksum of everything (compressed files and zip archives do), so a bit
flipped in a weight, in running text or in a label's name makes a different model, text or label. Such
cases are counted apart. Everything else has to be refused, or to have no effect.
"""

import io
import json
import math
import struct
from pathlib import Path

import numpy
import safetensors.torch
import sentencepiece
import torch
from sameness import load

# Of JSON files: values that another file beside them contradicts.
CHECKABLE = {"vocabulary", "vocabulary_size", "width", "shape", "dtype", "data_offsets"}

TEXT = (".txt", ".jsonl", ".tsv")
# After these, running text is still running text.
STILL_TEXT = {
    "truncated", "bits flipped", "escapes", "tab", "quotation mark", "a line twice", "no line ends",
    "very long line", "something after it", "HTML page",
}  # fmt: skip


def cannot_be_seen(command: str, path: Path, before: bytes, kind: str) -> bool:
    """Whether the damaged file at `path`, which was `before`, is as good a file as the sound one."""
    if command == "report" and (kind == "missing" or path.suffix == ".log"):
        return True  # it shows what is there, and a log is any text
    # Nested settings are shared ones: whoever takes them for a tree is at it for hours.
    if path.is_symlink() or not path.is_file() or kind == "settings nested":
        return False
    after, name, suffix = path.read_bytes(), path.name, path.suffix
    if command.startswith("prepare") and kind == "gzip" and suffix in TEXT:
        return True  # text is known by its content: the same text, packed
    try:
        if name == "dict.txt":
            return _dictionary(command, path, before, after)
        if suffix == ".pt":  # without its last part, a checkpoint says less of its training
            hidden = ("swapped", "setting missing", "part missing")
            return kind in hidden or _checkpoint(path, before)
        if suffix == ".safetensors":
            return _same_tensors(safetensors.torch.load(before), safetensors.torch.load(after))
        if suffix == ".model":
            # A dictionary may lack pieces, so that one or two may have other names.
            return kind != "swapped" and len(_pieces(before) ^ _pieces(after)) <= 4
        if suffix in (".bin", ".idx"):
            return kind != "swapped" and _indexed(path, before, after)
        if suffix in (".gz", ".xz", ".zst", ".zip"):
            return False
        text = after.decode("utf-8")
        if command.startswith("predict") and not text:
            return True  # no line, no answer
        if "\0" in text or not text.strip():
            return False
        if suffix == ".tsv":
            return _rows(before.decode(), text)
        if suffix == ".jsonl":
            sound = json.loads(before.splitlines()[0])
            return all(_same_form(sound, json.loads(row)) for row in text.splitlines() if row)
        if suffix == ".json":
            return _same_form(json.loads(before), json.loads(text))
        return kind in STILL_TEXT
    except Exception:  # it cannot be read, and that can be seen
        return False


def _rows(before: str, after: str) -> bool:
    """Whether each line has as many columns, and its label is one of the sound ones."""
    columns = before.splitlines()[0].split("\t")
    rows = [row.split("\t") for row in after.splitlines()]
    if rows[0] != columns or any(len(row) != len(columns) for row in rows):
        return False
    if "label" not in columns:
        return True
    place = columns.index("label")
    labels = {row.split("\t")[place] for row in before.splitlines()}
    return all(row[place] in labels for row in rows)


def _same_form(before: object, after: object, key: str = "") -> bool:
    if key in CHECKABLE and before != after:
        return False
    if isinstance(before, dict) and isinstance(after, dict):
        # A key that is new, or was missing: of those that one may leave out.
        common = before.keys() & after.keys()
        return (bool(common) or not before) and all(
            _same_form(before[k], after[k], k) for k in common
        )
    if isinstance(before, list) and isinstance(after, list):
        if len(before) == len(after):
            return all(map(_same_form, before, after, [key] * len(before)))
        return not before or all(_same_form(before[0], each, key) for each in after)
    if type(before) in (int, float) and type(after) in (int, float):
        return math.isfinite(after) and (before < 0 or after >= 0)
    return type(before) is type(after)


def _dictionary(command: str, path: Path, before: bytes, after: bytes) -> bool:
    def symbols(data: bytes) -> list[str]:
        lines = [line.rsplit(" ", 1) for line in data.decode("utf-8").splitlines()]
        if any(int(count) < 0 or len(count) > 18 for _, count in lines):
            raise ValueError
        return [symbol for symbol, _ in lines]

    old, new = symbols(before), symbols(after)
    if old == new:
        return True  # other counts
    if "packs" in path.parts or len(set(new)) != len(new):
        return False  # language.json has a fingerprint of the symbols
    if command.startswith("prepare"):  # a vocabulary may lack pieces, in any order
        return len(set(old) & set(new)) > len(old) / 10
    return len(old) == len(new) and len(set(old) - set(new)) < max(9, len(old) // 4)


def _checkpoint(path: Path, before: bytes) -> bool:
    old = load(io.BytesIO(before))
    new = load(path)
    if old.keys() != new.keys() or not _same_tensors(old["model"], new["model"]):
        return False
    return all(_same_form(_plain(old[key]), _plain(new[key])) for key in old if key != "model")


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return [0.0] if isinstance(value, torch.Tensor) else value


def _same_tensors(old: dict, new: dict) -> bool:
    return old.keys() == new.keys() and all(
        old[name].shape == new[name].shape
        and old[name].dtype == new[name].dtype
        and bool(torch.isfinite(new[name].float()).all())
        for name in old
    )


def _pieces(model: bytes) -> set[str]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return {processor.id_to_piece(index) for index in range(len(processor))}


def _indexed(path: Path, before: bytes, after: bytes) -> bool:
    """fairseq's binary data: whether the numbers stay in their range, or the index fits the numbers."""
    kinds = {1: numpy.uint8, 3: numpy.int16, 4: numpy.int32, 5: numpy.int64, 8: numpy.uint16}
    if path.suffix == ".bin":
        kind = kinds[path.with_suffix(".idx").read_bytes()[17]]
        old, new = numpy.frombuffer(before, kind), numpy.frombuffer(after, kind)
        return len(old) == len(new) and new.min() >= 0 and new.max() <= old.max()
    kind, count = kinds[after[17]], struct.unpack("<Q", after[18:26])[0]
    sizes = numpy.frombuffer(after, numpy.int32, count, 26).astype(numpy.int64)
    pointers = numpy.frombuffer(after, numpy.int64, count, 26 + 4 * count)
    ends = numpy.cumsum(sizes) * numpy.dtype(kind).itemsize
    fits = bool((pointers[1:] == ends[:-1]).all()) and pointers[0] == 0 and sizes.min() > 0
    return (
        after[:18] == before[:18] and fits and ends[-1] == path.with_suffix(".bin").stat().st_size
    )
