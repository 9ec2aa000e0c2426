"""Topics of sentences (SIB-200) by the nearest centroid of English sentences, with 95 % intervals.

    python examples/sentence_vectors/topics.py BODY ENGLISH_PACK SIB200 LANGUAGE OUTPUT PACK...

The centroid of a topic is the mean vector of the English training sentences on it. The same sentences
are in all languages, so that only those of dev are scored.
"""

import sys
from pathlib import Path

import fairseq_minimodel
from fairseq_minimodel.corpus.benchmarks.read import read_benchmark
from fairseq_minimodel.files.atomic import write_json
from fairseq_minimodel.kinds.metrics import accuracy
from fairseq_minimodel.kinds.vectors import nearest_centroids


def main(body: str, english: str, data: str, language: str, output: str, *packs: str) -> None:
    model = fairseq_minimodel.load(body, {"english": english, **{pack: pack for pack in packs}})
    train = read_benchmark("sib200", data, "train", ["en"])["en"].rows
    topics = [row.label for row in train]
    vectors = model.encode([row.texts[0] for row in train])
    rows = []
    for code, names in (("en", ["english"]), (language, packs)):
        test = read_benchmark("sib200", data, "dev", [code])[code].rows
        for name in names:
            found = model.encode([row.texts[0] for row in test], language=name)
            nearest = nearest_centroids(vectors, topics, found)
            right = accuracy(nearest, [row.label for row in test])
            rows.append({"language": code, "pack": name, **right._asdict()})
            print(
                f"{code} {name}: {100 * right.value:.1f} % of {right.count} "
                f"({100 * right.low:.1f} to {100 * right.high:.1f})"
            )
    write_json(Path(output), rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
