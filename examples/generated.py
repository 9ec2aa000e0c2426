"""Texts and benchmarks in generated languages, in the forms in which the real ones are published.

    python examples/generated.py FOLDER

For the SMOKE=1 size of the recipes: FOLDER/text has `en` and two languages, `de` and `zh`, that are
not German and Chinese; FOLDER/generated has MultiNLI, XNLI, PAWS-X, SQuAD and MLQA under their names.
What they ask can be learnt from nothing: they show that a recipe runs.
"""

import io
import json
import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from fairseq_minimodel.corpus.toy.generate import write_toy
from fairseq_minimodel.files.atomic import atomic_folder
from fairseq_minimodel.files.outputs import FolderForm

TARGETS = {"de": 1, "zh": 2}  # with the seed of each
ROWS = 60
BENCHMARKS = (
    "multinli_1.0.zip",
    "XNLI-1.0.zip",
    "MLQA_V1.zip",
    "train-v1.1.json",
    "dev-v1.1.json",
    "x-final.tar.gz",
)
FORMS = {
    "text": FolderForm("generated text", [f"{language}.txt" for language in ("en", *TARGETS)]),
    "generated": FolderForm("the generated benchmarks", BENCHMARKS),
}
NLI = ("entailment", "neutral", "contradiction")


def main(out: Path) -> None:
    for name, form in FORMS.items():
        with atomic_folder(out / name, form) as folder:
            if name == "text":
                write_text(folder)
            else:
                write_benchmarks(folder, out / "text")


def write_text(folder: Path) -> None:
    for language, seed in TARGETS.items():
        with tempfile.TemporaryDirectory() as toy:
            write_toy(toy, seed=seed, sentences=1500)
            shutil.copy(Path(toy, "source/mono.txt"), folder / "en.txt")
            shutil.copy(Path(toy, "target/mono.txt"), folder / f"{language}.txt")


def write_benchmarks(folder: Path, text: Path) -> None:
    sentences = {
        language: [line for line in (text / f"{language}.txt").read_text().splitlines() if line]
        for language in ("en", *TARGETS)
    }
    pairs = {
        name: [(lines[i], lines[i + 1]) for i in range(ROWS)] for name, lines in sentences.items()
    }
    write_zip(
        folder / "multinli_1.0.zip", {"multinli_1.0/multinli_1.0_train.jsonl": nli(pairs, "en")}
    )
    every = "".join(nli(pairs, language) for language in pairs)
    write_zip(
        folder / "XNLI-1.0.zip",
        {f"XNLI-1.0/xnli.{split}.jsonl": every for split in ("dev", "test")},
    )
    write_zip(
        folder / "MLQA_V1.zip",
        {
            f"MLQA_V1/test/test-context-{name}-question-{name}.json": questions(pairs[name])
            for name in TARGETS | {"en": 0}
        },
    )
    for split in ("train", "dev"):
        (folder / f"{split}-v1.1.json").write_text(questions(pairs["en"]), encoding="utf-8")
    with tarfile.open(folder / "x-final.tar.gz", "w:gz") as archive:
        for name in pairs:
            for split in ("dev_2k", "test_2k", *(["train"] if name == "en" else [])):
                add(archive, f"x-final/{name}/{split}.tsv", paraphrases(pairs[name]))


def nli(pairs: dict[str, list[tuple[str, str]]], language: str) -> str:
    return "".join(
        json.dumps({"language": language, "sentence1": first, "sentence2": second,
                    "gold_label": NLI[number % 3]}) + "\n"
        for number, (first, second) in enumerate(pairs[language])
    )  # fmt: skip


def paraphrases(pairs: list[tuple[str, str]]) -> str:
    rows = [f"{number}\t{a}\t{b}\t{number % 2}" for number, (a, b) in enumerate(pairs)]
    return "\n".join(["id\tsentence1\tsentence2\tlabel", *rows]) + "\n"


def questions(pairs: list[tuple[str, str]]) -> str:
    """The first word of a sentence is what the next sentence asks for."""
    paragraphs = [
        {
            "context": first,
            "qas": [{"id": str(number), "question": second,
                     "answers": [{"text": first.split()[0], "answer_start": 0}]}],
        }
        for number, (first, second) in enumerate(pairs)
    ]  # fmt: skip
    return json.dumps({"version": "1.1", "data": [{"title": "", "paragraphs": paragraphs}]})


def write_zip(path: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def add(archive: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode()
    information = tarfile.TarInfo(name)
    information.size = len(data)
    archive.addfile(information, io.BytesIO(data))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
