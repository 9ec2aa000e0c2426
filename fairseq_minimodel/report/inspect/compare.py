"""Where two checkpoints, language packs or task modules differ: settings, and weights by parts."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ...bodies.family import EMBEDDING, OUTPUT_BIAS, VOCABULARY
from ...bodies.identity import decode, lineage_of
from ...bodies.language_side import StateDict
from ...bodies.parts import listed, part_of, place_of
from ...errors import InputError
from ...packs.commands import MODEL
from ...packs.module import DESCRIPTION as MODULE
from ...packs.module import load_module
from ...packs.pack import DESCRIPTION as PACK
from ...packs.pack import load_pack
from ...terminal.progress import Progress
from ...terminal.table import format_table
from .checkpoint import read_whole
from .facts import wrapped
from .weights import precisions, weights_of

COPIES = ("optimizer.lr", "lr_scheduler.lr")  # of optimization.lr
OFF = (None, False, "", 0)
LONGEST = 44  # characters of a setting that are shown; of a longer one its end


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        path: of it.
        kind: of it, "checkpoint" for instance.
        lineage, vocabulary: identifiers; None: not known.
        settings: by name.
        weights: by name, as a checkpoint has them.
    """

    path: Path
    kind: str
    lineage: str
    vocabulary: str | None
    settings: dict[str, object]
    weights: StateDict

    def __str__(self) -> str:
        return f"{self.kind} {self.path}, lineage {self.lineage}"


@dataclass
class Part:
    """How the tensors of one part of the model compare.

    Attributes:
        name: of the part.
        equal: how many tensors are identical by bits.
        changed: how many have the same shape, and other bits.
        largest: the largest absolute difference of two elements.
        relative: the Euclidean norm of all differences over that of A; NaN where A is 0.
        reshaped: the shapes, in A and in B, of tensors that have different ones.
        only_a, only_b: how many tensors the other does not have.
    """

    name: str
    equal: int = 0
    changed: int = 0
    largest: float = 0.0
    relative: float = 0.0
    reshaped: list[tuple[list[int], list[int]]] = field(default_factory=list)
    only_a: int = 0
    only_b: int = 0


