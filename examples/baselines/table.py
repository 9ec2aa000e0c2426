"""The scores of examples/baselines/run.sh: a row for each start and method.

    python examples/baselines/table.py OUT

Reads OUT/scores and OUT/packs. A cell is the mean over the seeds, with the lowest and the highest; a
single score has its 95 % interval.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

from fairseq_minimodel.errors import InputError, print_input_errors_plainly
from fairseq_minimodel.kinds.scores import Score, read_score, summarise
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.terminal.table import format_flops, format_table

STARTS = {"random": "random", "pairs": "translations"}
METHODS = {
    "standard": "Standard",
    "minipost": "MiniPost",
    "all": "all weights",
    "body": "body alone",
}
MEASURES = ("topics", "retrieval", "loss")


def main(out: Path) -> None:
    scores: dict[tuple[str, str, str], list[Score]] = defaultdict(list)
    rows = []
    for path in sorted((out / "scores").glob("*:*:*:*.json")):
        measure, start, _, method = path.stem.split(":")
        for row in json.loads(path.read_text(encoding="utf-8")):
            column = "topics, en" if row["language"] == "en" else measure
            scores[start, method, column].append(read_score(row))
    if not scores:
        raise InputError(f"{out} has no scores: run the example to its end first")
    columns = list(dict.fromkeys([*MEASURES, "topics, en"]))
    for start, name in STARTS.items():
        for method, words in METHODS.items():
            packs = sorted((out / "packs" / start / method).glob("*/language.json"))
            if packs:
                cost = load_pack(packs[0].parent).description
                found = [scores[start, method, column] for column in columns]
                cells = [str(summarise(one)) if one else None for one in found]
                rows.append([name, words, cost.updates, format_flops(cost.flops), *cells])
    units = [
        next(iter(scores[key] for key in scores if key[2] == one))[0].measure for one in MEASURES
    ]
    for column, unit in zip(MEASURES, units, strict=True):
        print(f"{column}: {unit}")
    print()
    print(format_table(["start", "trained", "updates", "FLOPs", *columns], rows))


if __name__ == "__main__":
    print_input_errors_plainly()
    main(Path(sys.argv[1]))
