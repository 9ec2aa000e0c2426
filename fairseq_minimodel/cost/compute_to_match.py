"""Compute to match: how much less compute a variant needs for a score, of curves over FLOPs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy

from ..errors import InputError

NEARLY = 0.95  # of a reference's best score: where curves are flat, noise decides about the rest


@dataclass(frozen=True)
class Curve:
    """Evaluations along one training run.

    Attributes:
        name: of the variant, for the legend.
        flops: cumulative FLOPs at each evaluation, growing; 0 is before training.
        scores: the score at each evaluation, 0 to 1, the higher the better.
        lows, highs: of a mean over runs, the lowest and the highest score of a run at each
            evaluation; empty for a single run.

    Raises:
        InputError: no evaluations, lists of different length, or values out of range.
    """

    name: str
    flops: Sequence[float]
    scores: Sequence[float]
    lows: Sequence[float] = ()
    highs: Sequence[float] = ()

    def __post_init__(self):
        if len(self.flops) == 0 or len(self.flops) != len(self.scores):
            raise InputError(
                f"the curve {self.name} has {len(self.flops)} FLOPs and {len(self.scores)} scores: "
                "it needs one of each per evaluation, and at least one evaluation"
            )
        ordered = all(a < b for a, b in zip(self.flops[:-1], self.flops[1:], strict=True))
        if not ordered or self.flops[0] < 0 or not all(map(math.isfinite, self.flops)):
            raise InputError(f"the FLOPs of the curve {self.name} do not grow from 0 or more")
        if not len(self.lows) == len(self.highs) in (0, len(self.scores)):
            raise InputError(
                f"the curve {self.name} has {len(self.lows)} lowest and {len(self.highs)} highest "
                f"scores: it needs {len(self.scores)} of each, or none"
            )
        if not all(0 <= score <= 1 for score in self.scores):
            raise InputError(f"the curve {self.name} has a score that is not between 0 and 1")

    def with_cost(self, flops: float) -> "Curve":
        """The same run, with so many FLOPs spent before it.

        For what is paid once for k languages (pretraining, MiniPost's step 1b), give each language
        its share, once / k. Compute to match is then
        (reference's adaptation + reference's once / k) / (adaptation + once / k).
        """
        return replace(self, flops=[before + flops for before in self.flops])


class ComputeToMatch(NamedTuple):
    """Result of `compute_to_match`; `note` says why the ratio is missing, or what limits it."""

    score: float  # the score to reach
    reference_flops: float  # FLOPs the reference needs to reach it
    flops: float | None  # FLOPs the variant needs; None if it never does
    ratio: float | None  # reference_flops / flops: above 1, the variant is cheaper
    note: str

    def ratio_in_words(self) -> str:
        """The ratio for a table, or why there is none."""
        if self.flops is None:
            return "not reached"
        return "before training" if self.ratio is None else f"{self.ratio:.2f}"


def compute_to_match(reference: Curve, curve: Curve, fraction: float = 1.0) -> ComputeToMatch:
    """How many times less compute `curve` needs than `reference` to reach the reference's best.

    The speed-up of Marchisio et al. (2023, arXiv 2212.10503), for `fraction` of the reference's best
    score. Between two evaluations, FLOPs are interpolated linearly on the best score so far, so that
    a score lost again still counts as reached.

    Raises:
        InputError: `fraction` is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction {fraction} of the best score is not above 0 and at most 1")
    score = fraction * max(reference.scores)
    reference_flops, flops = (_flops_to_reach(score, run) for run in (reference, curve))
    assert reference_flops is not None  # its own best score, or less
    if flops is None:
        note = f"{curve.name} reaches {max(curve.scores):.3f}, not {score:.3f}"
        return ComputeToMatch(score, reference_flops, None, None, note)
    if flops == 0:
        note = f"{curve.name} reaches {score:.3f} before training"
        return ComputeToMatch(score, reference_flops, flops, None, note)
    early = [run.name for run in (reference, curve) if run.scores[0] >= score]
    note = f"reached at the first evaluation or earlier: {', '.join(early)}" if early else ""
    return ComputeToMatch(score, reference_flops, flops, reference_flops / flops, note)


class ComputeToMatchOverSeeds(NamedTuple):
    """Result of `compute_to_match_over_seeds`.

    `match` is that of the mean over all seeds, and `low` and `high` bound its ratio. An end is open,
    None, where it falls among resamples without a ratio: `low` if too many of them never reach the
    score, `high` if too many have it before training (or nearly all never reach it).
    """

    match: ComputeToMatch
    low: float | None
    high: float | None
    never: float  # share of the resamples in which the variant never reaches the score
    before_training: float  # share in which it has the score before training


def compute_to_match_over_seeds(
    references: Sequence[Curve],
    curves: Sequence[Curve],
    fraction: float = 1.0,
    *,
    samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 1,
) -> ComputeToMatchOverSeeds:
    """Compute to match of the mean over seeds, with a bootstrap interval over seeds.

    The ratio is taken of mean curves, not averaged over seeds: a seed that never reaches its score has
    no ratio, but it has a curve. What is averaged is the best score so far of each run, linear between
    evaluations, over the FLOPs that all runs of a side have.

    The interval is the percentile bootstrap (Efron and Tibshirani 1993, chapter 13): seeds are drawn
    with replacement, the same for both sides, and the whole is computed again for each resample. One
    that never reaches its score counts as a ratio below all others, one that has it before training
    as a ratio above all others. With few seeds the interval is rough: three have ten resamples.

    Args:
        references, curves: a curve for each seed, in the same order.
        fraction: of the reference's best score.
        samples, confidence, seed: of the bootstrap.

    Raises:
        InputError: fewer than two seeds, lists of different length, curves without FLOPs in common,
            or an argument out of range.
    """
    if len(references) != len(curves) or len(curves) < 2:
        raise InputError(
            f"{len(references)} reference curves and {len(curves)} curves: an interval needs one of "
            "each per seed, and at least two seeds"
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence} is not between 0 and 1")
    if samples < 1:
        raise InputError(f"{samples} samples: at least 1 is needed")
    sides = [_best_so_far(runs) for runs in (references, curves)]
    draws = numpy.random.default_rng(seed).integers(len(curves), size=(samples, len(curves)))
    resamples, counts = numpy.unique(numpy.sort(draws), axis=0, return_counts=True)
    matches = [_match_of_means(sides, fraction, resample) for resample in resamples]
    ratios = numpy.array([_rank(match) for match in matches])
    tail = (1 - confidence) / 2
    low, high = numpy.quantile(
        numpy.repeat(ratios, counts), [tail, 1 - tail], method="inverted_cdf"
    )
    return ComputeToMatchOverSeeds(
        _match_of_means(sides, fraction, range(len(curves))),
        low=float(low) if math.isfinite(low) else None,
        high=float(high) if math.isfinite(high) else None,
        never=float(counts[ratios == -math.inf].sum() / samples),
        before_training=float(counts[ratios == math.inf].sum() / samples),
    )


def score_curve(name: str, points: Iterable[tuple[float, float]], control: float | None) -> Curve:
    """A variant's score, 0 to 1, over the FLOPs of its adaptation; `points` in any order.

    `control` is the score of a language side that was not trained, which stands at 0 FLOPs.
    """
    points = sorted([*([] if control is None else [(0, control)]), *points])
    return Curve(name, [flops for flops, _ in points], [score for _, score in points])


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean score over runs, at the first run's evaluations, with the range of the runs' scores.

    Runs differ a little in FLOPs, because batches differ in tokens: scores are interpolated linearly
    between a run's evaluations, over the FLOPs that all runs have.

    Raises:
        InputError: no curves, or curves without FLOPs in common.
    """
    first, last = _common_range(curves)
    flops = [first, *(x for x in curves[0].flops if first < x < last), *([last] * (last > first))]
    scores = numpy.array([numpy.interp(flops, run.flops, run.scores) for run in curves])
    return Curve(
        curves[0].name,
        flops,
        scores.mean(axis=0).tolist(),
        scores.min(axis=0).tolist(),
        scores.max(axis=0).tolist(),
    )


def _best_so_far(curves: Sequence[Curve]) -> list[Curve]:
    """The best score so far of each run, linear between evaluations, at the FLOPs of all of them."""
    first, last = _common_range(curves)
    points = numpy.unique(numpy.concatenate([[first, last], *(run.flops for run in curves)]))
    points = points[(first <= points) & (points <= last)]
    best = [numpy.interp(points, run.flops, numpy.maximum.accumulate(run.scores)) for run in curves]
    return [Curve(curves[0].name, points.tolist(), scores.tolist()) for scores in best]


def _common_range(curves: Sequence[Curve]) -> tuple[float, float]:
    if not curves:
        raise InputError("0 curves: a mean needs at least 1")
    first, last = max(run.flops[0] for run in curves), min(run.flops[-1] for run in curves)
    if first > last:
        raise InputError(
            f"the runs of {curves[0].name} have no FLOPs in common: one begins at {first:g}, another "
            f"ends at {last:g}"
        )
    return first, last


def _match_of_means(
    sides: Sequence[Sequence[Curve]], fraction: float, resample: Sequence[int]
) -> ComputeToMatch:
    scores = ([runs[seed].scores for seed in resample] for runs in sides)
    means = (numpy.mean(some, axis=0).tolist() for some in scores)
    matched = (replace(runs[0], scores=mean) for runs, mean in zip(sides, means, strict=True))
    return compute_to_match(*matched, fraction)


def _rank(match: ComputeToMatch) -> float:
    """Where a resample stands among others: its ratio; below all if it never reaches the score."""
    if match.flops is None:
        return -math.inf
    return math.inf if match.ratio is None else match.ratio


def _flops_to_reach(score: float, curve: Curve) -> float | None:
    flops, best = curve.flops[0], curve.scores[0]
    if best >= score:
        return flops
    for next_flops, next_score in zip(curve.flops[1:], curve.scores[1:], strict=True):
        if next_score >= score:
            return flops + (next_flops - flops) * (score - best) / (next_score - best)
        flops, best = next_flops, max(best, next_score)
    return None
