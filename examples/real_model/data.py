"""What the files of the data do not have as it is needed: a larger test set of topics, and more pairs.

    python examples/real_model/data.py DATA OUT

OUT/sib200 is SIB-200 in its own form, divided anew: of the sentences of train and dev, which are the
same in all languages, those with an odd number are train, the others dev, which is scored.
OUT/pairs/pawsx.{en,de} are the sentences of PAWS-X's dev set, line by line, without those that are not
translated. Each is there as a whole or not at all.
"""

import lzma
import sys
from pathlib import Path

from fairseq_minimodel.files.atomic import atomic_folder
from fairseq_minimodel.files.outputs import FolderForm

LANGUAGES = ("en", "de")
UNTRANSLATED = ("", "NS")


def main(data: Path, out: Path) -> None:
    with atomic_folder(out / "sib200", FolderForm("the topics", ("eng_Latn",))) as folder:
        divide_topics(data / "topic/sib200", folder)
    names = [f"pawsx.{language}" for language in LANGUAGES]
    with atomic_folder(out / "pairs", FolderForm("the pairs", names)) as folder:
        write_pairs(data / "paraphrase/pawsx", folder)


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


def write_pairs(source: Path, folder: Path) -> None:
    rows = [sentences(source / f"dev-{language}.tsv.xz") for language in LANGUAGES]
    pairs = [pair for pair in zip(*rows, strict=True) if not set(UNTRANSLATED) & set(pair)]
    for place, language in enumerate(LANGUAGES):
        text = "".join(f"{pair[place]}\n" for pair in pairs)
        (folder / f"pawsx.{language}").write_text(text, encoding="utf-8")


def sentences(path: Path) -> list[str]:
    """Both sentences of each row, one after the other."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return [text.strip() for line in file for text in line.split("\t")[:2]]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
