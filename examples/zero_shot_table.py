"""The scores of a recipe as tables, one per task: languages by variants.

    python examples/zero_shot_table.py OUT

Reads OUT/seed*/scores/TASK-VARIANT.json. With one seed a score stands with its 95 % interval over the
examples; with several the mean over the seeds stands with the lowest and the highest of them.
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

from fairseq_minimodel.errors import InputError, print_input_errors_plainly
from fairseq_minimodel.kinds.scores import Score, read_score, summarise
from fairseq_minimodel.report.blocks import VARIANTS
from fairseq_minimodel.terminal.table import format_table

# task -> variant -> language -> one score for each seed
Scores = dict[str, dict[str, dict[str, list[Score]]]]


def main(out: Path) -> None:
    for task, variants in read_scores(out).items():
        [seeds] = {len(scores) for rows in variants.values() for scores in rows.values()} or {0}
        spread = "95 % intervals" if seeds == 1 else f"mean of {seeds} seeds, lowest to highest"
        first = next(iter(next(iter(variants.values())).values()))[0]
        print(f"\n{task}: {first.measure}; {spread}\n")
        print(table(variants))


def read_scores(out: Path) -> Scores:
    scores: Scores = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for path in sorted(out.glob("seed*/scores/*.json")):
        task, variant = re.fullmatch(r"(.+)-(\w+)\.json", path.name).groups()
        for row in json.loads(path.read_text(encoding="utf-8")):
            scores[task][variant][row["language"]].append(read_score(row))
    if not scores:
        raise InputError(f"{out} has no scores: run the recipe to its end first")
    return scores


def table(variants: dict[str, dict[str, list[Score]]]) -> str:
    names = [name for name in VARIANTS if name in variants]
    languages = list(dict.fromkeys(language for name in names for language in variants[name]))
    rows = [
        [language, variants[names[0]][language][0].n]
        + [str(summarise(variants[name][language])) for name in names]
        for language in languages
    ]
    targets = [language for language in languages if language != "en"]
    means = [
        f"{mean(score.value for target in targets for score in variants[name][target]):.1f}"
        for name in names
    ]
    rows.append(["mean without en", None, *means])
    return format_table(["", "items", *(VARIANTS[name] for name in names)], rows)


if __name__ == "__main__":
    print_input_errors_plainly()
    main(Path(sys.argv[1]))
