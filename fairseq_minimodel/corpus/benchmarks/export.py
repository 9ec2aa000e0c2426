"""A benchmark's labelled sentences as JSON Lines, the form that `prepare-classification` reads best."""

import json
from pathlib import Path

from ...errors import InputError
from ...files.atomic import atomic_file
from ...files.outputs import check_file, json_lines_form
from ...kinds.examples import Example
from .read import read_benchmark
from .table import BENCHMARKS, CLASSIFICATION, SPAN

ROWS = json_lines_form("JSON Lines with labels", "label")


def export_benchmark(
    benchmark: str, data: str | Path, split: str, language: str, output: str | Path
) -> None:
    """Write one split of a classification benchmark in one language, and say how many rows it has.

    A line is {"text", "label"}, or {"text1", "text2", "label"} for pairs of sentences. A former
    file of that kind is replaced.

    Args:
        benchmark, data, split, language: see `read_benchmark`.
        output: must end in ".jsonl", by which JSON Lines are known.

    Raises:
        InputError: the benchmark has no labelled sentences or cannot be read, or `output` has another
            ending.
    """
    output = Path(output)
    if output.suffix != ".jsonl":
        raise InputError(
            f"--output {output}: give a name that ends in .jsonl, as JSON Lines have it"
        )
    check_file(output, ROWS, data)
    known = BENCHMARKS.get(benchmark)
    if known and known.kind != CLASSIFICATION:
        names = [name for name, one in BENCHMARKS.items() if one.kind == CLASSIFICATION]
        hint = " (prepare-questions reads its files as they are)" if known.kind == SPAN else ""
        raise InputError(
            f"{benchmark} has no labelled sentences{hint}; these have: {', '.join(names)}"
        )
    [found] = read_benchmark(benchmark, data, split, [language]).values()
    with atomic_file(output, ROWS) as partial, open(partial, "w", encoding="utf-8") as file:
        for example in found.rows:
            file.write(json.dumps(_record(example), ensure_ascii=False) + "\n")
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in found.left_out.items())
    print(f"{output}: {len(found.rows):,} rows; left out: {left_out or 'none'}")


def _record(example: Example) -> dict[str, str]:
    if len(example.texts) == 1:
        return {"text": example.texts[0], "label": example.label}
    return {
        **{f"text{number}": text for number, text in enumerate(example.texts, 1)},
        "label": example.label,
    }
