"""Damage to files, drawn from a seed: what disks and networks do to them, and what malice makes.

`damages_of` says by which kinds a file can be damaged, `apply` damages it.
"""

import gzip
import io
import json
import lzma
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
import zstandard
from sameness import load

BOMB = 600_000_000  # bytes that a compression bomb unpacks to, on one line
ESCAPES = "\x1b[31mred\x1b]0;title\x07 <script>alert(1)</script>"
LFS_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
WRONG_VALUES = (
    None, [], {}, "", "x", ESCAPES, -1, 0, 1.5, True, 10**30, 2**63, float("nan"), float("inf"),
    ["x"], {"x": 1}, "\ud800",
)  # fmt: skip


class RunsCode:
    """What a pickle can hold: reading it makes a file, unless nothing in a pickle is run."""

    def __init__(self, trace: str) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.trace,)


def damages_of(name: str) -> list[str]:
    """The kinds of damage that a file of that name can have."""
    suffix, kinds = Path(name).suffix, [*BYTES, *PLACES, "pickle with code"]
    if suffix in (".json", ".jsonl"):
        kinds += JSON
    if name.endswith("dict.txt"):
        kinds += DICTIONARY
    elif suffix in (".txt", ".tsv", ".jsonl", ".json", ".log"):
        kinds += TEXT
    if suffix == ".pt":
        kinds += CHECKPOINT
    if suffix == ".safetensors":
        kinds += SAFETENSORS
    if suffix in (".gz", ".zst", ".xz", ".zip"):
        kinds += ["bomb"]
    return [*kinds, *(["swapped"] if swap_for(name) else [])]


def apply(kind: str, path: Path, rng: random.Random, trace: Path) -> None:
    """Damage the file at `path`.

    Args:
        trace: what a pickle with code makes where it is run.
    """
    data, name = path.read_bytes(), path.name
    damaged = _other(path).read_bytes() if kind == "swapped" else b""
    path.unlink()
    if kind in PLACES:
        PLACES[kind](path)
        return
    if kind == "swapped":
        pass
    elif kind == "pickle with code":
        damaged = pickle.dumps(RunsCode(str(trace)))
    elif kind in BYTES:
        damaged = BYTES[kind](data, rng)
    elif kind == "bomb":
        damaged = _bomb(name)
    elif kind in TEXT and not name.endswith("dict.txt"):
        damaged = TEXT[kind](data, rng)
    elif name.endswith("dict.txt"):
        damaged = DICTIONARY[kind](data.decode().splitlines(), rng).encode(errors="surrogateescape")
    elif path.suffix == ".pt":
        damaged = _damage_checkpoint(kind, data, rng, trace)
    elif path.suffix == ".safetensors":
        damaged = _damage_safetensors(kind, data, rng)
    else:
        damaged = _damage_json(kind, data, rng, lines=path.suffix == ".jsonl")
    path.write_bytes(damaged)


# ---- any file


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(max(1, len(data)))]


def _flip(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        # As many in the first bytes, where the structure is, as in the rest.
        limit = min(len(data), 256) if rng.random() < 0.5 else len(data)
        damaged[rng.randrange(limit)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _zero(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    length = rng.choice((1, 16, 512, 4096))
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


def _zip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inside", data)
    return buffer.getvalue()


BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": _cut,
    "bits flipped": _flip,
    "zeros": _zero,
    "empty": lambda data, rng: b"",
    "one byte": lambda data, rng: bytes([rng.randrange(256)]),
    "random bytes": lambda data, rng: rng.randbytes(len(data)),
    "random start": lambda data, rng: rng.randbytes(16) + data[16:],
    "something after it": lambda data, rng: data + rng.randbytes(64),
    "LFS pointer": lambda data, rng: LFS_POINTER,
    "HTML page": lambda data, rng: b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n",
    "gzip": lambda data, rng: gzip.compress(data, mtime=0),
    "zip": lambda data, rng: _zip(data),
    "PNG": lambda data, rng: b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + rng.randbytes(64),
}

# What stands in the place of the file instead.
PLACES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
}


# ---- text


def _spoil_line(data: bytes, rng: random.Random, insertion: bytes) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + insertion + data[place:]


TEXT: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "UTF-16": lambda data, rng: data.decode().encode("utf-16"),
    "UTF-16 without a mark": lambda data, rng: data.decode().encode("utf-16-le"),
    "no UTF-8": lambda data, rng: _spoil_line(data, rng, rng.choice((b"\xe4", b"\xff", b"\xc3("))),
    "lone surrogate": lambda data, rng: _spoil_line(data, rng, b"\xed\xa0\x80"),
    "NUL": lambda data, rng: _spoil_line(data, rng, b"\x00"),
    "escapes": lambda data, rng: _spoil_line(data, rng, ESCAPES.encode()),
    "tab": lambda data, rng: _spoil_line(data, rng, b"\t"),
    "quotation mark": lambda data, rng: _spoil_line(data, rng, b'"'),
    "a line twice": lambda data, rng: data + data.splitlines(keepends=True)[0],
    "no line ends": lambda data, rng: data.replace(b"\n", b" "),
    "very long line": lambda data, rng: data + b"word " * 400_000 + b"\n",
}


