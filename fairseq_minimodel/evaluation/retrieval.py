"""The verb `retrieve`: how often a sentence's nearest neighbour is its translation, without labels."""

from collections.abc import Sequence
from pathlib import Path

from ..bodies.checkpoint import read_checkpoint
from ..corpus.benchmarks.read import read_benchmark
from ..corpus.benchmarks.retrieval import Translation
from ..corpus.pairs import read_pairs
from ..errors import InputError
from ..files.atomic import write_json
from ..files.outputs import check_file, json_form
from ..inference.build import ready_device
from ..inference.solve import speaker_of
from ..kinds import SIMILARITIES
from ..kinds.batches import Batches
from ..kinds.kind import Row
from ..kinds.rows import Split
from ..kinds.scores import row_of
from ..kinds.vectors import (
    CSLS,
    KIND,
    Retrieved,
    accuracy_cell,
    compare,
    text_vectors,
    vectors_of,
)
from ..packs.pack import load_pack
from ..packs.plug import plug
from ..packs.trained_language import unfit_packs
from ..terminal.table import format_table
from .options import RetrieveOptions

SCORES = json_form("a file of accuracies", "language", "pack", "accuracies")


def retrieve(
    body: str | Path,
    source_pack: str | Path,
    packs: Sequence[str | Path],
    data: str | Path | None = None,
    layer: int | None = None,
    similarities: Sequence[str] = SIMILARITIES,
    neighbours: int = RetrieveOptions.neighbours,
    max_tokens: int = RetrieveOptions.max_tokens,
    device: str | None = None,
    output: str | Path | None = None,
    parallel: tuple[str | Path, str | Path] | None = None,
    bfloat16: bool = False,
) -> list[Row]:
    """Find translations by a body's hidden states in the language of each pack; print a table.

    The arguments are those of `RetrieveOptions`; the body may be any checkpoint of the packs' lineage,
    fine-tuned or not.

    Returns: a row for each pack: `Retrieved`, with its place.

    Raises:
        InputError: `output` holds something else, the body does not have the layer, a pack does not
            fit it, the device cannot be used, or the data have no sentences in a pack's language or
            fewer than `neighbours`.
    """
    if output:
        check_file(output, SCORES, body)
    batches = Batches(max_tokens, ready_device(device), bfloat16=bfloat16)
    checkpoint = read_checkpoint(body)
    layer, longest = vectors_of(checkpoint, layer)
    source, targets = load_pack(source_pack), [load_pack(pack) for pack in packs]
    for pack in (source, *targets):
        plug(checkpoint, pack)  # what does not fit is refused before the work begins
    unfit_packs(checkpoint, [source, *targets])
    languages = list(dict.fromkeys(pack.description.language for pack in targets))
    if parallel:
        splits = _of_files(parallel, languages)
    else:
        splits = read_benchmark("tatoeba", data, "test", languages)
    for split in splits.values():
        if CSLS in similarities and not 1 <= neighbours <= len(split.rows):
            raise InputError(
                f"--neighbours {neighbours}: {split.files[0]} has {len(split.rows)} sentences; give "
                "a number from 1 to that, or --similarity cosine"
            )
    english = speaker_of(checkpoint, source, batches)
    english_vectors = {
        language: text_vectors(english, [row.english for row in split.rows], layer, longest)
        for language, split in splits.items()
    }
    rows = []
    for pack in targets:
        language, foreign = pack.description.language, speaker_of(checkpoint, pack, batches)
        split = splits[language]
        own, cut = text_vectors(foreign, [row.text for row in split.rows], layer, longest)
        other, also = english_vectors[language]
        facts = Retrieved(
            layer=layer,
            pairs=len(split.rows),
            chance=1 / len(split.rows),
            truncated=cut + also,
            accuracies=compare(own, other, similarities, neighbours),
        )
        row = row_of(KIND, facts, language, str(pack.folder), ", ".join(split.files))
        rows.append(row | batches.rounding)
    print(_table(rows))
    if output:
        write_json(output, rows, SCORES)
    return rows


def _of_files(
    parallel: tuple[str | Path, str | Path], languages: Sequence[str]
) -> dict[str, Split]:
    """The same pairs for each language: its packs differ in their training."""
    rows = tuple(Translation(target, source) for source, target in read_pairs(*parallel))
    if not rows:
        raise InputError(f"{parallel[0]} and {parallel[1]} have no pair of lines with text")
    files = (str(parallel[1]), str(parallel[0]))  # as Tatoeba's: English last
    return {language: Split(language, files, rows, {}) for language in languages}


def _layer(row: Row) -> object:
    return "as published" if row["layer"] is None else row["layer"]


def _table(rows: Sequence[Row]) -> str:
    """Accuracies in per cent with their intervals, and how many sentences were cut."""
    columns = [
        (similarity, direction)
        for similarity, directions in rows[0]["accuracies"].items()
        for direction in directions
    ]
    table = format_table(
        ["language", "pack", "layer", "pairs",
         *(f"{similarity}, {direction} (%)" for similarity, direction in columns), "chance (%)"],
        [
            [row["language"], row["pack"], _layer(row), row["pairs"],
             *(accuracy_cell(row, *column) for column in columns), f"{100 * row['chance']:.2f}"]
            for row in rows
        ],
    )  # fmt: skip
    cut = [
        f"{row['language']}: {row['truncated']} of {2 * row['pairs']} sentences were longer than the "
        "body reads and were cut"
        for row in rows
        if row["truncated"]
    ]
    return "\n".join([table, *([""] if cut else []), *cut])
