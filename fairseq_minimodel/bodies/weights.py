"""Reading files of weights: no code that they bring is run, and every tensor is checked.

Imports torch, and nothing of fairseq.
"""

import argparse
import collections
import errno
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from os import path as os_path
from pathlib import Path
from typing import Any

import omegaconf
import safetensors
import torch
from torch import Tensor

from ..errors import InputError
from ..files.recognise import recognise
from ..files.records import read_record, shown
from ..terminal.progress import ProgressFile

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
SHOWN_CLASSES = 5
BLOCK = 1 << 20  # bytes read at a time
PARALLEL = "module."
AGAIN = "copy or fetch it again"
DIVERGED = (
    "its training has diverged, or the file is damaged: take an earlier checkpoint, or train again "
    "with a lower --lr"
)
# Numbers of NumPy by its codes, without the byte order: the form in which `struct` reads each.
NUMBERS = {
    "f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q",
    "u1": "B", "u2": "H", "u4": "I", "u8": "Q", "b1": "?",
}  # fmt: skip
_REFUSED_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class Index:
    """What is read of a model.safetensors.index.json."""

    weight_map: dict[str, str]


class NumberType:
    """What a pickle calls numpy.dtype, for the types of single numbers; nothing of NumPy is called."""

    def __init__(self, code: str, *_: object) -> None:
        if code not in NUMBERS:
            raise pickle.UnpicklingError(f"Unsupported GLOBAL numpy.dtype({code!a})")
        self.form, self.order = NUMBERS[code], "<"

    def __setstate__(self, state: tuple) -> None:
        self.order = ">" if state[1] == ">" else "<"


def number(kind: NumberType, content: bytes) -> float | int | bool:
    """What a pickle calls numpy.core.multiarray.scalar: the number as Python's own."""
    if not isinstance(kind, NumberType):
        raise pickle.UnpicklingError("Unsupported GLOBAL numpy.core.multiarray.scalar")
    return struct.unpack(kind.order + kind.form, content)[0]


def joined(*parts: str) -> str:
    """What a pickle calls pathlib.PosixPath: the path as text."""
    return os_path.join(*parts) if parts else ""


# What `torch.load` may make beside tensors; none of it runs code. `argparse.Namespace`, of models that
# were configured the old way (fairseq's `roberta`); the classes of OmegaConf, of the new way. Numbers
# of NumPy and paths become plain numbers and text: PyTorch would have to be given NumPy's own
# functions, and those take more from a file than numbers.
HARMLESS = [
    argparse.Namespace,
    omegaconf.DictConfig,
    omegaconf.ListConfig,
    omegaconf.base.ContainerMetadata,
    omegaconf.base.Metadata,
    omegaconf.nodes.AnyNode,
    Any,
    dict,
    list,
    int,
    collections.defaultdict,
    (NumberType, "numpy.dtype"),
    (number, "numpy.core.multiarray.scalar"),
    (number, "numpy._core.multiarray.scalar"),
    (joined, "pathlib.PosixPath"),
    (joined, "pathlib.PurePosixPath"),
    (joined, "pathlib._local.PosixPath"),
    (joined, "pathlib._local.PurePosixPath"),
]
# For the whole process: what `torch.serialization.safe_globals` allows, another thread takes away.
torch.serialization.add_safe_globals(HARMLESS)


