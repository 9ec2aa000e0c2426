"""Random samples of text or of sentence pairs, in which each larger one begins with the smaller.

    python examples/how_much_text/amounts.py text FOLDER --files FILE... --amounts N... --seed N \\
        --sentencepiece-model FILE
    python examples/how_much_text/amounts.py pairs FOLDER --files SOURCE TARGET --amounts N... --seed N

Writes FOLDER/N.jsonl, whole documents of together at least N tokens, or FOLDER/N.source and
FOLDER/N.target. Where there is less, the largest sample is all there is.
"""

import argparse
import json
import random
from pathlib import Path

import sentencepiece

from fairseq_minimodel.corpus.pairs import read_pairs
from fairseq_minimodel.errors import print_input_errors_plainly
from fairseq_minimodel.files.atomic import atomic_folder
from fairseq_minimodel.files.outputs import FolderForm
from fairseq_minimodel.files.rows import lines_of_text
from fairseq_minimodel.files.text import TextFile


def main() -> None:
    options = read_options()
    if options.what == "pairs":
        rows, sides = list(read_pairs(*options.files)), ["source", "target"]
        sizes = [1] * len(rows)
    else:
        texts = [text for file in options.files for text in documents(file)]
        tokenizer = sentencepiece.SentencePieceProcessor(
            model_file=str(options.sentencepiece_model)
        )
        sizes = [len(ids) for ids in tokenizer.encode(texts, num_threads=1)]
        rows = [(json.dumps({"text": text}, ensure_ascii=False),) for text in texts]
        sides = ["jsonl"]
    order = random.Random(options.seed).sample(range(len(rows)), len(rows))
    names = [f"{amount}.{side}" for amount in options.amounts for side in sides]
    with atomic_folder(options.folder, FolderForm("the samples", names)) as folder:
        for amount in options.amounts:
            chosen, size = [], 0
            for place in order:
                if size >= amount:
                    break
                chosen.append(rows[place])
                size += sizes[place]
            print(f"{options.folder}/{amount}: {len(chosen):,} of {len(rows):,}, size {size:,}")
            for side, lines in zip(sides, zip(*chosen, strict=True), strict=True):
                (folder / f"{amount}.{side}").write_text("\n".join(lines) + "\n", encoding="utf-8")


def documents(path: Path) -> list[str]:
    with TextFile(path) as file:
        return [text for text, _ in lines_of_text(file)]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["text", "pairs"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=Path, nargs="+", required=True)
    parser.add_argument("--amounts", type=int, nargs="+", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--sentencepiece-model", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    print_input_errors_plainly()
    main()
