"""Training a SentencePiece model, the same bytes for the same text."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from ..errors import InputError
from ..files.text import cut_position
from ..terminal.progress import SHORT, Progress, waiting

CHARACTERS_PER_PIECE = 200
# Sums of floats over threads depend on their number: a fixed one makes training repeatable.
_TRAINER_THREADS = 16
_LONGEST_SAMPLE_LINE = 4000  # bytes; the trainer leaves out longer lines, so they are cut before


def write_sample(texts: Iterable[bytes], path: str | Path, most_bytes: float) -> int:
    """Write the first texts (UTF-8) for `train_sentencepiece`, until there are `most_bytes` of them.

    Lines that are too long for the trainer, which would leave them out, are cut between words.

    Returns:
        the bytes written.
    """
    size = 0
    with open(path, "wb") as file:
        for text in texts:
            for line in text.split(b"\n"):
                while len(line) > _LONGEST_SAMPLE_LINE:
                    end = cut_position(line, _LONGEST_SAMPLE_LINE)
                    size += file.write(line[:end] + b"\n")
                    line = line[end:]
                size += file.write(line + b"\n")
            if size >= most_bytes:
                break
    return size


def train_sentencepiece(
    sample: str | Path,
    vocabulary_size: int,
    character_coverage: float,
    normalisation_rule: str = "nmt_nfkc",
    user_defined_symbols: Sequence[str] = (),
) -> tuple[bytes, list[str]]:
    """Train a unigram model on a file made by `write_sample`.

    The size is at most one piece for every `CHARACTERS_PER_PIECE` characters of the sample: with
    about four characters per token, a piece is then seen fifty times on average. It is at least the
    number of characters to cover. The result depends on the sample and the arguments alone.

    Returns:
        the model as bytes, and messages for the user.

    Raises:
        InputError: `vocabulary_size` is too small for the characters of the sample, or
            SentencePiece cannot learn from it.
    """
    counts = _count_characters(sample, normalisation_rule)
    characters = counts.total()
    if characters == 0:
        raise InputError("The text holds no characters that SentencePiece keeps; give real text.")
    covered = _characters_to_cover(counts, character_coverage)
    # SentencePiece's own three pieces, and some that are not characters
    smallest = covered + len(user_defined_symbols) + 20
    if vocabulary_size < smallest:
        raise InputError(
            f"--vocabulary-size {vocabulary_size} is too small: the text has {covered} "
            f"characters at --character-coverage {character_coverage}; give at least {smallest}."
        )
    size = min(vocabulary_size, max(smallest, characters // CHARACTERS_PER_PIECE))
    messages = []
    if size < vocabulary_size:
        messages.append(
            f"vocabulary of {size:,} pieces instead of {vocabulary_size:,}: the sample has only "
            f"{characters:,} characters ({CHARACTERS_PER_PIECE} per piece)"
        )
    options = {
        "model_type": "unigram",
        "vocab_size": size,
        "character_coverage": character_coverage,
        "hard_vocab_limit": False,  # fewer pieces where the text has no more, not an error
        "normalization_rule_name": normalisation_rule,
        "user_defined_symbols": list(user_defined_symbols),
        "num_threads": _TRAINER_THREADS,
        "max_sentence_length": 2 * _LONGEST_SAMPLE_LINE,
        "minloglevel": 2,
    }
    return _run_trainer(sample, options), messages


# The trainer has a process of its own. Its memory goes back to the system when it ends, and it
# starts from nothing: SentencePiece 0.2.3 crashes if it trains with threads in a fork of a process
# that has trained before. It ends when its parent does.
_TRAINER = """
import json, os, sys, threading, time
import sentencepiece

sample, parent, options = sys.argv[1:]

def end_with_parent():
    while os.getppid() == int(parent):
        time.sleep(0.2)
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
with open(sample, encoding="utf-8", newline="\\n") as lines:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line.rstrip("\\n") for line in lines),
        model_writer=sys.stdout.buffer,
        **json.loads(options),
    )
"""


def _run_trainer(sample: str | Path, options: dict[str, Any]) -> bytes:
    command = [sys.executable, "-c", _TRAINER, sample, os.getpid(), json.dumps(options)]
    with waiting("training the vocabulary"):  # how far it is, nobody can tell
        trainer = subprocess.run(list(map(str, command)), capture_output=True, check=False)
    if trainer.returncode != 0:
        reason = trainer.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise InputError(f"SentencePiece could not learn a vocabulary from the text: {reason}")
    return trainer.stdout


def _count_characters(sample: str | Path, normalisation_rule: str) -> Counter[str]:
    normaliser = sentencepiece.SentencePieceNormalizer(rule_name=normalisation_rule)
    counts: Counter[str] = Counter()
    size = Path(sample).stat().st_size
    with open(sample, "rb") as file, Progress("counting characters", size, after=SHORT) as progress:
        for line in file:
            counts.update(normaliser.normalize(line.decode().rstrip("\n")))
            progress.update(len(line))
    return counts


def _characters_to_cover(counts: Counter[str], coverage: float) -> int:
    """How many of the most frequent characters make up the share `coverage` of the text."""
    descending = np.sort(np.fromiter(counts.values(), np.int64))[::-1]
    return int(np.searchsorted(np.cumsum(descending), coverage * descending.sum())) + 1
