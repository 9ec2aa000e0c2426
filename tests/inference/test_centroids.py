"""The nearest centroid by a plain loop, and labels by it through the verb."""

import json
import math
import random

import pytest
import torch
from support.bodies import sentences

from fairseq_minimodel.cli import main
from fairseq_minimodel.evaluation.evaluate import evaluate
from fairseq_minimodel.inference.model import load
from fairseq_minimodel.kinds.centroids import nearest_centroids
from fairseq_minimodel.kinds.scores import read_score

TOPICS = ("health", "sports", "travel")  # of SIB-200
HEADER = "index_id\tcategory\ttext\n"


def plain_nearest(vectors, labels, others):
    """Lists of numbers in, labels out: the mean of unit vectors with the highest cosine."""
    nearest = []
    for other in others:
        cosine = {}
        for name in sorted(set(labels)):
            mean = [0.0] * len(other)
            for vector, label in zip(vectors, labels, strict=True):
                if label == name:
                    mean = [a + b / math.hypot(*vector) for a, b in zip(mean, vector, strict=True)]
            product = sum(a * b for a, b in zip(mean, other, strict=True))
            cosine[name] = product / math.hypot(*mean) / math.hypot(*other)
        nearest.append(max(cosine, key=cosine.get))
    return nearest


def test_the_nearest_centroid_is_that_of_a_plain_loop():
    generator = torch.Generator().manual_seed(1)
    vectors = 5 * torch.randn(30, 4, generator=generator, dtype=torch.float64)
    others = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    labels = [["c", "a", "b"][place % 3] for place in range(30)]
    expected = plain_nearest(vectors.tolist(), labels, others.tolist())
    assert set(expected) == set("abc")
    assert nearest_centroids(vectors, labels, others) == expected


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """SIB-200 of generated sentences with labels at random: train in English, dev in both languages."""
    folder, generator = tmp_path_factory.mktemp("labelled"), random.Random(1)
    for name, language, count in (
        ("eng_Latn/train", "en", 40), ("eng_Latn/dev", "en", 20), ("deu_Latn/dev", "de", 50)
    ):  # fmt: skip
        texts = sentences(language, count, seed=count)
        rows = [
            f"{index}\t{generator.choice(TOPICS)}\t{text}\n" for index, text in enumerate(texts)
        ]
        path = folder / f"{name}.tsv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(HEADER + "".join(rows))
    return folder


def columns(path):
    _, labels, texts = zip(
        *(line.split("\t") for line in path.read_text().splitlines()), strict=True
    )
    return list(labels[1:]), list(texts[1:])


def test_the_verb_scores_labels_by_the_nearest_centroid(
    bodies, encoder, labelled, tmp_path, capsys
):
    """On files and on the benchmark, whose scores are the same."""
    source, target = labelled / "eng_Latn/train.tsv", labelled / "deu_Latn/dev.tsv"
    english, german = bodies / "packs/en", bodies / "packs/de"
    [row] = evaluate(
        [encoder], tests=[(german, target)], centroids=(english, source), label_column="category",
        output=tmp_path / "scores.json",
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert f"by the nearest centroid of 40 examples of {source}" in printed
    names, texts = columns(source)
    own, others = columns(target)
    vectors = load(encoder, english).encode(texts).tolist()
    found = plain_nearest(vectors, names, load(encoder, german).encode(others).tolist())
    correct = sum(a == b for a, b in zip(found, own, strict=True))
    assert len(set(found)) > 1 and row["correct"] == correct and row["examples"] == 50
    assert row["chance"] == pytest.approx(1 / 3)
    assert row["centroids"] == {"pack": str(english), "data": str(source)}
    score = read_score(json.loads((tmp_path / "scores.json").read_text())[0])
    assert score.metric == "accuracy" and score.note.endswith("by the nearest centroid")

    words = ["evaluate", "--body", encoder, "--benchmark", "sib200", "--data", labelled, "--split",
             "dev", "--packs", bodies / "packs", "--centroids", english, labelled, "--json",
             tmp_path / "benchmark.json"]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    rows = {one["language"]: one for one in json.loads((tmp_path / "benchmark.json").read_text())}
    assert set(rows) == {"de", "en"} and rows["de"]["correct"] == correct


def test_other_labelled_texts_are_another_score(bodies, encoder, labelled, tmp_path):
    """A score that is there already is kept only if it has the same centroids."""
    source, target = tmp_path / "source.tsv", labelled / "deu_Latn/dev.tsv"
    given = {
        "tests": [(bodies / "packs/de", target)], "centroids": (bodies / "packs/en", source),
        "label_column": "category", "output": tmp_path / "scores.json",
    }  # fmt: skip
    lines = (labelled / "eng_Latn/train.tsv").read_text().splitlines(keepends=True)
    source.write_text("".join(lines))
    [first] = evaluate([encoder], **given)
    assert evaluate([encoder], **given) == [first]
    source.write_text("".join(lines[:31]))
    [second] = evaluate([encoder], **given)
    assert second["inputs"] != first["inputs"]


@pytest.mark.parametrize(
    ("source", "test", "options", "sentence"),
    [
        ("a\tx\nb\ty\n", "a\tz\n", "", 'line 1 has the label "z", and {source}, which the'),
        ("a\tx\nb\tx\n", "a\tx\n", "", '{source} has the label "x" alone'),
        ("", "a\tx\n", "", "{source} holds no examples"),
        ("a\tx\nb\ty\n", "", "", "{test} holds no examples"),
        ("a\tx\nb\ty\n", "a\tx\n", "--text-columns 1 1", "line 1 has 2 texts, and the nearest"),
        (
            "a\tx\nb\ty\n",
            "a\tx\n",
            "--body {topics}",
            "--centroids is for bodies made for sentence",
        ),
        (
            "a\tx\nb\ty\n",
            "a\tx\n",
            "--mix {packs}/en",
            "--mix is for bodies that were fine-tuned to",
        ),
    ],
)
def test_what_is_refused(source, test, options, sentence, bodies, encoder, tmp_path, capsys):
    names = {"source": tmp_path / "source.tsv", "test": tmp_path / "test.tsv",
             "topics": bodies / "topics.pt", "packs": bodies / "packs"}  # fmt: skip
    for name, text in (("source", source), ("test", test)):
        names[name].write_text(text)
    words = ["evaluate", "--body", encoder, "--centroids", bodies / "packs/en", names["source"],
             "--test", bodies / "packs/de", names["test"], "--text-columns", "1", "--label-column",
             "2", "--json", tmp_path / "scores.json", *options.format(**names).split()]  # fmt: skip
    assert main([str(word) for word in words]) == 2
    assert sentence.format(**names) in capsys.readouterr().err
    assert not (tmp_path / "scores.json").exists()


@pytest.mark.parametrize(
    ("benchmark", "centroids", "sentence"),
    [("sib200", False, "give --centroids PACK PATH"), ("squad", True, "is not a classification"),
     ("nothing", True, "no benchmark 'nothing'")],
)  # fmt: skip
def test_what_is_refused_of_benchmarks(
    benchmark, centroids, sentence, bodies, encoder, labelled, capsys
):
    words = ["evaluate", "--body", encoder, "--benchmark", benchmark, "--data", labelled, "--split",
             "dev", "--packs", bodies / "packs",
             *(["--centroids", bodies / "packs/en", labelled] if centroids else [])]  # fmt: skip
    assert main([str(word) for word in words]) == 2
    assert sentence in capsys.readouterr().err