def read_torch(path: str | Path, *, what: str = "checkpoint", progress: bool = False) -> Any:
    """What torch.save wrote, on the CPU, without running anything of it.

    Args:
        what: it should be, for a message.
        progress: read the file at once and show how far it is, instead of mapping it into memory
            where that is possible.

    Raises:
        InputError: it cannot be read, is something else, or holds objects of classes that are not
            known to be harmless.
    """
    try:
        explain_other_file(path, what)
        check_sums(path, what)
        load = partial(torch.load, map_location="cpu", weights_only=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # it is read or refused
            if progress:
                with ProgressFile(path, "r", f"reading {Path(path).name}") as file:
                    return load(file)
            return load(path, mmap=zipfile.is_zipfile(path) or None)
    except FileNotFoundError:
        raise InputError(f"no {what} {path}: check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: name a {what} file in it") from None
    except InputError:
        raise
    except Exception as error:  # whatever a damaged pickle leads to: KeyError, TypeError, ...
        raise unreadable(path, error, what) from None


def check_sums(path: str | Path, what: str = "checkpoint") -> None:
    """Refuse a file that torch.save wrote and that was changed since, by the check sums in it.

    PyTorch writes them and does not look at them.

    Raises:
        InputError: a part of the file is not what was written.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        changed = [part.filename for part in parts if not _is_as_written(archive, part)]
    if changed and len(changed) < len(parts):  # all: they were never computed (set_crc32_options)
        raise InputError(
            f"{path} is damaged (the check sum of {shown(changed[0])} does not fit); copy the {what} "
            "or make it again"
        )


def _is_as_written(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(part) as file:
            while file.read(BLOCK):
                pass
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError):
        return False
    return True


def explain_other_file(path: str | Path, what: str = "checkpoint") -> None:
    """Refuse a file that is not PyTorch's with an `InputError` that says what it is."""
    if other := recognise(path):
        raise InputError(f"{path} is not a {what}: the file is in fact {other}")


def unreadable(path: str | Path, error: Exception, what: str = "checkpoint") -> InputError:
    """Why `torch.load` did not read a file of PyTorch's, for a user."""
    if isinstance(error, OSError) and error.strerror and error.errno != errno.EINVAL:
        return InputError(f"cannot read {path}: {error.strerror}")
    classes = []
    if isinstance(error, pickle.UnpicklingError):
        classes = _refused_classes(path) or _REFUSED_GLOBAL.findall(str(error))
    if classes:
        more = ", ..." * (len(classes) > SHOWN_CLASSES)
        return InputError(
            f"{path} is refused: it holds objects of {', '.join(classes[:SHOWN_CLASSES])}{more}, and "
            f"loading such objects can run code; a {what} may hold tensors, numbers, text, lists and "
            "dicts: have it saved again with nothing else in it, by whoever made it"
        )
    reason = str(error).split("\n")[0][:120] or type(error).__name__
    with open(path, "rb") as file:
        if file.read(2) == b"PK" and not zipfile.is_zipfile(path):
            reason = "it is cut off"
    return InputError(f"{path} is damaged ({reason}); copy or make it again")


def _refused_classes(path: str | Path) -> list[str]:
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # of the older form, or damaged
        return []


def read_safetensors(path: str | Path, way_out: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors file. Raises InputError if it is missing or damaged."""
    with open_safetensors(path, way_out) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@contextmanager
def open_safetensors(path: str | Path, way_out: str) -> Iterator[safetensors.safe_open]:
    """A .safetensors file, whose tensors are read one by one. Errors as in `read_safetensors`."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # SafetensorError, and others for types that PyTorch does not have
        other = recognise(path)
        known = other is None or other.startswith("a safetensors")
        reason = str(error)[:120] if known else f"it is {other}"
        raise InputError(f"{path} is damaged ({reason}); {way_out}") from None


def read_index(path: str | Path) -> dict[str, str]:
    """The files of a model in several parts, by tensor: what the `weight_map` of its index says.

    Raises:
        InputError: the index is damaged, or names a file that does not lie beside it.
    """
    files = read_record(path, Index, AGAIN, others=True).weight_map
    for name in set(files.values()):
        if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise InputError(
                f"{path} is refused: it names the file {shown(name)}, and a part of a model lies "
                "beside its index"
            )
        if not Path(path).with_name(name).is_file():
            raise InputError(f"{path} is damaged: there is no {shown(name)} beside it; {AGAIN}")
    return files


def check_weights(
    path: str | Path, tensors: Mapping[str, object], way_out: str, *, finite: bool = True
) -> None:
    """Refuse what cannot be the weights of a model, with an `InputError`.

    Args:
        path: of their file.
        way_out: what to do, in words.
        finite: refuse NaN and infinities, too (some 0.15 s for a GB).
    """
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(f"{path} is damaged: {_name(name)} is not a tensor; {way_out}")
        form = tensor.layout, tensor.device.type
        if tensor.dtype not in FLOATS or form != (torch.strided, "cpu"):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(
                f"{path} has {_name(name)} as {kind} ({tensor.layout}, {tensor.device}), and weights "
                f"are floating-point numbers of 16, 32 or 64 bits; {way_out}"
            )
        stored = tensor.untyped_storage().nbytes() // tensor.element_size()
        if not 0 < tensor.numel() <= stored:
            raise InputError(
                f"{path} has {_name(name)} of the shape {tuple(tensor.shape)} with {stored:,} numbers "
                f"stored for it: it is damaged; {way_out}"
            )
    if finite:
        check_finite(path, tensors, way_out)


def check_finite(path: str | Path, tensors: Mapping[str, object], way_out: str) -> None:
    """Refuse NaN and infinities in tensors of floating-point numbers, with an `InputError`.

    Arguments as in `check_weights`.
    """
    if found := not_finite(tensors):
        more = f" (and so do {len(found) - 1} more tensors)" if len(found) > 1 else ""
        raise InputError(f"{path} holds values that are not finite: {found[0]}{more}; {way_out}")


def not_finite(tensors: Mapping[str, object]) -> list[str]:
    """What to say of each tensor of floating-point numbers that holds NaN or infinities."""
    seen: set[tuple[int, int]] = set()
    found: list[str] = []
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.dtype not in FLOATS or not tensor.numel():
            continue
        place = (tensor.data_ptr(), tensor.numel())  # tied tensors are looked at once
        if place in seen:
            continue
        seen.add(place)
        nan, infinite = count_not_finite(tensor)
        if nan or infinite:
            counts = [f"{nan:,} NaN"] * (nan > 0) + [f"{infinite:,} infinite"] * (infinite > 0)
            found.append(f"{_name(name)} has {' and '.join(counts)} of {tensor.numel():,} values")
    return found


def without_prefix(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict without what DistributedDataParallel puts before every name."""
    prefixed = all(isinstance(name, str) and name.startswith(PARALLEL) for name in state)
    return {name.removeprefix(PARALLEL): one for name, one in state.items()} if prefixed else state


def check_shapes(
    path: str | Path, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse tensors of other shapes than those named, with an `InputError`; absent ones pass."""
    for name, shape in shapes.items():
        if name in tensors and tuple(tensors[name].shape) != shape:
            raise InputError(
                f"{path} has {_name(name)} of the shape {tuple(tensors[name].shape)}, and its other "
                f"tensors need {shape}: it is damaged or not of a RoBERTa"
            )


def count_not_finite(tensor: Tensor) -> tuple[int, int]:
    """How many NaN and how many infinities a tensor of floating-point numbers holds."""
    if all(bound.isfinite() for bound in torch.aminmax(tensor)):  # NaN is the bound of any with NaN
        return 0, 0
    return int(tensor.isnan().sum()), int(tensor.isinf().sum())


def _name(name: object) -> str:
    return name if isinstance(name, str) and name.isprintable() else ascii(name)[:60]
