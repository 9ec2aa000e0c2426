"""A benchmark's labelled or tagged sentences as JSON Lines, the form that is read best."""

import json
from pathlib import Path

from ...errors import InputError
from ...files.atomic import atomic_file
from ...files.outputs import check_file, json_lines_form
from ...kinds.examples import Example
from ...kinds.tagged import TAGS_KEY, TEXT_KEY, WORD_KEYS, Sentence, running_text
from .read import read_benchmark
from .table import BENCHMARKS, CLASSIFICATION, SPAN, TAGS

ROWS = {
    CLASSIFICATION: json_lines_form("JSON Lines with labels", "label"),
    TAGS: json_lines_form("JSON Lines with tags", TAGS_KEY),
}


def export_benchmark(
    benchmark: str, data: str | Path, split: str, language: str, output: str | Path
) -> None:
    """Write one split of a benchmark in one language, and say how many rows it has.

    A line is {"text", "label"}, or {"text1", "text2", "label"} for pairs of sentences; of tagged
    sentences, {"words", "tags", "text"}. A former file of that kind is replaced.

    Args:
        benchmark, data, split, language: see `read_benchmark`.
        output: must end in ".jsonl", by which JSON Lines are known.

    Raises:
        InputError: the benchmark has no such sentences or cannot be read, or `output` has another
            ending.
    """
    output = Path(output)
    if output.suffix != ".jsonl":
        raise InputError(
            f"--output {output}: give a name that ends in .jsonl, as JSON Lines have it"
        )
    known = BENCHMARKS.get(benchmark)
    form = ROWS[known.kind if known and known.kind in ROWS else CLASSIFICATION]
    check_file(output, form, data)
    if known and known.kind not in ROWS:
        names = [name for name, one in BENCHMARKS.items() if one.kind in ROWS]
        hint = " (prepare-questions reads its files as they are)" if known.kind == SPAN else ""
        raise InputError(
            f"{benchmark} has no labelled sentences{hint}; these have: {', '.join(names)}"
        )
    [found] = read_benchmark(benchmark, data, split, [language]).values()
    with atomic_file(output, form) as partial, open(partial, "w", encoding="utf-8") as file:
        for row in found.rows:
            file.write(json.dumps(_record(row), ensure_ascii=False) + "\n")
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in found.left_out.items())
    print(f"{output}: {len(found.rows):,} rows; left out: {left_out or 'none'}")


def _record(example: Example | Sentence) -> dict[str, object]:
    if isinstance(example, Sentence):
        text, _ = running_text(example.words, example.blanks)
        return {WORD_KEYS[0]: example.words, TAGS_KEY: example.tags, TEXT_KEY: text}
    if len(example.texts) == 1:
        return {"text": example.texts[0], "label": example.label}
    return {
        **{f"text{number}": text for number, text in enumerate(example.texts, 1)},
        "label": example.label,
    }
