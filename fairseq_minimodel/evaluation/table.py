"""Scores as a table, and what must be said below it."""

from collections.abc import Sequence

from ..kinds.kind import Kind, Row
from ..terminal.table import format_table


def score_table(kind: Kind, rows: Sequence[Row]) -> str:
    """A Markdown table with a row for each row of scores."""
    columns = [(heading, [cell(row) for row in rows]) for heading, cell in kind.columns]
    filled = [
        (heading, cells) for heading, cells in columns if any(cell is not None for cell in cells)
    ]
    return format_table(
        ["language", "pack", *(heading for heading, _ in filled)],
        [
            [row["language"], row["pack"], *(cells[number] for _, cells in filled)]
            for number, row in enumerate(rows)
        ],
    )


def notes_of(kind: Kind, rows: Sequence[Row], first: Sequence[str] = ()) -> list[str]:
    """Lines below the table: what else there is to say, and how much was cut."""
    cut = [
        f"{row['language']}: {row['truncated']} of {row[kind.count]} {kind.rows} of {row['data']} were "
        f"too long for {row['body']} and were cut"
        for row in rows
        if row["truncated"]
    ]
    notes = list(dict.fromkeys([*first, *cut]))
    return ["", *notes] if notes else []
