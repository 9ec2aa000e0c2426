"""Where two checkpoints, language packs or task modules differ: settings, and weights by parts."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from ..bodies.parts import listed, part_of, place_of
from ..terminal.progress import Progress
from ..terminal.table import format_table
from .facts import Description, wrapped
from .models import SAYS_NOTHING

COPIES = ("optimizer.lr", "lr_scheduler.lr")  # of optimization.lr
MEASURES = ("largest", "relative")
LONGEST = 44  # characters of a setting that are shown; of a longer one its end


@dataclass
class Part:
    """How the tensors of one part of the model compare."""

    name: str
    equal: int = 0  # tensors that are identical by bits
    changed: int = 0  # tensors of the same shape, with other bits
    largest: float = 0.0  # absolute difference of two elements
    relative: float = 0.0  # the Euclidean norm of all differences over that of A; NaN where A is 0
    reshaped: list[tuple[list[int], list[int]]] = field(default_factory=list)  # shapes in A, in B
    only_a: int = 0  # tensors that B does not have
    only_b: int = 0

    def row(self) -> list[object]:
        """Its row of the table."""
        differences = (f"{self.largest:.3g}", f"{100 * self.relative:.3g}")
        notes = [
            f"{' x '.join(map(str, one))} in A, {' x '.join(map(str, other))} in B"
            for one, other in self.reshaped
        ]
        alone = {"A": self.only_a, "B": self.only_b}
        notes += [f"{count} only in {side}" for side, count in alone.items() if count]
        shown = differences if self.changed else (None, None)
        return [self.name, self.equal, self.changed, *shown, "; ".join(notes)]


@dataclass(frozen=True)
class Comparison:
    """Two models and where they differ."""

    a: Description
    b: Description
    settings: Sequence[tuple[str, object, object]]  # name; value in A and in B, None: it has none
    parts: Sequence[Part]  # in the model's order

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
        sides = {"A": self.a, "B": self.b}
        lines = [f"{n}: {one.kind} {one.path}, lineage {one.lineage}" for n, one in sides.items()]
        if self.settings:
            rows = [[name, _shown(a), _shown(b)] for name, a, b in self.settings]
            lines += ["", format_table(["setting", *sides], rows)]
        headers = ["part", "identical", "changed", "largest difference", "relative (%)", ""]
        lines += ["", format_table(headers, [part.row() for part in self.parts]), ""]
        lines += wrapped("", self.verdict)
        if len({self.a.vocabulary, self.b.vocabulary} - {None}) == 2:
            lines.append("The vocabularies differ: a row is another symbol in A than in B.")
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The same for JSON."""
        sides = {
            name: {key: getattr(side, key) for key in ("kind", "lineage", "vocabulary")}
            | {"path": str(side.path)}
            for name, side in (("a", self.a), ("b", self.b))
        }
        settings = [{"name": name, "a": a, "b": b} for name, a, b in self.settings]
        parts = [asdict(part) for part in self.parts]
        for part in parts:  # JSON has no NaN and no infinities
            part |= {key: None for key in MEASURES if not math.isfinite(part[key])}
        return {**sides, "settings": settings, "parts": parts, "verdict": self.verdict}


def compare_models(a: Description, b: Description) -> Comparison:
    """Compare two models, of one kind or of two.

    Tensors are compared by name; the MLM head after the last layer is that after the same layer of a
    deeper model.
    """
    return Comparison(a, b, list(_settings(a, b)), _parts(a, b))


def _settings(a: Description, b: Description) -> Iterator[tuple[str, object, object]]:
    """Those that differ. One that A or B does not have is none if it is off in the other, or if the
    two are of different kinds."""
    for name in dict.fromkeys([*a.settings, *b.settings]):
        one, other = a.settings.get(name), b.settings.get(name)
        in_both = name in a.settings and name in b.settings
        are_off = one in SAYS_NOTHING and other in SAYS_NOTHING
        counts = in_both or (a.kind == b.kind and not are_off)
        if one != other and counts and name not in COPIES:
            yield name, one, other


def _parts(a: Description, b: Description) -> list[Part]:
    parts: dict[str, Part] = {}
    squares: dict[str, list[float]] = {}  # by part: the sums of those of differences, and of A
    total = sum(tensor.nbytes for tensor in a.weights.values())
    with Progress("comparing", total) as progress:
        for name in dict.fromkeys([*a.weights, *b.weights]):
            part = parts.setdefault(part_of(name), Part(part_of(name)))
            one, other = a.weights.get(name), b.weights.get(name)
            progress.update(0 if one is None else one.nbytes)
            if one is None or other is None:
                part.only_a += other is None
                part.only_b += one is None
            elif one.shape != other.shape:
                part.reshaped.append((list(one.shape), list(other.shape)))
            else:
                sums = squares.setdefault(part.name, [0.0, 0.0])
                sums[1] += float(one.float().norm()) ** 2
                same = _same_bits(one, other)
                part.equal += same
                part.changed += not same
                if not same:
                    difference = one.float() - other.float()
                    sums[0] += float(difference.norm()) ** 2
                    # torch's maximum is NaN where one of two is
                    largest = torch.maximum(difference.abs().max(), torch.tensor(part.largest))
                    part.largest = float(largest)
    for name, (difference, size) in squares.items():
        parts[name].relative = math.sqrt(difference / size) if size else math.nan
    return sorted(parts.values(), key=lambda part: place_of(part.name))


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """NaN equals NaN, and 0 does not equal -0."""
    if one.dtype != other.dtype:
        return False
    return torch.equal(*(tensor.reshape(-1).view(torch.uint8) for tensor in (one, other)))


def _shown(value: object) -> object:
    if value is None or isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = str(value)
    return text if len(text) <= LONGEST else f"...{text[-LONGEST:]}"
