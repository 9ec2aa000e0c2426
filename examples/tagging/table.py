"""The scores of examples/tagging/run.sh: languages by starts, means over seeds.

    python examples/tagging/table.py OUT

Reads OUT/scores. Beside the mean stand the lowest and the highest of the seeds, and the 95 % interval
of the first one over sentences.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

from fairseq_minimodel.errors import print_input_errors_plainly
from fairseq_minimodel.kinds.scores import Score, read_scores, summarise
from fairseq_minimodel.terminal.table import format_table

TASKS = {"ner": "Entities", "pos": "Parts of speech"}


def main(out: Path) -> None:
    """Print a table of each measure."""
    found: dict[tuple[str, str], dict[tuple[str, str], list[Score]]] = {}
    for path in sorted((out / "scores").glob("*.json")):
        task = path.name.partition(":")[0]
        for row in json.loads(path.read_text(encoding="utf-8")):
            start = Path(row["pack"]).parent.name
            for score in read_scores(row):
                measure = found.setdefault((task, score.metric), defaultdict(list))
                measure[
                    row["language"], "English pack" if row["language"] == "en" else start
                ].append(score)
    for (task, metric), scores in found.items():
        rows = []
        for (language, start), seeds in scores.items():
            mean, low, high = summarise(seeds)
            first = seeds[0]
            interval = f"{first.low:.1f} to {first.high:.1f}"
            rows.append([language, start, f"{mean:.1f}", f"{low:.1f} to {high:.1f}", interval])
        headers = ["", "start", f"{metric} (%)", "lowest to highest seed", "95 % interval, seed 1"]
        print(f"{TASKS[task]}\n\n{format_table(headers, rows)}\n")


if __name__ == "__main__":
    print_input_errors_plainly()
    main(Path(sys.argv[1]))
