"""The output bias of a new MLM head, from a text: how often each token comes."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..files.formats import refuse_structure
from ..files.rows import lines_of_text
from ..files.text import TextFile
from ..vocabulary.tokenizers import Vocabulary

BATCH = 1000  # lines that are encoded at a time


def log_frequencies(vocabulary: Vocabulary, rows: int, files: Sequence[Path]) -> tuple[Tensor, int]:
    """The logarithm of each row's share of the tokens in a text, one added to every count; the bias
    with which a head that knows nothing of its input predicts best.

    Returns: float32 (rows,), and the number of tokens.

    Raises:
        InputError: a file cannot be read or is not text, or the text has no tokens.
    """
    counts = np.zeros(rows)
    lines = (line for path in files for line in _lines(path))
    while batch := list(islice(lines, BATCH)):
        ids, _ = vocabulary.encode_flat(batch)
        counts += np.bincount(ids, minlength=rows)
    total = int(counts.sum())
    if not total:
        raise InputError(f"{files[0]} has no text: give --text FILES with lines of text")
    return torch.from_numpy(np.log((counts + 1) / (total + rows))).float(), total


def _lines(path: Path) -> Iterator[str]:
    with TextFile(path) as file:
        refuse_structure(file.head, path)
        for text, _ in lines_of_text(file):
            yield from text.split("\n")
