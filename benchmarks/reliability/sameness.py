"""What a command has written, as digests that can be compared, and whether files are whole."""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch

# Of a checkpoint: how long things took; settings; an entry for each time that the run was resumed; and
# what every new body draws anew, its lineage.
UNCOMPARED = (
    "metrics", "previous_training_time", "cfg", "args", "optimizer_history", "encoder.lineage",
)  # fmt: skip

# Of a score: what changes with any byte of its inputs, so that it is not taken for that of others.
KEY = re.compile(rb'"inputs": "[0-9a-f]{16}"')
TIME = re.compile(rb"\d{1,2} [A-Z][a-z]+ \d{4}, \d\d:\d\d")  # at which a page was made


def load(checkpoint: Path | BinaryIO) -> object:
    """What is in a checkpoint, without a word about how it is written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(checkpoint, weights_only=True)


def digests(path: Path) -> dict[str, str]:
    """A digest for each file at or below `path`, by its path from there; a link is its target."""
    if not path_exists(path):
        return {}
    if path.is_symlink() or not path.is_dir():
        return {"": _digest(path)}
    found = (each for each in path.rglob("*") if each.is_symlink() or not each.is_dir())
    return {str(each.relative_to(path)): _digest(each) for each in found}


def path_exists(path: Path) -> bool:
    """Whether anything has that name; `Path` takes one that is too long for an error."""
    return os.path.lexists(path)


def is_temporary(path: Path) -> bool:
    """Whether a file says by its name that it is not to be used: hidden, or ending as fairseq's do."""
    return any(part.startswith(".") for part in path.parts) or path.suffix in (".tmp", ".partial")


def is_whole(path: Path) -> bool:
    """Whether a file that only training or `evaluate` changes can be read to its end."""
    try:
        if path.suffix == ".pt":
            load(path)
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
    except Exception:  # whatever a reader makes of half a file
        return False
    return True


def _digest(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    if path.suffix == ".pt":
        try:
            value = load(path)
        except Exception:
            return "damaged"
        digest = hashlib.sha256()
        for part in _parts(value):
            digest.update(part)
        return digest.hexdigest()
    if not path.is_file():
        return "special file"
    data = path.read_bytes()
    if path.suffix == ".json":
        data = KEY.sub(b"", data)
    if path.suffix == ".html":
        data = TIME.sub(b"", data)
    return hashlib.sha256(data).hexdigest()


def _parts(value: object, name: str = "") -> Iterator[bytes]:
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            if key not in UNCOMPARED:
                yield from _parts(value[key], f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _parts(each, f"{name}.{index}")
    elif isinstance(value, torch.Tensor):
        yield f"{name} {value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    else:
        yield f"{name} {value!r}".encode()
