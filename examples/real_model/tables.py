"""The scores of examples/real_model/run.sh: tables by language and start, and compute to match.

    python examples/real_model/tables.py OUT

Reads OUT/scores, OUT/packs and OUT/trained; writes OUT/results.json and OUT/score_against_flops.png. A
mean over seeds stands with the lowest and the highest of them, a single score with its 95 % interval.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from fairseq_minimodel.errors import InputError, print_input_errors_plainly
from fairseq_minimodel.files.atomic import write_json
from fairseq_minimodel.kinds.scores import Score, read_score
from fairseq_minimodel.report.curves import (
    NEARLY,
    Curve,
    compute_to_match_over_seeds,
    draw_score_against_flops,
    mean_curve,
)
from fairseq_minimodel.report.scores import score_curve, summarise
from fairseq_minimodel.terminal.table import format_table

TASKS = {
    "sib200": "SIB-200, topics",
    "xnli": "XNLI, inference",
    "pawsx": "PAWS-X, paraphrase",
    "tatoeba": "Tatoeba, retrieval",
    "perplexity": "MLM loss of the full model, bits per masked token",
}
STARTS = {
    "random": "random",
    "overlap": "overlap",
    "focus": "focus",
    "words": "aligned, word list",
    "pairs": "aligned, 1,997 pairs",
    "all": "aligned, all",
}
TRAINED = {
    "standard": "Standard",
    "minipost": "MiniPost",
    "random-minipost": "random + MiniPost",
}
BASE = "pairs"  # the start that Standard and MiniPost were trained from
WORST_LOSS = 20.0  # bits: losses become scores from 0 to 1, as curves want them

# task -> language -> column, a start or (method, updates) -> one score for each seed
Scores = dict[str, dict[str, dict[str | tuple[str, int], list[Score]]]]


def main(out: Path) -> None:
    scores = read_scores(out)
    flops = read_flops(out)
    tables = {task: table(scores[task]) for task in TASKS if task in scores}
    for task, rows in tables.items():
        [first, *_] = next(iter(next(iter(scores[task].values())).values()))
        print(f"\n{TASKS[task]}: {first.measure}\n\n{rows}")
    rows, curves = [], {}
    for task in ("tatoeba", "sib200", "perplexity"):
        if task in scores:
            found, curves[task] = matches(scores[task], flops)
            rows += [[TASKS[task].split(",")[0], *row] for row in found]
    print(
        f"\ncompute to match: Standard's FLOPs / MiniPost's, both from the start {STARTS[BASE]}\n"
    )
    header = ["", "", "to Standard's best", "95 % interval", "to 95 % of it", "95 % interval"]
    print(format_table(header, rows))
    write_json(
        out / "results.json",
        {
            "scores": {
                task: {
                    language: {
                        name_of(key): [one.value for one in found] for key, found in columns.items()
                    }
                    for language, columns in languages.items()
                }
                for task, languages in scores.items()
            },
            "compute_to_match": rows,
        },
    )
    if "tatoeba" in curves:
        draw_score_against_flops(
            curves["tatoeba"],
            out / "score_against_flops.png",
            score_label="pairs found (Tatoeba, to English)",
            title="mean over languages; mean and range of seeds",
        )
    print(f"\n{out / 'results.json'}\n{out / 'score_against_flops.png'}")


def read_scores(out: Path) -> Scores:
    scores: Scores = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for path in sorted((out / "scores").glob("*.json")):
        task, language = path.stem.split(":")[0], path.stem.split(":")[-1]
        for row in json.loads(path.read_text(encoding="utf-8")):
            column = column_of(Path(row["pack"]), out)
            scores[task][language][column].append(read_score(row))
    if not scores:
        raise InputError(f"{out} has no scores: run the example to its end first")
    return scores


def column_of(pack: Path, out: Path) -> str | tuple[str, int]:
    """What a pack is: the name of a start; the way it was trained and its updates."""
    if pack.is_relative_to(out / "trained"):
        _, method, _, updates = pack.relative_to(out / "trained").parts
        return method, int(updates)
    return pack.name


def name_of(column: str | tuple[str, int]) -> str:
    return column if isinstance(column, str) else f"{column[0]}, {column[1]} updates"


def read_flops(out: Path) -> dict[tuple[str, int], float]:
    """FLOPs of a way of training after so many updates: the mean over languages and seeds."""
    flops = defaultdict(list)
    for path in (out / "trained").glob("*/*/*/*/language.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        flops[column_of(path.parent, out)].append(record["flops"])
    return {column: fmean(found) for column, found in flops.items()}


def table(languages: dict[str, dict[str | tuple[str, int], list[Score]]]) -> str:
    last = {
        method: max((key[1] for columns in languages.values() for key in columns if key[0] == method and len(key) == 2), default=None)
        for method in TRAINED
    }  # fmt: skip
    columns = {name: title for name, title in STARTS.items()}
    columns |= {(method, last[method]): title for method, title in TRAINED.items() if last[method]}
    columns = {
        key: title
        for key, title in columns.items()
        if any(key in row for row in languages.values())
    }
    rows = []
    if "en" in languages:
        [english] = languages["en"].values()
        rows.append(["en", english[0].n, describe(english)])
    for language, found in languages.items():
        if language != "en":
            n = next(iter(found.values()))[0].n
            rows.append([language, n, None, *(describe(found.get(key, [])) for key in columns)])
    rows = [row + [None] * (3 + len(columns) - len(row)) for row in rows]
    return format_table(["", "items", "as published", *columns.values()], rows)


def describe(scores: list[Score]) -> str | None:
    if not scores:
        return None
    summary = summarise(scores)
    return f"{summary.value:.1f} ({summary.low:.1f} to {summary.high:.1f})"


def matches(
    languages: dict[str, dict[str | tuple[str, int], list[Score]]],
    flops: dict[tuple[str, int], float],
) -> tuple[list[list[str]], list[Curve]]:
    """Compute to match in each language and in their mean, and the mean curves."""
    by_language = {
        language: [curves_of(columns, method, flops) for method in ("standard", "minipost")]
        for language, columns in languages.items()
        if language != "en"
    }
    means = [
        [mean_curve(seeds) for seeds in zip(*(sides[side] for sides in by_language.values()), strict=True)]
        for side in (0, 1)
    ]  # fmt: skip
    rows = []
    for language, sides in (*by_language.items(), ("mean", means)):
        row = [language]
        for fraction in (1.0, NEARLY):
            found = compute_to_match_over_seeds(*sides, fraction)
            ends = ("open" if end is None else f"{end:.2f}" for end in (found.low, found.high))
            row += [found.match.ratio_in_words(), " to ".join(ends)]
        rows.append(row)
    return rows, [mean_curve(side) for side in means]


def curves_of(
    columns: dict[str | tuple[str, int], list[Score]],
    method: str,
    flops: dict[tuple[str, int], float],
) -> list[Curve]:
    """A curve for each seed, from the start on."""
    points = {key: found for key, found in columns.items() if key[0] == method}
    seeds = len(next(iter(points.values())))
    starts = columns[BASE]
    return [
        score_curve(
            TRAINED[method],
            [(flops[key], share(found[seed])) for key, found in points.items()],
            share(starts[seed % len(starts)]),
        )
        for seed in range(seeds)
    ]


def share(score: Score) -> float:
    return score.value / 100 if score.per_cent else max(0.0, 1 - score.value / WORST_LOSS)


if __name__ == "__main__":
    print_input_errors_plainly()
    main(Path(sys.argv[1]))
