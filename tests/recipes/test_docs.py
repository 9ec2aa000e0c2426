"""The commands of README and docs/ run as they stand there, with two updates instead of many.

Each page is run top to bottom in one folder, on generated text under the names that the pages use,
with lines and documents as long as real text has them.
What installs packages is not run here: the test environment was made by those commands (Makefile).
"""

import importlib
import importlib.util
import json
import lzma
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import forked
from support.bert_models import make_bert
from support.modern_models import make_euro, make_modern

from fairseq_minimodel.cli import main

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FEW = {
    "max-update": 2,
    "total-num-update": 2,
    "warmup-updates": 1,
    "batch-size": 8,
    "update-freq": 1,
    "forget-every": 1,
}
TOPICS = (
    "science/technology", "travel", "politics", "sports", "health", "entertainment", "geography",
)  # fmt: skip
SIZES = r"--encoder-embed-dim 384\s(?:\\\n\s+)?--encoder-ffn-embed-dim 1536\s(?:\\\n\s+)?"
MINILM = rf"{SIZES}--encoder-attention-heads 12"
TINY = "--encoder-embed-dim 32 --encoder-ffn-embed-dim 48 --encoder-attention-heads 4"


def blocks(page):
    """(language, text) of the fenced blocks of a page that can be run."""
    left_out = ["pip install", "make "]
    if importlib.util.find_spec("transformers") is None:
        # it makes the models
        left_out += ["from transformers", "ModernBERT-base", "EuroBERT-210m"]
    found = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [(kind, text) for kind, text in found if not any(word in text for word in left_out)]


def shortened(text):
    """The commands with few updates, of small models, on CPU."""
    for option, value in FEW.items():
        text = re.sub(rf"--{option} \d+", f"--{option} {value}", text)
    text = re.sub(r"(fairseq-train \S+)", r"\1 --cpu --num-workers 0", text)
    text = re.sub(r"(fairseq-train (?s:.)+?--arch minimodel_roberta_base)\b", rf"\1 {TINY}", text)
    text = re.sub(MINILM, TINY, text)
    text = re.sub(r"optimization\.max_update=\d+", " ".join(HYDRA), text)
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return text.replace("29511", str(server.getsockname()[1]))


HYDRA = [
    "optimization.max_update=2", "lr_scheduler.warmup_updates=1", "optimization.update_freq=[1]",
    "common.cpu=true", "common.fp16=false", "dataset.batch_size=2", "task.tokens_per_sample=32",
    "+model.encoder_layers=5", "+model.encoder_embed_dim=16", "+model.encoder_ffn_embed_dim=16",
    "+model.encoder_attention_heads=2", "dataset.required_batch_size_multiple=1",
]  # fmt: skip


def run_block(kind, text, folder):
    program = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{forked.folder()}:{program}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    command = ["bash", "-euo", "pipefail", "-c", shortened(text)]
    if kind == "python":
        command = ["python", "-c", text]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{text}\n{(result.stdout + result.stderr)[-3000:]}"
    return result.stdout


def write_squad(sentences, path):
    """Questions in the form of SQuAD: the first word of a sentence answers its last."""
    paragraphs = []
    for index, sentence in enumerate(sentences):
        words = sentence.split()
        answers = [{"text": words[0], "answer_start": 0}]
        qas = [{"id": str(index), "question": words[-1], "answers": answers}]
        paragraphs.append({"context": sentence, "qas": qas})
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")


def write_iob2(sentences, path):
    """Sentences in the form of Universal NER: the first two words of each are a person."""
    tags = ["B-PER", "I-PER"]
    blocks = [
        "".join(
            f"{number}\t{word}\t{tags[number - 1] if number < 3 else 'O'}\t-\t-\n"
            for number, word in enumerate(words, 1)
        )
        for words in sentences
    ]
    path.write_text("\n".join(blocks), encoding="utf-8")