def _bomb(name: str) -> bytes:
    """So many bytes in few: one line, of a benchmark's file where an archive is due."""
    if name.endswith(".zip"):
        buffer = io.BytesIO()
        with (
            zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("snli_1.0/snli_1.0_train.jsonl", "w", force_zip64=True) as file,
        ):
            for _ in range(BOMB // 1_000_000):
                file.write(b"a" * 1_000_000)
        return buffer.getvalue()
    if name.endswith(".zst"):
        compressor = zstandard.ZstdCompressor().compressobj()
        blocks = [compressor.compress(b"a" * 1_000_000) for _ in range(BOMB // 1_000_000)]
        return b"".join([*blocks, compressor.flush()])
    if name.endswith(".xz"):
        packer = lzma.LZMACompressor(preset=0)
        blocks = [packer.compress(b"a" * 1_000_000) for _ in range(BOMB // 1_000_000)]
        return b"".join([*blocks, packer.flush()])
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=1) as file:
        for _ in range(BOMB // 1_000_000):
            file.write(b"a" * 1_000_000)
    return buffer.getvalue()


# ---- dict.txt


def _with_line(lines: list[str], rng: random.Random, line: str) -> str:
    place = rng.randrange(len(lines))
    return "\n".join([*lines[:place], line, *lines[place + 1 :]]) + "\n"


DICTIONARY: dict[str, Callable[[list[str], random.Random], str]] = {
    "a symbol twice": lambda lines, rng: _with_line(lines, rng, lines[rng.randrange(len(lines))]),
    "a line less": lambda lines, rng: "\n".join(lines[:-1]) + "\n",
    "a line more": lambda lines, rng: "\n".join([*lines, "additional 1"]) + "\n",
    "other order": lambda lines, rng: "\n".join(rng.sample(lines, len(lines))) + "\n",
    "no count": lambda lines, rng: _with_line(lines, rng, "word"),
    "wrong count": lambda lines, rng: _with_line(
        lines, rng, f"word {rng.choice(('x', '-1', '1.5', '9' * 5000, ''))}"
    ),
    "blank line": lambda lines, rng: _with_line(lines, rng, ""),
    "special symbol": lambda lines, rng: _with_line(lines, rng, "<s> 1"),
    "escapes": lambda lines, rng: _with_line(lines, rng, f"{ESCAPES} 1"),
    "very long symbol": lambda lines, rng: _with_line(lines, rng, "x" * 3_000_000 + " 1"),
    "no UTF-8": lambda lines, rng: _with_line(
        lines, rng, "w\udce4rt 1"
    ),  # a byte that is not UTF-8
}


# ---- JSON


def _places(value: object, place: tuple = ()) -> list[tuple]:
    """Every place in a JSON value, the whole first."""
    found = [place]
    children = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ()
    )  # fmt: skip
    for key, child in children:
        found += _places(child, (*place, key))
    return found


def _replaced(value: object, place: tuple, new: object) -> object:
    if not place:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[place[0]] = _replaced(value[place[0]], place[1:], new)
    return changed


def _without(value: object, place: tuple) -> object:
    if len(place) == 1:
        changed = dict(value) if isinstance(value, dict) else list(value)
        del changed[place[0]]
        return changed
    return _replaced(value, place[:1], _without(value[place[0]], place[1:]))


def _nested(depth: int) -> str:
    return "[" * depth + "]" * depth


JSON = (
    "wrong value", "key missing", "nested", "nested value", "key twice", "very long number",
    "escapes in a value",
)  # fmt: skip


def _damage_json(kind: str, data: bytes, rng: random.Random, lines: bool) -> bytes:
    if lines:
        rows = data.decode().splitlines()
        number = rng.randrange(len(rows))
        rows[number] = _damage_json(kind, rows[number].encode(), rng, lines=False).decode()
        return ("\n".join(rows) + "\n").encode()
    value = json.loads(data)
    place = rng.choice(_places(value))
    if kind == "wrong value":
        return json.dumps(_replaced(value, place, rng.choice(WRONG_VALUES))).encode()
    if kind == "escapes in a value":
        texts = [p for p in _places(value) if isinstance(_at(value, p), str)] or [()]
        return json.dumps(_replaced(value, rng.choice(texts), ESCAPES)).encode()
    if kind == "key missing":
        inner = [each for each in _places(value) if each]
        return json.dumps(_without(value, rng.choice(inner)) if inner else {}).encode()
    if kind == "nested":
        return _nested(rng.choice((500, 5000, 200_000))).encode()
    if kind == "very long number":
        return json.dumps(_replaced(value, place, "?")).replace('"?"', "9" * 10_000).encode()
    if kind == "nested value":
        return json.dumps(_replaced(value, place, "?")).replace('"?"', _nested(900)).encode()
    text = json.dumps(value)  # key twice: the same key with a value of a wrong type after it
    if isinstance(value, dict) and value:
        return (text[:-1] + f", {json.dumps(rng.choice(list(value)))}: [null]}}").encode()
    return text.encode()


def _at(value: object, place: tuple) -> object:
    for key in place:
        value = value[key]
    return value


# ---- tensors

TENSORS = (
    "NaN", "Inf", "wrong shape", "wrong dtype", "tensor missing", "tensor more",
    "tensor that is empty", "tensor renamed",
)  # fmt: skip


def _damage_tensors(kind: str, state: dict, rng: random.Random) -> dict:
    name = rng.choice([name for name, tensor in state.items() if tensor.numel()])
    tensor, changed = state[name].clone(), dict(state)
    if kind in ("NaN", "Inf"):
        tensor = tensor if tensor.is_floating_point() else tensor.float()
        value = float("nan") if kind == "NaN" else rng.choice((1, -1)) * float("inf")
        tensor.view(-1)[rng.randrange(tensor.numel())] = value
        changed[name] = tensor
    elif kind == "wrong shape":
        flat = tensor.reshape(-1)
        changed[name] = rng.choice((flat[:-1], tensor.unsqueeze(0), torch.cat((flat, flat))))
    elif kind == "wrong dtype":
        changed[name] = tensor.to(rng.choice((torch.int64, torch.bool, torch.complex64)))
    elif kind == "tensor missing":
        del changed[name]
    elif kind == "tensor that is empty":
        changed[name] = tensor[:0] if tensor.dim() else tensor.reshape(1)[:0]
    elif kind == "tensor renamed":
        changed[name + "_"] = changed.pop(name)
    else:
        more = rng.choice(
            ("x", "layers.99999.", "encoder.sentence_encoder.layers.99999.fc1.weight")
        )
        changed[more] = torch.zeros(2, 2)
    return {key: value.contiguous() for key, value in changed.items()}


SAFETENSORS = (*TENSORS, "header length", "header value", "offsets")


def _damage_safetensors(kind: str, data: bytes, rng: random.Random) -> bytes:
    length = struct.unpack("<Q", data[:8])[0]
    header, rest = data[8 : 8 + length], data[8 + length :]
    if kind == "header length":
        wrong = rng.choice((0, 1, length - 1, length + 1, 2**40, 2**63, 2**64 - 1))
        return struct.pack("<Q", wrong) + header + rest
    if kind in ("header value", "offsets"):
        value = json.loads(header)
        places = [p for p in _places(value) if p]
        if kind == "offsets":
            places = [p for p in places if "data_offsets" in p[:-1] or "shape" in p[:-1]]
        wrong = rng.choice(
            WRONG_VALUES[:-1] if kind == "header value" else (0, 1, -1, 2**62, 10**30)
        )
        changed = json.dumps(_replaced(value, rng.choice(places), wrong)).encode()
        return struct.pack("<Q", len(changed)) + changed + rest
    return safetensors.torch.save(_damage_tensors(kind, safetensors.torch.load(data), rng))


CHECKPOINT = (
    *TENSORS, "code", "code in the settings", "code in old form", "wrong setting", "setting missing",
    "very large setting", "settings nested", "no model", "model of another type", "part missing",
    "part of another type", "list",
)  # fmt: skip


def _damage_checkpoint(kind: str, data: bytes, rng: random.Random, trace: Path) -> bytes:
    state = load(io.BytesIO(data))
    buffer, old_form = io.BytesIO(), False
    parts = sorted(key for key in state if key != "model")
    if kind in TENSORS:
        state["model"] = _damage_tensors(kind, state["model"], rng)
    elif kind == "code":
        state[rng.choice(("extra", *parts))] = RunsCode(str(trace))
    elif kind == "code in the settings":
        state["cfg"]["model"] = RunsCode(str(trace))
    elif kind == "code in old form":
        state["model"], old_form = RunsCode(str(trace)), True
    elif kind in ("wrong setting", "setting missing", "very large setting"):
        cfg = state["cfg"] if isinstance(state.get("cfg"), dict) else {"model": {}}
        parts = [part for part in ("model", "task") if isinstance(cfg.get(part), dict)]
        settings = cfg[rng.choice(parts)] if parts else cfg
        numbers = [k for k, v in settings.items() if type(v) is int] or sorted(settings)
        key = rng.choice(numbers if kind == "very large setting" else sorted(settings))
        if kind == "wrong setting":
            settings[key] = rng.choice(WRONG_VALUES[:-1])
        elif kind == "setting missing":
            del settings[key]
        else:
            settings[key] = rng.choice((10**7, 2**31, 2**63, 10**30))
    elif kind == "settings nested":
        shared: object = {"x": 1}
        for _ in range(26):
            shared = {"a": shared, "b": shared}
        state["cfg"]["more"] = shared
    elif kind == "no model":
        del state["model"]
    elif kind == "model of another type":
        state["model"] = rng.choice((None, [], "x", 1, torch.zeros(2)))
    elif kind == "part missing":
        del state[rng.choice(parts)]
    elif kind == "part of another type":
        state[rng.choice(parts)] = rng.choice((None, [], "x", 1, torch.zeros(2), {"x": 1}))
    else:
        state = [state]
    torch.save(state, buffer, _use_new_zipfile_serialization=not old_form)
    return buffer.getvalue()


# ---- another file of the same kind

SWAPS = {
    "data/en/dict.txt": "data/de/dict.txt",
    "data/de/dict.txt": "data/en/dict.txt",
    "data/en/sentencepiece.bpe.model": "data/de/sentencepiece.bpe.model",
    "data/de/sentencepiece.bpe.model": "data/en/sentencepiece.bpe.model",
    "packs/de/dict.txt": "packs/en/dict.txt",
    "packs/de/language.safetensors": "packs/en/language.safetensors",
    "packs/de/sentencepiece.bpe.model": "packs/en/sentencepiece.bpe.model",
    "packs/en/sentencepiece.bpe.model": "packs/de/sentencepiece.bpe.model",
    "packs/en/dict.txt": "packs/de/dict.txt",
    "modules/lora/module.safetensors": "modules/compacter/module.safetensors",
    "modules/lora/module.json": "modules/compacter/module.json",
    "modules/compacter/module.safetensors": "modules/lora/module.safetensors",
    "en/checkpoint_last.pt": "de/checkpoint_last.pt",
    "topics/checkpoint_last.pt": "questioned/checkpoint_last.pt",
    "hf/model.safetensors": "packs/de/language.safetensors",
    "data/de/train.idx": "data/en/train.idx",
    "data/en/train.idx": "data/de/train.idx",
    "data/topics/label/dict.txt": "data/topics/input0/dict.txt",
}


def swap_for(name: str) -> str | None:
    """The file that is put in the place of the one of that name, which ends in the way it does."""
    inside = name.partition("in/")[2]
    return SWAPS.get(inside)


def _other(path: Path) -> Path:
    root = next(parent for parent in path.parents if parent.name == "in")
    return root / SWAPS[str(path.relative_to(root))]
