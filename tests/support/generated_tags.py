"""Tagged sentences of generated words, and bodies with a random head that tags them."""

import json
import random
from dataclasses import replace

import torch

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint

ENTITIES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
PARTS = ("NOUN", "VERB", "X")


def tags_of(words, labels=ENTITIES):
    """By the numbers in the words: of 0 to 4 persons, of 5 to 9 places; parts of speech in turn."""
    numbers = [int("".join(filter(str.isdigit, word))) for word in words]
    if labels is PARTS:
        return [PARTS[number % 3] for number in numbers]
    kinds = ["PER" if number < 5 else "LOC" if number < 10 else None for number in numbers]
    before = [None, *kinds]
    return [
        "O" if kind is None else f"{'I' if kind == last else 'B'}-{kind}"
        for kind, last in zip(kinds, before, strict=False)
    ]


def sentences(words, seed, count, labels=ENTITIES):
    generator = random.Random(seed)
    some = [words[:10], words]
    rows = []
    for _ in range(count):
        own = [generator.choice(generator.choice(some)) for _ in range(generator.randint(3, 9))]
        rows.append((own, tags_of(own, labels)))
    return rows


def write_columns(path, words, seed, count, labels=ENTITIES):
    """A word and its tag in each line."""
    rows = sentences(words, seed, count, labels)
    path.write_text(
        "\n".join("".join(f"{w} {t}\n" for w, t in zip(*row, strict=True)) for row in rows)
    )
    return path


def write_tagger(folder, pretrained, labels=ENTITIES, seed=1, width=16, **config):
    """FOLDER/body.pt with the labels beside it."""
    base, generator = read_checkpoint(pretrained), torch.Generator().manual_seed(seed)
    head = {
        "tag_head.weight": 2 * torch.randn(len(labels), width, generator=generator),
        "tag_head.bias": torch.zeros(len(labels)),
    }
    (folder / "label").mkdir(parents=True)
    (folder / "label/dict.txt").write_text("".join(f"{label} 1\n" for label in labels))
    settings = {**base.config, "task": {"_name": "tagging", "data": str(folder)}}
    body = replace(base, state={**base.state, **head}, config=settings)
    write_checkpoint(folder / "body.pt", body)
    return folder / "body.pt"


def in_json_lines(*records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
