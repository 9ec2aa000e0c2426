"""Sentence pairs of several files as one, in a random order that is always the same.

    python examples/sentence_vectors/pairs.py OUTPUT SOURCE TARGET [SOURCE TARGET ...]

OUTPUT/all.source and OUTPUT/all.target are line-aligned. Pairs whose source has fewer than 3 words, or
a side of which has more than 40, are left out.
"""

import random
import sys
from pathlib import Path

from fairseq_minimodel.corpus.pairs import read_pairs

SHORTEST, LONGEST = 3, 40  # words


def main(output: Path, *files: str) -> None:
    pairs = [
        pair
        for paths in zip(files[::2], files[1::2], strict=True)
        for pair in read_pairs(*paths)
        if SHORTEST <= len(pair[0].split()) <= LONGEST and len(pair[1].split()) <= LONGEST
    ]
    random.Random(1).shuffle(pairs)
    output.mkdir(parents=True, exist_ok=True)
    for name, lines in zip(("source", "target"), zip(*pairs, strict=True), strict=True):
        (output / f"all.{name}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(pairs):,} pairs")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
