"""examples/real_model, how_much_text and baselines at SMOKE=1: a small BERT, generated text."""

import json
import lzma
import re
from pathlib import Path

import pytest
from support.bert_models import make_bert
from support.scripts import EXAMPLES, run_script

from fairseq_minimodel.corpus.toy.generate import write_toy

TOPICS = [
    "geography",
    "health",
    "politics",
    "sports",
    "travel",
    "entertainment",
    "science/technology",
]
NLI = ("entailment", "neutral", "contradiction")
CODES = {"en": ("eng", "eng_Latn"), "de": ("deu", "deu_Latn"), "sw": ("swh", "swh_Latn")}


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in lines)
    if path.suffix == ".xz":
        path.write_bytes(lzma.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


def write_data(data, toy):
    """The files that run.sh reads, in their forms."""
    sentences = {}
    for seed, language in enumerate(("de", "sw"), start=1):
        write_toy(toy / language, seed=seed, sentences=1200)
        for name, side in (("en", "source"), (language, "target")):
            text = (toy / language / side / "mono.txt").read_text(encoding="utf-8")
            sentences[name] = [line for line in text.splitlines() if line]
    for language in ("en", "de"):
        name = {"en": "wikinews", "de": "wikipedia"}[language]
        texts = sentences[language]
        rows = ["\n".join(texts[place : place + 5]) for place in range(0, len(texts), 5)]
        path = data / f"mono/{language}/{name}.jsonl.xz"
        write(path, (json.dumps({"text": row}) for row in rows))
    for code, language in (("src.eng", "en"), ("ref.deu", "de"), ("ref.swa", "sw")):
        write(data / f"parallel/ntrex/newstest2019-{code}.txt.xz", sentences[language][:60])
    for code, language in (("en", "en"), ("swa", "sw")):
        name = f"parallel/en-sw-globalvoices/train.{code}.xz"
        write(data / name, sentences[language][:600])
    for language in ("en", "de"):
        write(data / f"parallel/multi30k/train.{language}.xz", sentences[language][:100])
        write(data / f"paraphrase/pawsx/dev-{language}.tsv.xz", paraphrases(sentences[language]))
    write(data / "paraphrase/pawsx/test-de.tsv.xz", paraphrases(sentences["de"]))
    for language in ("en", "de", "el", "tr", "vi", "ar"):
        lines = sentences.get(language, sentences["sw"])
        questions = [{"question": line} for line in lines[:30]]
        paragraph = {"context": " ".join(lines[30:35]), "qas": questions}
        text = json.dumps({"data": [{"paragraphs": [paragraph]}]})
        write(data / f"qa/xquad/xquad.{language}.json.xz", [text])
    words = zip(*(" ".join(sentences[name][:40]).split() for name in ("en", "sw")), strict=False)
    write(data / "parallel/freedict/en-sw.tsv.xz", map("\t".join, words))
    for language, (three, sib) in CODES.items():
        texts = sentences[language]
        if language != "en":
            for end, lines in ((three, texts), ("eng", sentences["en"])):
                write(data / f"parallel/tatoeba/tatoeba.{three}-eng.{end}", lines[:40])
        for split, numbers in (("train", range(40)), ("dev", range(40, 50))):
            rows = [f"{number}\t{TOPICS[number % 7]}\t{texts[number]}" for number in numbers]
            write(data / f"topic/sib200/{sib}/{split}.tsv", ["index_id\tcategory\ttext", *rows])
        rows = [f"{texts[n]}\t{texts[n + 1]}\t{NLI[n % 3]}" for n in range(30)]
        write(data / f"nli/xnli/dev-{language}.tsv.xz", rows)
    for split in ("train", "dev"):
        write(
            data / f"nli/snli-counterfactual/{split}.tsv.xz",
            ["sentence1\tsentence2\tgold_label", *rows],
        )
    return sentences["en"]


def paraphrases(texts):
    return [f"{texts[n]}\t{texts[n + 1]}\t{n % 2}" for n in range(40)]


@pytest.mark.slow
def test_from_a_folder_of_hugging_face_to_the_tables(tmp_path):
    english = write_data(tmp_path / "data", tmp_path / "toy")
    sizes = {"num_hidden_layers": 6, "max_position_embeddings": 512}
    make_bert(tmp_path / "model", "bert", english, head="Model", **sizes)
    variables = {
        "DATA": tmp_path / "data",
        "MODEL": tmp_path / "model",
        "OUT": tmp_path / "out",
        "LANGUAGES": "de sw",
        "SEEDS": "1 2",
    }
    result = run_script(EXAMPLES / "real_model/run.sh", **variables)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    out = tmp_path / "out-smoke"
    results = json.loads((out / "results.json").read_text())["scores"]
    starts = {"random", "overlap", "focus", "pairs", "all"}
    trained = {"pairs-standard", "pairs-minipost", "all-minipost", "random-minipost"}
    for language, others in (("de", set()), ("sw", {"words", "words-minipost"})):
        for task in ("sib200", "tatoeba", "perplexity"):
            found = {name.split(",")[0] for name in results[task][language]}
            assert starts | trained | others == found
        assert len(results["sib200"][language]["pairs, 0 updates"]) == 2  # seeds
    assert set(results["pawsx"]) == {"de"} and set(results["xnli"]) == {"en", "de", "sw"}
    assert len(re.findall(r"^\|[^|]*\| mean ", result.stdout, re.MULTILINE)) == 3
    done = {path.name: path.stat().st_mtime_ns for path in Path(out, "logs").glob("*.done")}
    assert run_script(EXAMPLES / "real_model/run.sh", **variables).returncode == 0
    assert done == {path.name: path.stat().st_mtime_ns for path in Path(out, "logs").glob("*.done")}
    of_text = {"DATA": tmp_path / "data", "REAL": out, "OUT": tmp_path / "text", "LONG": "de:all"}
    result = run_script(EXAMPLES / "how_much_text/run.sh", SEEDS="1 2", **of_text)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    rows = [line.split("|")[1].strip() for line in result.stdout.splitlines() if "|" in line]
    starts = ("no translations (focus)", "a word list", "sentences by the word list")
    for row in (*starts, "20 pairs", "40 pairs"):
        assert rows.count(row) == 3  # measures
    assert rows.count("all pairs, 500 tokens") == 3
    assert (tmp_path / "text-smoke/how_much_text.png").stat().st_size > 10_000
    of_model = {name: variables[name] for name in ("DATA", "MODEL")}
    of_methods = {"REAL": out, "OUT": tmp_path / "baselines", "SEEDS": "1 2"}
    result = run_script(EXAMPLES / "baselines/run.sh", **of_model, **of_methods)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    rows = [line.strip("|").split("|") for line in result.stdout.splitlines() if "|" in line][2:]
    rows = [[cell.strip() for cell in row] for row in rows]
    methods = ["Standard", "MiniPost", "all weights", "body alone"]
    assert [row[:3] for row in rows] == [
        [start, method, "4"] for start in ("random", "translations") for method in methods
    ]
    assert all(re.match(r"\d", cell) for row in rows for cell in row[2:])  # no score is missing
