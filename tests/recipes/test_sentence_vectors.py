"""examples/sentence_vectors at its SMOKE=1 size, and docs/sentence_vectors.md."""

import json
import shutil
from importlib.util import find_spec

import pytest
from conftest import run
from interop.test_sentence_transformers import OLD, write_modules
from recipes.test_docs import blocks, run_block
from recipes.test_real_model import write_data
from support.bert_models import make_bert
from support.scripts import EXAMPLES, run_script

import fairseq_minimodel

BENCHMARK = EXAMPLES.parent / "benchmarks/sentence_vectors.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A tiny model of sentence-transformers, and generated text in place of real text."""
    folder = tmp_path_factory.mktemp("vectors")
    texts = write_data(folder / "data", folder / "toy")
    make_bert(folder / "model", "bert", texts, head="Model")
    write_modules(folder / "model", {**OLD["mean"], "word_embedding_dimension": 32}, True)
    return folder


def test_pairs_with_scores_in_their_three_forms(tmp_path):
    forms = {
        "de": 'Ein "Haus" in Rot.,Ein Haus.,2.5\nEis.,"Schnee, nass.",0\n',
        "tr": "score,sentence1_tr,sentence2_tr\n2.5,Ev.,Bir ev.\n",
        "ar": 'PairID,Text,Score\nA-1,"x y\n z",0.35\nA-2,one alone,0.5\n',
    }
    for name, text in forms.items():
        (tmp_path / f"{name}.csv").write_text(text)
    named = [f"{name}={tmp_path / name}.csv" for name in forms]
    result = run(["python", EXAMPLES / "sentence_vectors/similarity.py", tmp_path / "out", *named])
    assert result.returncode == 0, result.stderr
    found = {
        name: [json.loads(line) for line in (tmp_path / f"out/{name}.jsonl").open()]
        for name in forms
    }
    assert found == {
        "de": [
            {"text1": 'Ein "Haus" in Rot.', "text2": "Ein Haus.", "score": 2.5},
            {"text1": "Eis.", "text2": "Schnee, nass.", "score": 0.0},
        ],
        "tr": [{"text1": "Ev.", "text2": "Bir ev.", "score": 2.5}],
        "ar": [{"text1": "x y", "text2": "z", "score": 0.35}],
    }
    assert "ar: 1 pairs" in result.stdout and "1 rows left out" in result.stdout


def test_the_example(given):
    (given / "sts").mkdir()
    for language, side in (("en", "source"), ("sw", "target")):
        lines = (given / f"toy/sw/{side}/mono.txt").read_text().split("\n")[:41]
        rows = [
            {"text1": text, "text2": lines[place + place % 3], "score": 2.5 - place % 3}
            for place, text in enumerate(lines[:38])
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows if row["text1"] and row["text2"])
        (given / f"sts/{language}.jsonl").write_text(text)
    environment = {
        "DATA": given / "data", "MODEL": given / "model", "OUT": given / "out",
        "LANGUAGES": "sw", "SEEDS": "1", "NTREX": "test", "STS": given / "sts",
    }  # fmt: skip
    result = run_script(EXAMPLES / "sentence_vectors/run.sh", **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    out = given / "out-smoke"
    rows = json.loads((out / "scores/tatoeba:sw.json").read_text())
    assert [row["pack"].rpartition("/")[2] for row in rows] == [
        "40-seed1", "start-40", "start-words", "words-seed1",
    ]  # fmt: skip
    assert all(row["layer"] is None for row in rows)
    held_out = json.loads((out / "scores/ntrex:sw.json").read_text())
    assert [row["pairs"] for row in held_out] == [
        60
    ] * 4  # all of NTREX, none of it among the pairs
    assert "600 pairs" in (out / "logs/pairs:sw.log").read_text()
    topics = json.loads((out / "scores/topics:sw.json").read_text())
    assert [row["language"] for row in topics] == ["en", "sw", "sw", "sw", "sw"]
    assert all(row["examples"] == 10 and row["centroids"] for row in topics)
    similar = json.loads((out / "scores/similarity:sw.json").read_text())
    assert [row["language"] for row in similar] == ["en", "sw", "sw", "sw", "sw"]
    assert all(row["spearman"] > 0.2 and row["pairs"] > 15 for row in similar)
    if any(find_spec(name) is None for name in ("sentence_transformers", "datasets", "accelerate")):
        return  # the benchmark needs them
    command = ["python", BENCHMARK, given / "model", out, "sw", "40", "--data", given / "data"]
    result = run(command)
    assert result.returncode == 0, result.stderr
    rows = json.loads((out / "scores/library:sw:40.json").read_text())
    assert [row["name"].partition(",")[0] for row in rows] == [
        "as published", "start", "language side alone", "all weights", "all weights",
    ]  # fmt: skip
    _, _, ours, equal_compute, equal_updates = rows
    assert ours["scores"]["English vectors"] == pytest.approx(100, abs=1e-3)
    assert equal_compute["updates"] == 1  # of 64 pairs; our batches are of 8
    assert equal_updates["updates"] == ours["updates"]


def test_the_page_from_one_command_to_vectors_in_two_languages(given):
    """docs/sentence_vectors.md, and the library's vectors of what it has exported."""
    for name, side in (("en", "source"), ("de", "target")):
        text = (given / f"toy/sw/{side}/mono.txt").read_text()
        lines = [line for line in text.splitlines() if line]
        (given / f"pairs.{name}").write_text("\n".join(lines[:400]) + "\n")
        (given / "german.txt").write_text(text)  # the last one
    shutil.copytree(given / "model", given / "all-MiniLM-L6-v2")
    (given / "sib200").symlink_to(given / "data/topic/sib200")
    printed = [run_block(kind, text, given) for kind, text in blocks("docs/sentence_vectors.md")]
    assert "method: sentence-vectors, because there are 400 pairs" in printed[0]
    vectors = [json.loads(line) for line in (given / "vectors.jsonl").read_text().splitlines()]
    assert [row["language"] for row in vectors] == ["en", "de"]
    assert all(len(row["prediction"]) == 32 for row in vectors)
    [topics] = json.loads((given / "topics.json").read_text())
    assert (topics["language"], topics["examples"], topics["kind"]) == ("de", 10, "classification")
    exported = given / "outputs/de/hf/all-MiniLM-L6-v2-de"
    assert (exported / "modules.json").is_file() and (exported / "2_Normalize").is_dir()
    texts = ["", *(given / "pairs.de").read_text().splitlines()[:5]]
    ours = fairseq_minimodel.load(
        given / "outputs/de/source/body.pt", given / "outputs/de/packs/de"
    ).encode(texts)
    library = pytest.importorskip("sentence_transformers")
    theirs = library.SentenceTransformer(str(exported), device="cpu").encode(texts)
    assert abs(ours.numpy() - theirs).max() < 1e-5
