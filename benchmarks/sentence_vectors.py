"""A language for a sentence encoder: ours beside sentence-transformers' own recipe, on the same pairs.

    python benchmarks/sentence_vectors.py MODEL OUT LANGUAGE PAIRS --data FOLDER [--rates 2e-5 2e-4]

OUT is what examples/sentence_vectors/run.sh has made for LANGUAGE from so many PAIRS: its start and,
of each seed, its trained pack. The library's recipe (Reimers and Gurevych 2020, arXiv 2004.09813,
section 3) trains all weights of a copy of MODEL to give both sentences of a pair the vector that MODEL
gives the source, by squared error; here at the compute of our training, and, with one seed, for as many
updates of the same size, which is more compute. Its FLOPs are counted by the same formulas; on neither
side those of the teacher's vectors. All score on Tatoeba and SIB-200 of FOLDER, in English, too, where
our body does not change. Needs `sentence-transformers[train]`. Prints a Markdown table, writes
OUT/scores/library:*.json.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import fairseq_minimodel
from fairseq_minimodel.corpus.benchmarks.read import read_benchmark
from fairseq_minimodel.corpus.pairs import read_pairs
from fairseq_minimodel.cost.flops import Shape, sentence_vector_flops
from fairseq_minimodel.errors import InputError, print_input_errors_plainly
from fairseq_minimodel.files.atomic import write_json
from fairseq_minimodel.kinds.centroids import nearest_centroids
from fairseq_minimodel.kinds.metrics import accuracy
from fairseq_minimodel.kinds.vectors import COSINE, FROM_ENGLISH, TO_ENGLISH, compare
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.terminal.table import format_flops, format_table

BATCH = 64  # pairs, as in examples/sentence_vectors/run.sh
PUBLISHED, START, OURS = "as published", "start", "language side alone"
EQUAL_COMPUTE, EQUAL_UPDATES = "all weights, equal compute", "all weights, equal updates"
SCORES = ("to English", "from English", "topics", "topics in English", "English vectors")


class Result(NamedTuple):
    """Of one training: accuracies in %; English vectors: mean cosine with those of MODEL, times 100."""

    name: str
    seed: int
    updates: int
    flops: float
    pairs_per_second: float | None
    scores: dict[str, float]


class Tests:
    """Tatoeba in both directions, and topics by the nearest centroid of English sentences."""

    def __init__(self, data: Path, language: str, teacher) -> None:
        self._pairs = read_benchmark("tatoeba", data / "parallel/tatoeba", "test", [language])[
            language
        ].rows
        topics = {
            (split, code): read_benchmark("sib200", data / "topic/sib200", split, [code])[code].rows
            for split, code in (("train", "en"), ("dev", "en"), ("dev", language))
        }
        self._train, self._english, self._own = topics.values()
        self._teacher = teacher([row.english for row in self._pairs])

    def score(self, english, own) -> dict[str, float]:
        """`english` and `own` give the vectors (texts x width, normalised) of a list of texts."""
        source = english([row.english for row in self._pairs])
        target = own([row.text for row in self._pairs])
        found = compare(target.numpy(), source.numpy(), [COSINE], 10)[COSINE]
        vectors = english([row.texts[0] for row in self._train])
        topics = [row.label for row in self._train]

        def right(encode, rows) -> float:
            others = encode([row.texts[0] for row in rows])
            nearest = nearest_centroids(vectors, topics, others)
            return accuracy(nearest, [row.label for row in rows]).value

        values = (
            found[TO_ENGLISH]["value"],
            found[FROM_ENGLISH]["value"],
            right(own, self._own),
            right(english, self._english),
            (source * self._teacher).sum(dim=1).mean().item(),
        )
        return {name: 100 * value for name, value in zip(SCORES, values, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("language")
    parser.add_argument("pairs", type=int)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-5])
    options = parser.parse_args()
    teacher = library_model(options.model)
    tests = Tests(options.data, options.language, encoder(teacher))
    ours = score_ours(options.out, options.language, options.pairs, tests)
    pairs = list(read_pairs(*pair_files(options.out, options.language, options.pairs)))
    sources, targets = zip(*pairs, strict=True)
    vectors = encoder(teacher)(list(sources)).tolist()
    data = {"source": sources, "target": targets, "label": vectors}
    cost = flops_of_update(teacher, pairs)
    trainings = [(EQUAL_COMPUTE, one, max(1, round(one.flops / cost))) for one in ours[1:]]
    trainings.append((EQUAL_UPDATES, ours[1], ours[1].updates))
    theirs = []
    for rate in options.rates:
        for name, one, updates in trainings:
            student, speed = train_library(options.model, data, one.seed, updates, rate)
            scores = tests.score(encoder(student), encoder(student))
            name = f"{name}, rate {rate:g}"
            theirs.append(Result(name, one.seed, updates, updates * cost, speed, scores))
    scores = tests.score(encoder(teacher), encoder(teacher))
    results = [Result(PUBLISHED, 0, 0, 0, None, scores), *ours, *theirs]
    name = f"library:{options.language}:{options.pairs}.json"
    write_json(options.out / "scores" / name, [one._asdict() for one in results])
    print(table(results))


def pair_files(out: Path, language: str, count: int) -> list[Path]:
    return [out / f"pairs/{language}/{count}.{side}" for side in ("source", "target")]


def score_ours(out: Path, language: str, count: int, tests: Tests) -> list[Result]:
    """The start, then the trained pack of each seed."""
    packs = [out / f"packs/{language}/start-{count}"]
    packs += sorted((out / f"packs/{language}").glob(f"{count}-seed*"))
    if len(packs) < 2:
        raise InputError(f"{packs[0].parent} has no packs {count}-seed1: run the example first")
    named = {"english": str(out / "model/pack")} | {str(pack): str(pack) for pack in packs}
    model = fairseq_minimodel.load(str(out / "model/body.pt"), named)
    results = []
    for seed, pack in enumerate(packs):
        cost = load_pack(pack).description
        scores = tests.score(
            lambda texts: model.encode(texts, language="english"),
            lambda texts, pack=str(pack): model.encode(texts, language=pack),
        )
        speed = cost.seconds and BATCH * cost.updates / cost.seconds
        name = OURS if seed else START
        results.append(Result(name, seed, cost.updates or 0, cost.flops or 0, speed, scores))
    return results


def library_model(folder: Path):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def encoder(model):
    return lambda texts: model.encode(texts, convert_to_tensor=True, normalize_embeddings=True)


def train_library(
    folder: Path, data: dict[str, list], seed: int, updates: int, rate: float
) -> tuple[object, float]:
    """A copy of the model after the library's recipe, and how many pairs a second it took.

    Args:
        data: the columns source, target, and label: the teacher's vectors of the sources.
    """
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MSELoss

    student = library_model(folder)
    with tempfile.TemporaryDirectory() as output:
        trainer = SentenceTransformerTrainer(
            model=student,
            args=SentenceTransformerTrainingArguments(
                output_dir=output,
                max_steps=updates,
                per_device_train_batch_size=BATCH,
                learning_rate=rate,
                warmup_steps=updates // 10,
                seed=seed,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
            ),
            train_dataset=Dataset.from_dict(data),
            loss=MSELoss(student),
        )
        started = time.perf_counter()
        trainer.train()
        return student, BATCH * updates / (time.perf_counter() - started)


def flops_of_update(student, pairs: list[tuple[str, str]]) -> float:
    """Of both sentences of the pairs of a batch, padded to the longest of its side; all are trained."""
    config = student[0].auto_model.config
    shape = Shape(
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
        config.vocab_size,
    )
    total, batches = 0.0, [pairs[place : place + BATCH] for place in range(0, len(pairs), BATCH)]
    for batch in batches:
        for texts in zip(*batch, strict=True):
            rows, length = student.tokenize(list(texts))["input_ids"].shape
            total += sentence_vector_flops(shape, rows * length, length, freeze="none").total
    return total / len(batches)


def table(results: list[Result]) -> str:
    """A row for each way of training: means over the seeds."""
    rows = []
    for name in dict.fromkeys(one.name for one in results):
        found = [one for one in results if one.name == name]
        speeds = [one.pairs_per_second for one in found if one.pairs_per_second]
        means = [statistics.fmean(one.scores[score] for one in found) for score in SCORES]
        rows.append(
            [
                name,
                found[0].updates,
                format_flops(found[0].flops),
                f"{statistics.fmean(speeds):.0f}" if speeds else "-",
                *(f"{mean:.1f}" for mean in means),
            ]
        )
    return format_table(["trained", "updates", "FLOPs", "pairs a second", *SCORES], rows)


if __name__ == "__main__":
    print_input_errors_plainly()
    main()
