"""What the files of the data do not have as it is needed: a larger test set of topics, and more pairs.

    python examples/real_model/data.py DATA OUT

OUT/sib200 is SIB-200 in its own form, divided anew: of the sentences of train and dev, which are the
same in all languages, those with an odd number are train, the others dev, which is scored.
OUT/pairs/pawsx.{en,de} are the sentences of PAWS-X's dev set, line by line, without those that are not
translated; OUT/pairs/xquad-LANGUAGE.{en,LANGUAGE} are XQuAD's questions and the sentences of its
paragraphs, where a paragraph has as many in both languages, else the paragraph as it is. Each folder is
there as a whole or not at all.
"""

import json
import lzma
import re
import sys
from pathlib import Path

from fairseq_minimodel.files.atomic import atomic_folder
from fairseq_minimodel.files.outputs import FolderForm

PAWSX = ("en", "de")
XQUAD = ("de", "el", "tr", "vi", "ar")
SENTENCE_END = re.compile(r"(?<=[.!?;؟])\s+")
UNTRANSLATED = ("", "NS")


def main(data: Path, out: Path) -> None:
    with atomic_folder(out / "sib200", FolderForm("the topics", ("eng_Latn",))) as folder:
        divide_topics(data / "topic/sib200", folder)
    names = (f"pawsx.{language}" for language in PAWSX)
    pairs = dict(zip(names, paraphrases(data / "paraphrase/pawsx"), strict=True))
    for language in XQUAD:
        names = f"xquad-{language}.en", f"xquad-{language}.{language}"
        pairs.update(zip(names, questions(data / "qa/xquad", language), strict=True))
    with atomic_folder(out / "pairs", FolderForm("the pairs", list(pairs))) as folder:
        for name, lines in pairs.items():
            (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def divide_topics(source: Path, folder: Path) -> None:
    for language in sorted(path for path in source.iterdir() if path.is_dir()):
        rows = []
        for split in ("train", "dev"):
            header, *lines = (language / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
            rows += lines
        rows.sort(key=number)
        (folder / language.name).mkdir()
        for split, odd in (("train", 1), ("dev", 0)):
            chosen = [header, *(row for row in rows if number(row) % 2 == odd)]
            path = folder / language.name / f"{split}.tsv"
            path.write_text("\n".join(chosen) + "\n", encoding="utf-8")


def number(row: str) -> int:
    return int(row.split("\t")[0])


def paraphrases(source: Path) -> tuple[list[str], ...]:
    rows = [sentences(source / f"dev-{language}.tsv.xz") for language in PAWSX]
    pairs = [pair for pair in zip(*rows, strict=True) if not set(UNTRANSLATED) & set(pair)]
    return tuple(map(list, zip(*pairs, strict=True)))


def questions(source: Path, language: str) -> tuple[list[str], list[str]]:
    """English lines, and the same in another language."""
    english, other = (texts(source / f"xquad.{name}.json.xz") for name in ("en", language))
    lines: tuple[list[str], list[str]] = ([], [])
    for pair in zip(english, other, strict=True):
        parts = [SENTENCE_END.split(text) for text in pair]
        for side, text, found in zip(lines, pair, parts, strict=True):
            side += found if len(parts[0]) == len(parts[1]) else [text]
    return lines


def texts(path: Path) -> list[str]:
    """Every paragraph and every question of a file in SQuAD's form, in order, each on one line."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    return [
        " ".join(text.split())
        for paragraph in paragraphs
        for text in (paragraph["context"], *(each["question"] for each in paragraph["qas"]))
    ]


def sentences(path: Path) -> list[str]:
    """Both sentences of each row, one after the other."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return [text.strip() for line in file for text in line.split("\t")[:2]]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
