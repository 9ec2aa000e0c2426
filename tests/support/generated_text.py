"""Generated documents, and folders as dictionaries, for the tests of `prepare`."""

import random
from pathlib import Path


def make_documents(count: int = 400, seed: int = 0, types: int = 500) -> list[str]:
    """Documents of several lines; words by Zipf's law; a few repeated and a few short ones."""
    generator = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyzäöüß"
    words = ["".join(generator.choices(letters, k=generator.randint(1, 9))) for _ in range(types)]
    weights = [1 / rank for rank in range(1, types + 1)]
    documents = []
    for number in range(count):
        if number % 20 == 7:
            documents.append(documents[generator.randrange(len(documents))])
        elif number % 20 == 13:
            documents.append(f"{number}.")
        else:
            lengths = [generator.randint(1, 12) for _ in range(generator.randint(1, 5))]
            lines = [" ".join(generator.choices(words, weights, k=length)) for length in lengths]
            documents.append("\n".join(lines) + f"\n({number})")
    return documents


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
