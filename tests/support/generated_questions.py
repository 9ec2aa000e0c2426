"""Questions in the form of SQuAD: the answer is the word after a marker."""

import json
import random
from pathlib import Path

MARKER = "word0"


def write_questions(
    path: Path, words: list[str], seed: int, count: int = 48, longest: int = 9
) -> Path:
    """So many questions, each on a context of at most `longest` words beside the marker."""
    generator = random.Random(seed)
    paragraphs = []
    for index in range(count):
        context = generator.choices(words, k=generator.randint(2, longest))
        place = generator.randrange(len(context))
        before = " ".join([*context[:place], MARKER, ""])
        answer = {"text": context[place], "answer_start": len(before)}
        paragraphs.append(
            {
                "context": before + " ".join(context[place:]),
                "qas": [{"id": f"q{index}", "question": words[-1], "answers": [answer]}],
            }
        )
    data = {"version": "1.1", "data": [{"title": "Words", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(data), encoding="utf-8")
    return path
