"""Score against compute: the picture, and how much less compute a variant needs for a score."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import LogFormatter, PercentFormatter

from ..errors import InputError
from ..files.atomic import atomic_file
from ..files.outputs import PICTURE
from ..terminal.table import flops_unit

# Okabe and Ito (2008): told apart with any common colour blindness, and in grey by their markers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_GREY = "#555555"
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
        return dataclasses.replace(self, flops=[before + flops for before in self.flops])


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

    The speed-up of Marchisio et al. (2023, arXiv 2212.10503): the FLOPs that the standard approach
    needs to reach a score, over the FLOPs that the variant needs to reach the same. The score is
    `fraction` of the reference's best. Between two evaluations, FLOPs are interpolated linearly on
    the best score so far, so that a score lost again still counts as reached.

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

    Marchisio et al. compare the performance that an amount of compute buys. Over several seeds that
    is the mean score after so many FLOPs, and the ratio is taken of mean curves, not averaged over
    seeds: a seed that never reaches its score has no ratio, but it has a curve. What is averaged is
    the best score so far of each run, linear between evaluations, over the FLOPs that all runs of
    a side have. The mean's best, or a `fraction` of it, is the score to reach.

    The interval is the percentile bootstrap (Efron and Tibshirani 1993, chapter 13): seeds are drawn
    with replacement, the same for both sides, and the whole is computed anew for each resample. One
    that never reaches its score counts as a ratio below all others, one that has it before training
    as a ratio above all others. With few seeds the interval is rough: three have ten resamples.

    Args:
        references, curves: a curve for each seed, in the same order.
        fraction: of the reference's best score.
        samples: resamples drawn.
        confidence: of the interval.
        seed: of the draws.

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


class _Runs(NamedTuple):
    """The runs of one side: best scores so far (runs x points) at common FLOPs."""

    name: str
    flops: numpy.ndarray
    scores: numpy.ndarray


def _best_so_far(curves: Sequence[Curve]) -> _Runs:
    first, last = _common_range(curves)
    points = numpy.unique(numpy.concatenate([[first, last], *(run.flops for run in curves)]))
    points = points[(first <= points) & (points <= last)]
    best = [numpy.interp(points, run.flops, numpy.maximum.accumulate(run.scores)) for run in curves]
    return _Runs(curves[0].name, points, numpy.array(best))


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
    sides: Sequence[_Runs], fraction: float, resample: Sequence[int]
) -> ComputeToMatch:
    means = (
        Curve(runs.name, runs.flops.tolist(), runs.scores[list(resample)].mean(axis=0).tolist())
        for runs in sides
    )
    return compute_to_match(*means, fraction)


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


def draw_score_against_flops(
    curves: Sequence[Curve],
    path: str | Path,
    *,
    references: Mapping[str, float] | None = None,
    score_label: str = "accuracy",
    title: str = "",
    log_x: bool = False,
) -> None:
    """Draw the curves over their training compute, as a PNG of 1000 x 600 pixels.

    Args:
        curves: at most six; each gets a colour, a marker and a legend entry, and its name beside
            its last point where there is room, and a band from its lows to its highs.
        path: of the PNG, written as a whole or not at all.
        references: name to score, drawn as horizontal lines: chance, source language, control.
        score_label: name of the score on the axis, which is in per cent.
        title: above the picture.
        log_x: logarithmic compute; evaluations at 0 FLOPs are then left out.

    Raises:
        InputError: no curves, more than six, or nothing to draw on a logarithmic axis.
    """
    if not 1 <= len(curves) <= len(COLOURS):
        raise InputError(f"{len(curves)} curves: a picture takes 1 to {len(COLOURS)}")
    most = max(curve.flops[-1] for curve in curves)
    if log_x and min(curve.flops[-1] for curve in curves) == 0:
        raise InputError("a curve ends at 0 FLOPs, which a logarithmic axis cannot show")
    divisor, unit = flops_unit(most)

    figure = Figure(figsize=(10, 6), dpi=100, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # inches
    axes = figure.subplots()
    lines = []
    for curve, colour, marker in zip(curves, COLOURS, _MARKERS, strict=False):
        shown = slice(curve.flops[0] == 0 and log_x, None)
        flops = [flops / divisor for flops in curve.flops[shown]]
        lines += axes.plot(
            flops,
            curve.scores[shown],
            color=colour,
            marker=marker,
            label=curve.name,
            linewidth=2,
        )
        if curve.lows:
            axes.fill_between(
                flops, curve.lows[shown], curve.highs[shown], color=colour, alpha=0.15, linewidth=0
            )
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(LogFormatter())
        axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    for score in (references or {}).values():
        axes.axhline(score, color=_GREY, linewidth=1, linestyle=(0, (5, 4)), zorder=1)
    axes.set_xlabel(f"training compute ({unit})", fontsize=13)
    axes.set_ylabel(f"{score_label} (%)", fontsize=13)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, symbol=""))
    axes.tick_params(which="both", labelsize=12)
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        title=title,
        title_fontsize=14,
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(-0.02, 1),  # above the axes, where no curve runs
        ncols=min(len(lines), 3),
        frameon=False,
        fontsize=12,
    )
    _label_directly(axes, lines, references or {})
    with atomic_file(path, PICTURE) as temporary:
        figure.savefig(temporary, format="png")


def _label_directly(axes: Axes, lines: Sequence[Line2D], references: Mapping[str, float]) -> None:
    """Name the references in the right margin, then each curve at its end where nothing is hit."""
    style = {"textcoords": "offset points", "fontsize": 12}
    labels: list[Annotation] = []
    axes.figure.draw_without_rendering()  # settles the limits, for positions in pixels
    for name, score in sorted(references.items(), key=lambda item: item[1]):
        label = axes.annotate(
            f"{name} {100 * score:.1f} %",
            (1, score),
            xycoords=axes.get_yaxis_transform(),  # right edge of the axes, height in scores
            xytext=(8, 0),
            va="center",
            color=_GREY,
            **style,
        )
        # Reference lines close to each other: lift the upper label off the lower one.
        overlap = labels[-1].get_window_extent().y1 - label.get_window_extent().y0 if labels else 0
        label.xyann = (8, max(0, overlap) * 72 / axes.figure.dpi)
        labels.append(label)
    axes.figure.draw_without_rendering()  # gives the right margin its width
    taken = [label.get_window_extent() for label in labels]
    runs = [line.get_path().transformed(line.get_transform()) for line in axes.lines]
    for line in lines:
        end = (line.get_xdata()[-1], line.get_ydata()[-1])
        for offset, horizontal, vertical in (
            ((8, 0), "left", "center"),
            ((0, 9), "right", "bottom"),
            ((0, -9), "right", "top"),
        ):
            label = axes.annotate(
                line.get_label(),
                end,
                xytext=offset,
                ha=horizontal,
                va=vertical,
                color=line.get_color(),
                in_layout=False,
                **style,
            )
            box = label.get_window_extent().padded(2)
            inside = axes.figure.bbox.x0 <= box.x0 and box.x1 <= axes.figure.bbox.x1
            hits_label = any(box.overlaps(other) for other in taken)
            hits_line = any(run.intersects_bbox(box, filled=False) for run in runs)
            if inside and not hits_label and not hits_line:
                taken.append(box)
                break
            label.remove()