def of_real_lengths(documents):
    """The documents with lines of hundreds of words, and of thousands, among them.

    Real text has both: a paragraph that is one line, and a page of which all is one line.
    """
    lengthened = list(documents)
    for index in range(0, len(documents), 8):
        paragraph = documents[index : index + (60 if index % 64 == 0 else 8)]
        lengthened[index] = " ".join(" ".join(paragraph).split())
    words = sorted(len(line.split()) for text in lengthened for line in text.split("\n"))
    assert words[len(words) // 2] < 30 and words[-10] > 200 and words[-1] > 1500, words[-20:]
    return lengthened


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with the files that the pages name, made of the toy languages."""
    folder = tmp_path_factory.mktemp("docs")
    run_block("sh", "fairseq-minimodel toy --output text --sentences 1500", folder)
    english, german = (
        of_real_lengths((folder / f"text/{side}/mono.txt").read_text().strip().split("\n\n"))
        for side in ("source", "target")
    )
    with lzma.open(folder / "english.jsonl.xz", "wt") as file:
        file.writelines(json.dumps({"text": document}) + "\n" for document in english)
    for name in ("stories", "speech", "manuals"):
        (folder / f"{name}.txt").write_text("\n\n".join(english))
    (folder / "german.txt").write_text("\n\n".join(german))
    (folder / "words.tsv").write_bytes((folder / "text/dictionary.tsv").read_bytes())
    for name, origin in {
        "train.tsv": "source/train.tsv",
        "dev.tsv": "source/dev.tsv",
        "english_test.tsv": "source/test.tsv",
        "german_test.tsv": "target/test.tsv",
    }.items():
        lines = (folder / "text" / origin).read_text().split("\n")
        (folder / name).write_text("\n".join(lines[:80]) + "\n")
    for name, side in {"english": "source", "german": "target"}.items():
        lines = [line for line in (folder / "text" / side / "mono.txt").open() if line.strip()]
        (folder / f"{name}_sentences.txt").write_text("".join(lines[:20]))
        code = "eng" if name == "english" else "deu"
        (folder / "tatoeba/v1").mkdir(parents=True, exist_ok=True)
        (folder / f"tatoeba/v1/tatoeba.deu-eng.{code}").write_text("".join(lines[:20]))
        (folder / "xquad").mkdir(exist_ok=True)
        write_squad(lines[:40], folder / f"xquad/xquad.{'en' if name == 'english' else 'de'}.json")
    for name in ("train-v1.1.json", "dev-v1.1.json"):
        (folder / name).write_bytes((folder / "xquad/xquad.en.json").read_bytes())
    for name, side in (("en_ewt-ud-train", "source"), ("en_ewt-ud-dev", "source"),
                       ("de_pud-ud-test", "target")):  # fmt: skip
        lines = [line.split() for line in (folder / "text" / side / "mono.txt").open()]
        write_iob2([words for words in lines if words][:40], folder / f"{name}.iob2")
    (folder / "sib200/eng_Latn").mkdir(parents=True)
    rows = "index_id\tcategory\ttext\n1\ttravel\tGo\n2\tsports\tRun\n"
    (folder / "sib200/eng_Latn/train.tsv").write_text(rows)
    (folder / "examples").symlink_to(ROOT / "examples")
    if importlib.util.find_spec("transformers"):
        sizes = {"max_position_embeddings": 8192, "local_attention": 128}
        make_modern(folder / "ModernBERT-base", english[:20], **sizes)
        make_euro(folder / "EuroBERT-210m", english[:20], max_position_embeddings=8192)
    return folder


@pytest.fixture(scope="module")
def tutorial_folder(folder, tmp_path_factory):
    """What the tutorial asks for: a tiny BERT, pairs, words, and topics in SIB-200's form."""
    pytest.importorskip("transformers")
    tutorial = tmp_path_factory.mktemp("tutorial")
    sides = {}
    for code, topic, tatoeba, side in (
        ("en", "eng_Latn", "eng", "source"), ("sw", "swh_Latn", "swh", "target"),
    ):  # fmt: skip
        text = (folder / f"text/{side}/mono.txt").read_text()
        lines = sides[code] = list(filter(None, text.split("\n")))[:1400]
        with lzma.open(tutorial / f"pairs.{code}.xz", "wt") as file:
            file.write("\n".join(lines) + "\n")
        (tutorial / "tatoeba").mkdir(exist_ok=True)
        (tutorial / f"tatoeba/tatoeba.swh-eng.{tatoeba}").write_text("\n".join(lines[:20]) + "\n")
        for split in ("train", "dev"):
            path = tutorial / "sib-200/data/annotated" / topic / f"{split}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_topics(lines[:70], path)
    words = zip(*(" ".join(sides[code][:40]).split() for code in ("en", "sw")), strict=False)
    (tutorial / "words.tsv").write_text("\n".join(map("\t".join, words)) + "\n")
    with lzma.open(tutorial / "english.jsonl.xz", "wt") as file:
        file.writelines(json.dumps({"text": line}) + "\n" for line in sides["en"])
    sizes = {"num_hidden_layers": 6, "max_position_embeddings": 512, "hidden_size": 32}
    make_bert(tutorial / "minilm", "bert", sides["en"], head="Model", **sizes)
    return tutorial


@pytest.fixture(scope="module")
def xlmr_folder(folder, tmp_path_factory):
    """What the page of XLM-R asks for: a tiny one, text, and topics in SIB-200's form."""
    from support import huggingface_models as models

    pytest.importorskip("transformers")
    tutorial = tmp_path_factory.mktemp("xlmr")
    text = {name: (folder / f"{name}.txt").read_text() for name in ("stories", "german")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.SIZES, "num_hidden_layers", 12)
        patch.setitem(models.SIZES, "max_position_embeddings", 514)
        lines = list(filter(None, text["stories"].split("\n")))
        models.make_model(tutorial / "xlm-roberta-base", "xlmr", lines, size=500)
    for name, code, language in (
        ("english", "eng_Latn", "stories"),
        ("maltese", "mlt_Latn", "german"),
    ):
        with lzma.open(tutorial / f"{name}.txt.xz", "wt") as file:
            file.write(text[language])
        rows = [line for line in text[language].split("\n") if line][:70]
        topics = tutorial / "sib-200/data/annotated" / code
        topics.mkdir(parents=True)
        for split in ("train", "dev", "test"):
            write_topics(rows, topics / f"{split}.tsv")
    return tutorial


@pytest.fixture(scope="module")
def adapt_folder(folder, tmp_path_factory):
    """A tiny RoBERTa and a classifier with its token embeddings, text, and pairs of lines."""
    from support import huggingface_models as models

    transformers = pytest.importorskip("transformers")
    place = tmp_path_factory.mktemp("adapt")
    text = {name: (folder / f"text/{side}/mono.txt").read_text()
            for name, side in (("english", "source"), ("german", "target"))}  # fmt: skip
    for name, code in (("english", "en"), ("german", "de")):
        (place / f"{name}.txt").write_text(text[name])
        lines = [line for line in text[name].split("\n") if line]
        (place / f"pairs.{code}").write_text("\n".join(lines[:300]) + "\n")
    (place / "words.tsv").write_bytes((folder / "words.tsv").read_bytes())
    lines = list(filter(None, text["english"].split("\n")))
    _, tokenizer = models.make_model(place / "roberta-base", "roberta fast", lines)
    classifier = transformers.RobertaForSequenceClassification
    classifier.from_pretrained(place / "roberta-base", num_labels=4).save_pretrained(
        place / "topics"
    )
    tokenizer.save_pretrained(place / "topics")
    return place


def write_topics(sentences, path):
    """Sentences in the form of SIB-200, with its topics in turn."""
    rows = [
        f"{index}\t{TOPICS[index % len(TOPICS)]}\t{text}" for index, text in enumerate(sentences)
    ]
    path.write_text("\n".join(["index_id\tcategory\ttext", *rows]) + "\n")


def from_other(page):
    """The blocks of the README that a page has too, word for word: they are run there."""
    others = blocks(page)
    return [
        (kind, text)
        for kind, text in blocks("README.md")
        if any(kind == other and text in whole for other, whole in others)
    ]


def own_blocks():
    shared = from_other("docs/tutorial.md") + from_other("docs/adapt.md")
    return [block for block in blocks("README.md") if block not in shared]


def test_what_the_readme_does_with_an_existing_model_is_run_by_the_tutorial():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    section = page.partition("\n## A language for an existing model\n")[2].partition("\n## ")[0]
    found = [block for block in blocks("README.md") if block[1] in section]
    assert len(found) >= 7
    assert found == from_other("docs/tutorial.md")


def test_the_one_command_of_the_readme_is_run_by_its_page():
    first = next(text for kind, text in blocks("README.md"))
    assert "fairseq-minimodel adapt" in first
    assert ("sh", first) in from_other("docs/adapt.md")


@pytest.fixture(scope="module")
def readme(folder):
    # one shell for the whole page: later blocks use the variables of earlier ones
    texts = [text for kind, text in own_blocks() if kind == "sh"]
    return run_block("sh", "\n".join(texts), folder)


def test_the_readme(readme, folder):
    assert "| en " in readme and "| de " in readme
    scores = json.loads((folder / "scores.json").read_text())
    assert [score["language"] for score in scores] == ["en", "de"]
    for kind, text in own_blocks():
        if kind == "python":
            assert run_block(kind, text, folder).strip() in "0123"


# Each goes on from the commands of the README.
@pytest.mark.parametrize(
    "page",
    [
        "docs/method.md",
        "docs/training.md",
        "docs/options.md",
        "docs/prepare.md",
        "docs/performance.md",
        "docs/evaluate.md",
        "docs/questions.md",
        "docs/tagging.md",
        "docs/initialise.md",
        "docs/task_modules.md",
        "docs/meta_training.md",
        "docs/huggingface.md",
        "docs/python.md",  # after questions.md, whose body it takes
        "docs/inspect.md",
        "docs/logs.md",
        "docs/report.md",
    ],
)
@pytest.mark.slow
def test_a_page(page, readme, folder):
    found = blocks(page)
    assert found
    for kind, text in found:
        run_block(kind, text, folder)


@pytest.mark.slow
def test_the_tutorial(tutorial_folder):
    printed = ""
    for kind, text in blocks("docs/tutorial.md"):
        printed += run_block(kind, text, tutorial_folder)
    rows = re.findall(r"^\| (en|sw) +\| (\S+) ", printed, re.MULTILINE)
    own, started, trained = "bodies/minilm/pack", "packs/sw", "packs/sw-trained"
    found = [("sw", started), ("en", own), ("sw", started), ("en", own)]
    assert rows == [*found, *[("sw", started), ("sw", trained)] * 2]
    assert any(f"'label': '{topic}'" in printed for topic in TOPICS)


@pytest.mark.slow
def test_the_page_of_xlmr(xlmr_folder):
    printed = ""
    for kind, text in blocks("docs/xlmr.md"):
        printed += run_block(kind, text, xlmr_folder)
    assert "12 layers" in printed and "trained over 6 layers" in printed
    rows = re.findall(r"^\| (en|mt) ", printed, re.MULTILINE)
    assert rows == ["en", "mt", "en"]  # the last one is the control
    assert any(f"'label': '{topic}'" in printed for topic in TOPICS)


@pytest.mark.slow
def test_the_page_of_one_command(adapt_folder):
    printed = [run_block(kind, text, adapt_folder) for kind, text in blocks("docs/adapt.md")]
    first, words, dry, tasks, python = printed
    assert "] translate-words" in words
    assert (adapt_folder / "outputs/de-words/words/sentences.target").is_file()
    assert "because training on so little text takes from a start from 300 pairs" in first
    assert "| post " in dry and not (adapt_folder / "outputs/de-minipost").exists()
    assert "export-topics" in tasks and tasks.count(": done before") == 8
    assert python.count(": done before") == 9
    for name in (
        "packs/de",
        "hf/roberta-base-de",
        "hf/topics-de",
        "pairs",
        "data",
    ):
        assert (adapt_folder / "outputs/de" / name).is_dir()
    page = (ROOT / "docs/adapt.md").read_text(encoding="utf-8")
    table = page.partition("| step | command |")[2].partition("\n\n")[0]
    for step in re.findall(r"^\[\d+/8\] ([\w-]+)", first, re.MULTILINE):
        assert f"`{step}`" in table, step


def test_the_plan_for_xlmr_is_what_flops_prints(capsys):
    page = (ROOT / "docs/xlmr.md").read_text(encoding="utf-8")
    (command,) = [text for _, text in blocks("docs/xlmr.md") if "minimodel flops" in text]
    xlmr = "--arch minimodel_roberta_base --source-vocabulary 250002"
    words = shlex.split(command.replace("\\\n", "").replace("--body bodies/xlmr/body.pt", xlmr))
    assert main(words[1:]) == 0
    printed = capsys.readouterr().out
    (plan,) = re.findall(r"^```\n(model: .*?)^```", page, re.MULTILINE | re.DOTALL)
    assert plan in printed
    cells = re.findall(
        r"\d+ h \d+ min", page.partition("| each further one |")[2].partition("\n\n")[0]
    )
    assert len(cells) == 4 and all(cell in printed for cell in cells)


def test_the_options_page_is_made_from_the_dataclasses():
    specification = importlib.util.spec_from_file_location(
        "options_page", ROOT / "docs/options_page.py"
    )
    options_page = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(options_page)
    text = options_page.PAGE.read_text(encoding="utf-8")
    again = "run: python docs/options_page.py"
    assert text == options_page.page(), again
    assert options_page.MODULES_PAGE.read_text(encoding="utf-8") == options_page.modules_page(), (
        again
    )
    for option in (
        "--freeze",
        "--base-checkpoint",
        "--meta-support",
        "--head-weights",
        "--lora-alpha",
    ):
        assert f"| `{option}` |" in text


@pytest.mark.slow
def test_the_compute_page(folder):
    for kind, text in blocks("docs/compute.md"):
        run_block(kind, text, folder)


def test_what_the_pages_import_is_there():
    # also of the pages that take long to run
    pattern = r"^from (fairseq_minimodel[\w.]*) import (.+)$"
    found = 0
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for module, names in re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE):
            for name in names.split(", "):
                assert hasattr(importlib.import_module(module), name), f"{page.name}: {name}"
                found += 1
    assert found > 5


def test_every_page_is_reached_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        links = re.findall(r"\]\((?!http)([^)#]+\.md)[)#]", page.read_text(encoding="utf-8"))
        waiting += {(page.parent / link).resolve() for link in links} - seen
    assert set((ROOT / "docs").glob("*.md")) <= seen


def test_every_page_and_link_is_there():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
