"""examples/tagging at its SMOKE=1 size: a small BERT, and generated text in place of real text."""

import json
import lzma

import pytest
from support.bert_models import make_bert
from support.generated_tags import PARTS, sentences
from support.scripts import EXAMPLES, run_script

WORDS = {
    "en": [f"word{index}" for index in range(60)],
    "de": [f"wort{index}" for index in range(60)],
    "sw": [f"neno{index}" for index in range(60)],
}
FILES = {  # of each task and language, as in the folder of the data
    "ner": {"en": ("en_ewt-ud-dev.iob2", "en_ewt-ud-test.iob2"), "de": ("de_pud-ud-test.iob2",),
            "sw": ("sw_masakhaner2-test.txt",)},
    "pos": {"en": ("en_lines-ud-train.conllu", "en_lines-ud-dev.conllu", "en_lines-ud-test.conllu"),
            "de": ("de_pud-ud-test.conllu",), "sw": ("sw_masakhane-test.txt",)},
}  # fmt: skip


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(text.encode()))


def in_form(name, rows):
    if name.endswith(".txt"):
        lines = [[f"{w} {t}" for w, t in zip(*row, strict=True)] for row in rows]
    elif name.endswith(".iob2"):
        lines = [[f"{n}\t{w}\t{t}\t-\t-" for n, (w, t) in enumerate(zip(*row, strict=True), 1)]
                 for row in rows]  # fmt: skip
    else:
        empty = "\t_" * 5
        lines = [[f"{n}\t{w}\t_\t{t}\t_{empty}" for n, (w, t) in enumerate(zip(*row, strict=True), 1)]
                 for row in rows]  # fmt: skip
    return "\n\n".join("\n".join(one) for one in lines) + "\n"


@pytest.mark.slow
def test_from_a_folder_of_hugging_face_to_the_table(tmp_path):
    data, texts = tmp_path / "data", {}
    for seed, (language, words) in enumerate(WORDS.items()):
        texts[language] = [" ".join(row) + "." for row, _ in sentences(words, seed, 600)]
    for task, languages in FILES.items():
        labels = {"labels": PARTS} if task == "pos" else {}
        for language, names in languages.items():
            for name in names:
                rows = sentences(WORDS[language], 7, 40, **labels)
                write(data / "tagging" / task / f"{name}.xz", in_form(name, rows))
    documents = "".join(json.dumps({"text": text}) + "\n" for text in texts["de"])
    write(data / "mono/de/wikipedia.jsonl.xz", documents)
    write(data / "parallel/en-sw-globalvoices/train.swa.xz", "\n".join(texts["sw"]) + "\n")
    ntrex = data / "parallel/ntrex"
    for name, language in (("src.eng", "en"), ("ref.deu", "de"), ("ref.swa", "sw")):
        write(ntrex / f"newstest2019-{name}.txt.xz", "\n".join(texts[language][:300]) + "\n")
    sizes = {"num_hidden_layers": 6, "max_position_embeddings": 512}
    make_bert(tmp_path / "model", "bert", texts["en"], head="Model", **sizes)
    result = run_script(
        EXAMPLES / "tagging/run.sh", DATA=data, MODEL=tmp_path / "model", OUT=tmp_path / "out",
        LANGUAGES="de sw", SEEDS="1 2",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    for task in ("ner", "pos"):
        rows = json.loads((tmp_path / f"out-smoke/scores/{task}:2.json").read_text())
        assert [row["language"] for row in rows] == ["en", "de", "de", "sw", "sw"]
    for heading in ("F1 of entities (%)", "accuracy of tags (%)", "macro F1 of tags (%)"):
        assert heading in result.stdout
    assert result.stdout.count("| sw ") == 2 * 3
