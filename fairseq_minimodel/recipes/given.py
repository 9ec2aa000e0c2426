"""What `adapt` is given, as far as a plan needs it: the model, the amount of text, the machine."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..bodies.checkpoint import read_checkpoint
from ..bodies.cost import shape_of
from ..bodies.families import FAMILIES, family_of
from ..bodies.weights import open_safetensors
from ..corpus.pairs import read_pairs
from ..cost.flops import Shape
from ..errors import InputError
from ..files.formats import refuse_structure
from ..files.records import read_json
from ..files.text import TextFile
from ..interop.hub import local_folder
from ..interop.import_hf import AGAIN, BODY, CONFIG, PACK, WEIGHTS, is_new_head, sizes_of
from ..interop.modern_settings import read_modern_settings
from .options import AdaptOptions

HEADS = ("ForMaskedLM", "ForPreTraining")  # of config.json, where the weights are not at hand
COMPRESSION = 4  # bytes of text in a byte of a compressed file, about
BYTES_PER_TOKEN = 4  # about, of a vocabulary of some 10,000 pieces
# Share of the rate of large matrix products that training reaches: on a CPU as measured
# (docs/performance.md), on a GPU assumed.
USED_ON_CPU, USED_ON_GPU = 0.6, 0.4


@dataclass(frozen=True)
class Model:
    """The model to adapt.

    Attributes:
        body: the checkpoint, where it is one already; pack: that of its language, where it has one.
        architecture: the model of this package that it is, for --arch.
        shape: its sizes.
        settings: of the body, by fairseq's names of its options.
        has_head: whether it has an MLM head that was trained.
    """

    body: Path | None
    pack: Path | None
    architecture: str
    shape: Shape
    settings: Mapping[str, object]
    has_head: bool


def read_model(name: str) -> Model:
    """Raises InputError: there is no such model, or it is not of a family that can be imported."""
    path = Path(name)
    if path.is_file():
        return _of_checkpoint(path, None)
    if (path / BODY).is_file():
        return _of_checkpoint(path / BODY, path / PACK)
    return _of_config(local_folder(name, [CONFIG]) / CONFIG)


def _of_checkpoint(path: Path, pack: Path | None) -> Model:
    body = read_checkpoint(path)
    has_head, sizes = not is_new_head(body), shape_of(body)
    return Model(path, pack, body.family.model, sizes, body.body_settings(), has_head)


def _of_config(path: Path) -> Model:
    config = read_json(path, AGAIN)
    family = family_of(config.get("model_type")) if isinstance(config, dict) else None
    if family is None:
        kinds = ", ".join(kind for one in FAMILIES for kind in one.model_types)
        raise InputError(f"{path} is of none of the types that can be imported: {kinds}")
    try:
        settings = sizes_of(config, family)
        vocabulary = int(config[family.dimensions["V"]])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error!r}); {AGAIN}") from None
    settings |= read_modern_settings(config, family, settings["encoder_layers"], path)
    shape = Shape.of(settings, vocabulary, modern=family.is_modern, tied=family.is_tied)
    weights = path.with_name(WEIGHTS)
    if weights.is_file():
        with open_safetensors(weights, AGAIN) as tensors:
            has_head = (family.bias_there or family.projection_there) in list(tensors.keys())
    else:
        classes = config.get("architectures")
        classes = classes if isinstance(classes, list) else []
        has_head = any(str(one).endswith(HEADS) for one in classes)
    return Model(None, None, family.model, shape, settings, has_head)


@dataclass(frozen=True)
class Material:
    """How much there is to learn from.

    Attributes:
        text, source_text: bytes, about.
        lines, source_lines: whether each line is a document: no blank line stands between them.
        pairs: of sentences.
        words: entries of the dictionary.
    """

    text: float
    source_text: float
    pairs: int
    words: int
    lines: bool = False
    source_lines: bool = False


def read_material(options: AdaptOptions) -> Material:
    """Raises InputError: a file is missing or is not text, or pairs are not line-aligned."""
    words = 0
    if options.dictionary:
        with TextFile(options.dictionary) as file:
            words = sum(1 for _, line in file.lines() if not line.isspace())
    return Material(
        _bytes_of(options.text),
        _bytes_of(options.source_text),
        sum(1 for paths in options.parallel for _ in read_pairs(*paths)),
        words,
        not any(map(_has_documents, options.text)),
        not any(map(_has_documents, options.source_text)),
    )


def _bytes_of(paths: Sequence[Path]) -> float:
    size = 0
    for path in paths:
        with TextFile(path) as file:
            refuse_structure(file.head, path)  # which `prepare` would do, after other steps
            size += path.stat().st_size * (COMPRESSION if file.is_compressed else 1)
    return size


def _has_documents(path: Path) -> bool:
    with TextFile(path) as file:
        return file.is_json_lines or b"\n\n" in file.head.replace(b"\r", b"")


@dataclass(frozen=True)
class Machine:
    """What trains.

    Attributes:
        has_gpu: whether it is a GPU.
        rate: FLOP/s that training reaches, about.
        bfloat16: whether products in bfloat16 are faster.
    """

    has_gpu: bool
    rate: float
    bfloat16: bool


def measure(shape: Shape) -> Machine:
    """Time products of the model's sizes, for a third of a second."""
    has_gpu = torch.cuda.is_available()
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")  # as in training (nn/cpu.py)
    try:
        plain, short = (_rate(shape, kind, has_gpu) for kind in (torch.float32, torch.bfloat16))
    finally:
        torch.set_float32_matmul_precision(former)
    used = USED_ON_GPU if has_gpu else USED_ON_CPU
    return Machine(has_gpu, used * max(plain, short), short > 1.2 * plain)


def _rate(shape: Shape, kind: torch.dtype, has_gpu: bool) -> float:
    tokens = 2048
    states = torch.ones(tokens, shape.width, dtype=kind, device="cuda" if has_gpu else "cpu")
    weight = torch.ones(shape.width, shape.ffn, dtype=kind, device=states.device)
    states @ weight  # the first one prepares the kernel
    count, started = 0, time.monotonic()
    while (seconds := time.monotonic() - started) < 0.15 or not count:
        states @ weight
        if has_gpu:
            torch.cuda.synchronize()
        count += 1
    return count * 2 * tokens * shape.width * shape.ffn / seconds
