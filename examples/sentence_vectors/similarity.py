"""Pairs of sentences with scores of their similarity, as published, as JSON Lines for `evaluate`.

    python examples/sentence_vectors/similarity.py OUT de=stsb-de-test.csv tr=sts-test-tr.csv ...

writes OUT/de.jsonl and so on, with text1, text2 and score. Known are the CSV files of the STS Benchmark
in German (github.com/PhilipMay/stsb-multi-mt) and Turkish (github.com/emrecncelik/sts-benchmark-tr),
and of SemRel 2024 (github.com/semantic-textual-relatedness), of which rows without two
sentences are left out and counted.
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path


def read_pairs(path: Path) -> Iterator[tuple[list[str], float]]:
    """The sentences of each row, two of them or not, and its score."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    header = rows[0]
    if header == ["PairID", "Text", "Score"]:  # SemRel
        for _, text, score in rows[1:]:
            yield [line.strip() for line in text.split("\n") if line.strip()], float(score)
    elif header[0] == "score":  # Turkish
        for score, *texts in rows[1:]:
            yield texts, float(score)
    else:
        for *texts, score in rows:
            yield texts, float(score)


def main() -> None:
    out, *named = sys.argv[1:]
    Path(out).mkdir(parents=True, exist_ok=True)
    for language, _, file in (one.partition("=") for one in named):
        pairs = list(read_pairs(Path(file)))
        lines = [
            json.dumps({"text1": texts[0], "text2": texts[1], "score": score}, ensure_ascii=False)
            for texts, score in pairs
            if len(texts) == 2
        ]
        (Path(out) / f"{language}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{language}: {len(lines)} pairs of {file}, {len(pairs) - len(lines)} rows left out")


if __name__ == "__main__":
    main()
