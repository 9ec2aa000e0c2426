"""The verb `perplexity`: how well a body predicts masked tokens of plain text, without labels."""

from collections.abc import Sequence
from pathlib import Path

from ..bodies.checkpoint import read_checkpoint
from ..bodies.surgery import truncate
from ..errors import InputError
from ..files.atomic import write_json
from ..files.formats import refuse_structure
from ..files.outputs import check_file, json_form
from ..files.rows import lines_of_text
from ..files.text import (
    TextFile,
)
from ..inference.build import ready_device
from ..inference.solve import speaker_of
from ..kinds.batches import Batches
from ..kinds.kind import Row
from ..kinds.masked import KIND, MaskedWords
from ..kinds.scores import row_of
from ..packs.pack import load_pack
from ..packs.plug import plug
from ..packs.trained_language import unfit_packs
from .options import PerplexityOptions
from .table import score_table

SCORES = json_form("a file of perplexities", "language", "pack", "perplexity")
LARGEST_TEXT = 100_000_000  # bytes


def perplexity(
    body: str | Path,
    tests: Sequence[tuple[str | Path, str | Path]],
    depth: int | None = None,
    seed: int = PerplexityOptions.seed,
    max_tokens: int = PerplexityOptions.max_tokens,
    device: str | None = None,
    output: str | Path | None = None,
    field: str = PerplexityOptions.field,
    bfloat16: bool = False,
) -> list[Row]:
    """MLM loss and perplexity of a body in the language of each pack; print a table.

    The arguments are those of `PerplexityOptions`. The masks depend on the seed, and on nothing else
    but a line's number and its tokens.

    Returns: a row for each pair: `MaskedBits`, with its place and the depth.

    Raises:
        InputError: `output` holds something else, the body has no such head, a pack does not fit it,
            the seed is negative, the device cannot be used, or a text cannot be read or is too short.
    """
    if seed < 0:
        raise InputError(f"--seed {seed}: give 0 or more")
    if output:
        check_file(output, SCORES, body, *(text for _, text in tests))
    batches = Batches(max_tokens, ready_device(device), bfloat16=bfloat16)
    checkpoint = read_checkpoint(body)
    if depth is not None:
        checkpoint, _ = truncate(checkpoint, depth)
    solver = MaskedWords(str(body), checkpoint, seed)
    packs = [load_pack(pack) for pack, _ in tests]
    for pack in packs:
        plug(checkpoint, pack)  # what does not fit is refused before the work begins
    unfit_packs(checkpoint, packs)
    rows = []
    for pack, (_, text) in zip(packs, tests, strict=True):
        lines, language = read_lines(text, field), pack.description.language
        facts = solver.score(speaker_of(checkpoint, pack, batches), lines, str(text))
        row = row_of(KIND, facts, language, str(pack.folder), str(text))
        rows.append(row | {"depth": checkpoint.layers} | batches.rounding)
    print(score_table(KIND, rows))
    if output:
        write_json(output, rows, SCORES)
    return rows


def read_lines(path: str | Path, field: str = "text") -> list[str]:
    """The lines of a text file, or the texts of JSON Lines, without blank ones.

    Args:
        path: of the file, which may be compressed.
        field: JSON Lines: the key that holds the text.

    Raises:
        InputError: the file is missing, damaged or not UTF-8, holds no text but a table or markup,
            or has fewer than two lines of text or more than `LARGEST_TEXT`.
    """
    texts, size = [], 0
    with TextFile(path) as file:
        if not file.is_json_lines:
            refuse_structure(file.head, path)
        for text, length in lines_of_text(file, field):
            texts.append(" ".join(text.split("\n")).strip())
            size += length
            if size > LARGEST_TEXT:
                raise InputError(
                    f"{path} has more than {LARGEST_TEXT // 1_000_000} MB of text, which are held in "
                    "memory; give a part of it, for example the first lines (head -n 10000)."
                )
    texts = [text for text in texts if text]
    if len(texts) < 2:
        raise InputError(
            f"{path} has {len(texts)} lines of text; give a file with one sentence or document a "
            "line, two or more, to tell how much they differ."
        )
    return texts