@dataclass(frozen=True)
class Comparison:
    """Two models and where they differ.

    Attributes:
        a, b: the two.
        settings: name, value in A and value in B of each that differs; None: it has no such setting.
        parts: of the weights, in the model's order.
    """

    a: Side
    b: Side
    settings: Sequence[tuple[str, object, object]]
    parts: Sequence[Part]

    @property
    def verdict(self) -> str:
        """What is the same and what is not, in a sentence."""
        shared = [part for part in self.parts if part.equal or part.changed or part.reshaped]
        equal = [part for part in shared if not (part.changed or part.reshaped)]
        alone = [part for part in self.parts if part not in shared]
        said = ["of one lineage" if self.a.lineage == self.b.lineage else "of different lineages"]
        for words, parts in (
            ("identical by bits", [part for part in equal if not (part.only_a or part.only_b)]),
            ("identical as far as both have it", [p for p in equal if p.only_a or p.only_b]),
            ("changed", [part for part in shared if part.changed]),
            ("of other shapes", [part for part in shared if part.reshaped]),
            ("only in A", [part for part in alone if part.only_a]),
            ("only in B", [part for part in alone if part.only_b]),
        ):
            if parts:
                said.append(f"{words}: {listed(part.name for part in parts)}")
        return "; ".join(said)

    def __str__(self) -> str:
        lines = [f"{name}: {side}" for name, side in (("A", self.a), ("B", self.b))] + [""]
        if self.settings:
            rows = [[name, _shown(a), _shown(b)] for name, a, b in self.settings]
            lines += [format_table(["setting", "A", "B"], rows), ""]
        rows = [
            [part.name, part.equal, part.changed, *_differences(part), _note(part)]
            for part in self.parts
        ]
        headers = ["part", "identical", "changed", "largest difference", "relative (%)", ""]
        lines += [format_table(headers, rows), "", *wrapped("", self.verdict)]
        vocabularies = {self.a.vocabulary, self.b.vocabulary} - {None}
        if len(vocabularies) == 2:
            lines.append("The vocabularies differ: a row is another symbol in A than in B.")
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The same for JSON."""
        sides = {
            name: {
                "path": str(side.path),
                "kind": side.kind,
                "lineage": side.lineage,
                "vocabulary": side.vocabulary,
            }
            for name, side in (("a", self.a), ("b", self.b))
        }
        settings = [{"name": name, "a": a, "b": b} for name, a, b in self.settings]
        parts = [
            {**asdict(part), "largest": _finite(part.largest), "relative": _finite(part.relative)}
            for part in self.parts
        ]
        return {**sides, "settings": settings, "parts": parts, "verdict": self.verdict}


def compare(a: Path, b: Path) -> Comparison:
    """Compare two checkpoints, language packs or task modules, of one kind or of two.

    Tensors are compared by name; the MLM head after the last layer is that after the same layer of a
    deeper model.

    Raises:
        InputError: one of them is missing, damaged or something else.
    """
    sides = _read(a), _read(b)
    return Comparison(*sides, list(_settings(*sides)), _parts(*sides))


def _read(path: Path) -> Side:
    if (path / PACK).is_file():
        return _pack(path)
    if (path / MODULE).is_file():
        return _module(path)
    if path.is_dir() and not (path / MODEL).is_file():
        raise InputError(
            f"{path} is no language pack, no task module and no plugged model; --compare takes these "
            "and checkpoints"
        )
    return _checkpoint(path / MODEL if path.is_dir() else path)


def _checkpoint(path: Path) -> Side:
    checkpoint, _, cost = read_whole(path)
    vocabulary = checkpoint.state.get(VOCABULARY)
    weights = weights_of(checkpoint)
    loss = checkpoint.extra_state.get("val_loss")
    settings = {
        **_flat(checkpoint.config),
        **asdict(cost),
        "validation_loss": None if loss is None else float(loss),
        "layers": checkpoint.layers,
    }
    return Side(
        path,
        "checkpoint",
        lineage_of(checkpoint.state),
        None if vocabulary is None else decode(vocabulary),
        {**settings, "precision": ", ".join(precisions(weights))},
        weights,
    )


def _pack(path: Path) -> Side:
    pack = load_pack(path, finite=False)
    about = asdict(pack.description)
    lineage, vocabulary = about.pop("lineage"), about.pop("vocabulary")
    weights = {EMBEDDING: pack.side.embedding, OUTPUT_BIAS: pack.side.bias}
    settings = {**_flat(about), "precision": ", ".join(precisions(weights))}
    return Side(path, "language pack", lineage, vocabulary, settings, weights)


def _module(path: Path) -> Side:
    module = load_module(path, finite=False)
    about = asdict(module.description)
    lineage = about.pop("lineage")
    settings = {**_flat(about), "precision": ", ".join(precisions(module.tensors))}
    return Side(path, "task module", lineage, None, settings, module.tensors)


def _flat(settings: dict[str, object], before: str = "") -> dict[str, object]:
    """Settings in settings, by names such as "optimizer.lr"."""
    flat = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[f"{before}{name}"] = value
    return flat


def _settings(a: Side, b: Side) -> Iterator[tuple[str, object, object]]:
    """Those that differ. One that A or B does not have is none if it is off in the other, or if the
    two are of different kinds."""
    for name in dict.fromkeys([*a.settings, *b.settings]):
        one, other = a.settings.get(name), b.settings.get(name)
        in_both = name in a.settings and name in b.settings
        are_off = one in OFF and other in OFF
        if one == other or name in COPIES:
            continue
        if in_both or (a.kind == b.kind and not are_off):
            yield name, one, other


def _parts(a: Side, b: Side) -> list[Part]:
    parts: dict[str, Part] = {}
    squares: dict[str, list[float]] = {}
    names = list(dict.fromkeys([*a.weights, *b.weights]))
    total = sum(tensor.nbytes for tensor in a.weights.values())
    with Progress("comparing", total) as progress:
        for name in names:
            part = parts.setdefault(part_of(name), Part(part_of(name)))
            one, other = a.weights.get(name), b.weights.get(name)
            if one is None:
                part.only_b += 1
                continue
            progress.update(one.nbytes)
            if other is None:
                part.only_a += 1
            elif one.shape != other.shape:
                part.reshaped.append((list(one.shape), list(other.shape)))
            elif _same_bits(one, other):
                part.equal += 1
                _add_squares(squares, part, torch.zeros(1), one)
            else:
                part.changed += 1
                difference = one.float() - other.float()
                part.largest = _largest(part.largest, float(difference.abs().max()))
                _add_squares(squares, part, difference, one)
    for name, (difference, size) in squares.items():
        parts[name].relative = math.sqrt(difference / size) if size else math.nan
    return sorted(parts.values(), key=lambda part: place_of(part.name))


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """NaN equals NaN, and 0 does not equal -0."""
    if one.dtype != other.dtype:
        return False
    return torch.equal(*(tensor.reshape(-1).view(torch.uint8) for tensor in (one, other)))


def _add_squares(
    squares: dict[str, list[float]], part: Part, difference: Tensor, tensor: Tensor
) -> None:
    sums = squares.setdefault(part.name, [0.0, 0.0])
    for place, values in enumerate((difference, tensor)):
        sums[place] += float(values.float().norm()) ** 2


def _largest(one: float, other: float) -> float:
    return other if math.isnan(other) else max(one, other)


def _differences(part: Part) -> tuple[str | None, str | None]:
    if not part.changed:
        return None, None
    return f"{part.largest:.3g}", f"{100 * part.relative:.3g}"


def _note(part: Part) -> str:
    shapes = [
        f"{' x '.join(map(str, one))} in A, {' x '.join(map(str, other))} in B"
        for one, other in part.reshaped
    ]
    alone = [f"{count} only in {side}" for side, count in (("A", part.only_a), ("B", part.only_b))
             if count]  # fmt: skip
    return "; ".join(shapes + alone)


def _shown(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else f"...{text[-LONGEST:]}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
