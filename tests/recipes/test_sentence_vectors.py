"""examples/sentence_vectors at its SMOKE=1 size, and `adapt --kind sentence-vectors`."""

import json

import pytest
from interop.test_sentence_transformers import OLD, write_modules
from recipes.test_real_model import write_data
from support.bert_models import make_bert
from support.scripts import EXAMPLES, run_script

import fairseq_minimodel
from fairseq_minimodel.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A tiny model of sentence-transformers, and generated text in place of real text."""
    folder = tmp_path_factory.mktemp("vectors")
    texts = write_data(folder / "data", folder / "toy")
    make_bert(folder / "model", "bert", texts, head="Model")
    write_modules(folder / "model", OLD["mean"], True)
    return folder


def test_the_example(given):
    environment = {
        "SMOKE": "1", "DATA": given / "data", "MODEL": given / "model", "OUT": given / "out",
        "LANGUAGES": "sw", "SEEDS": "1",
    }  # fmt: skip
    result = run_script(EXAMPLES / "sentence_vectors/run.sh", environment)
    assert result.returncode == 0, result.stdout + result.stderr
    out = given / "out-smoke"
    rows = json.loads((out / "scores/tatoeba:sw.json").read_text())
    assert [row["pack"].rpartition("/")[2] for row in rows] == [
        "40-seed1", "start-40", "start-words",
    ]  # fmt: skip
    assert all(row["layer"] is None for row in rows)
    topics = json.loads((out / "scores/topics:sw.json").read_text())
    assert [row["language"] for row in topics] == ["en", "sw", "sw", "sw"]


def test_from_a_model_of_sentence_transformers_to_one_in_a_new_language(given):
    pairs = [given / f"pairs.{side}" for side in ("en", "sw")]
    for path, side in zip(pairs, ("source", "target"), strict=True):
        lines = (given / f"toy/sw/{side}/mono.txt").read_text().splitlines()
        path.write_text("\n".join(line for line in lines if line) + "\n")
    words = ["adapt", "--kind", "sentence-vectors", "--model", given / "model", "--text",
             given / "toy/sw/target/mono.txt", "--language", "sw", "--parallel", *pairs, "--budget",
             "3m", "--output", given / "adapted"]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    exported = given / "adapted/hf/model-sw"
    assert (exported / "modules.json").is_file() and (exported / "2_Normalize").is_dir()
    texts = ["", *pairs[1].read_text().splitlines()[:5]]
    body, pack = given / "adapted/source/body.pt", given / "adapted/packs/sw"
    ours = fairseq_minimodel.load(body, pack).encode(texts)
    library = pytest.importorskip("sentence_transformers")
    theirs = library.SentenceTransformer(str(exported), device="cpu").encode(texts)
    assert abs(ours.numpy() - theirs).max() < 1e-5
