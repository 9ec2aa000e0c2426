"""The scores of examples/real_model/run.sh: tables by language and start, and compute to match.

    python examples/real_model/tables.py OUT

Reads OUT/scores and OUT/trained; writes OUT/results.json and OUT/score_against_flops.png. A mean over
seeds stands with the lowest and the highest of them, a single score with its 95 % interval.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from fairseq_minimodel.cost.compute_to_match import (
    NEARLY,
    Curve,
    compute_to_match_over_seeds,
    mean_curve,
    score_curve,
)
from fairseq_minimodel.errors import InputError, print_input_errors_plainly
from fairseq_minimodel.files.atomic import write_json
from fairseq_minimodel.kinds.scores import Score, read_score, summarise
from fairseq_minimodel.report.charts import draw_score_against_flops
from fairseq_minimodel.terminal.table import format_table

TASKS = {
    "sib200": "SIB-200, topics",
    "xnli": "XNLI, inference",
    "pawsx": "PAWS-X, paraphrase",
    "tatoeba": "Tatoeba, retrieval",
    "perplexity": "MLM loss of the full model",
}
WAYS = {
    "random": "random",
    "overlap": "overlap",
    "focus": "focus",
    "words": "aligned, word list",
    "pairs": "aligned, 1,997 pairs",
    "all": "aligned, all",
    "pairs-standard": "pairs + Standard",
    "pairs-minipost": "pairs + MiniPost",
    "all-minipost": "all + MiniPost",
    "words-minipost": "word list + MiniPost",
    "random-minipost": "random + MiniPost",
}
WORST_LOSS = 20.0  # bits: losses become scores from 0 to 1, as curves want them


class Pack(NamedTuple):
    """A way to a language side: a start, or how it was trained from there and for how many updates."""

    way: str
    updates: int = 0


ENGLISH = Pack("pack")
BASE = Pack("pairs")  # what Standard and MiniPost were trained from
Rows = dict[str, dict[Pack, list[Score]]]  # of a language, of a pack: one score for each seed


def main(out: Path) -> None:
    scores, flops = read_scores(out), read_flops(out)
    for task, title in TASKS.items():
        if task in scores:
            [first, *_] = next(iter(next(iter(scores[task].values())).values()))
            print(f"\n{title}: {first.measure}\n\n{table(scores[task])}")
    lines, curves = [], {}
    for task in ("tatoeba", "sib200", "perplexity"):
        if task in scores:
            found, curves[task] = matches(scores[task], flops)
            lines += [[TASKS[task].split(",")[0], *line] for line in found]
    print("\ncompute to match: Standard's FLOPs / MiniPost's, from the same start\n")
    header = ["", "", "to Standard's best", "95 % interval", "to 95 % of it", "95 % interval"]
    print(format_table(header, lines))
    write_json(out / "results.json", {"scores": values(scores), "compute_to_match": lines})
    if "tatoeba" in curves:
        draw_score_against_flops(
            curves["tatoeba"],
            out / "score_against_flops.png",
            score_label="pairs found (Tatoeba, to English)",
            title="mean over languages; mean and range of seeds",
        )
    print(f"\n{out / 'results.json'}\n{out / 'score_against_flops.png'}")


def values(scores: dict[str, Rows]) -> dict:
    return {
        task: {
            language: {
                f"{pack.way}, {pack.updates} updates": [one.value for one in found]
                for pack, found in packs.items()
            }
            for language, packs in rows.items()
        }
        for task, rows in scores.items()
    }


def read_scores(out: Path) -> dict[str, Rows]:
    """The scores of each task."""
    scores: dict[str, Rows] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for path in sorted((out / "scores").glob("*.json")):
        task, language = path.stem.split(":")[0], path.stem.split(":")[-1]
        for row in json.loads(path.read_text(encoding="utf-8")):
            scores[task][language][pack_at(Path(row["pack"]), out)].append(read_score(row))
    if not scores:
        raise InputError(f"{out} has no scores: run the example to its end first")
    return scores


def pack_at(path: Path, out: Path) -> Pack:
    if path.is_relative_to(out / "trained"):
        _, way, _, checkpoint = path.relative_to(out / "trained").parts
        return Pack(way, int(checkpoint.split("_")[-1]))
    return Pack(path.name)


def read_flops(out: Path) -> dict[Pack, float]:
    """FLOPs of a way of training after so many updates: the mean over languages and seeds."""
    flops = defaultdict(list)
    for path in (out / "trained").glob("*/*/*/*/language.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        flops[pack_at(path.parent, out)].append(record["flops"])
    return {pack: fmean(found) for pack, found in flops.items()}


def table(rows: Rows) -> str:
    """A column for each language, English first, and a row for each way; the last of its packs."""
    packs = {pack for found in rows.values() for pack in found}
    last = {way: max(pack.updates for pack in packs if pack.way == way) for way, _ in packs}
    languages = sorted(rows, key="en".__ne__)
    lines = [["items", *(str(next(iter(rows[language].values()))[0].n) for language in languages)]]
    for way, title in {ENGLISH.way: "as published", **WAYS}.items():
        if way in last:
            cells = (rows[language].get(Pack(way, last[way])) for language in languages)
            lines.append([title, *(found and str(summarise(found)) for found in cells)])
    return format_table(["", *languages], lines)


def matches(rows: Rows, flops: dict[Pack, float]) -> tuple[list[list[str]], list[Curve]]:
    """Compute to match in each language and in their mean, and the mean curves of both ways."""
    by_language = {
        language: [curves_of(found, way, flops) for way in ("pairs-standard", "pairs-minipost")]
        for language, found in rows.items()
        if any(pack.way == "pairs-standard" for pack in found)
    }
    sides = zip(*by_language.values(), strict=True)
    means = [[mean_curve(seed) for seed in zip(*side, strict=True)] for side in sides]
    is_share = rows[next(iter(by_language))][BASE][0].per_cent  # 95 % of a loss says nothing
    lines = []
    for language, sides in (*by_language.items(), ("mean", means)):
        line = [language]
        for fraction in (1.0, NEARLY) if is_share else (1.0,):
            found = compute_to_match_over_seeds(*sides, fraction)
            ends = ("open" if end is None else f"{end:.2f}" for end in (found.low, found.high))
            line += [found.match.ratio_in_words(), " to ".join(ends)]
        lines.append(line + [None] * (5 - len(line)))
    return lines, [mean_curve(side) for side in means]


def curves_of(found: dict[Pack, list[Score]], way: str, flops: dict[Pack, float]) -> list[Curve]:
    """A curve for each seed, from the start on."""
    trained = {flops[pack]: scores for pack, scores in found.items() if pack.way == way}
    seeds = len(next(iter(trained.values())))
    starts = found[BASE]  # of retrieval and loss one: no seed changes the start
    return [
        score_curve(
            WAYS[way],
            [(cost, share(scores[seed])) for cost, scores in trained.items()],
            share(starts[seed % len(starts)]),
        )
        for seed in range(seeds)
    ]


def share(score: Score) -> float:
    return score.value / 100 if score.per_cent else max(0.0, 1 - score.value / WORST_LOSS)


if __name__ == "__main__":
    print_input_errors_plainly()
    main(Path(sys.argv[1]))
