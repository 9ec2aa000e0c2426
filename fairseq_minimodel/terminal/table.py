"""Tables for terminal and Markdown alike, and quantities with their units."""

import re
from collections.abc import Sequence

from tabulate import tabulate

MISSING = "-"


def format_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table whose columns are aligned as plain text, too. It has no final newline.

    Args:
        headers: one per column. A unit stands here, "accuracy (%)", or in each cell, "3.2 TFLOP".
        rows: cells in the order of the headers. Strings stay as they are; whole numbers get
            thousands separators, other numbers four significant digits; None is printed as "-".

    Columns of numbers, with or without a unit, are aligned to the right, text to the left.

    Raises:
        ValueError: a row is longer or shorter than the headers.
    """
    cells = [[_format_cell(cell) for cell in row] for row in rows]
    for row in cells:
        if len(row) != len(headers):
            raise ValueError(f"{len(row)} cells under {len(headers)} headers: {row}")
    columns = [[row[index] for row in cells] for index in range(len(headers))]
    return tabulate(
        cells,
        headers,
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["right" if _is_numeric(column) else "left" for column in columns],
    )


def format_flops(flops: float) -> str:
    """FLOPs to three significant digits, as "431 MFLOP" or "3.2 TFLOP"."""
    divisor, unit = flops_unit(flops)
    return f"{flops / divisor:.3g} {unit}"


def flops_unit(flops: float) -> tuple[float, str]:
    """The unit in which `flops` reads as a number below 1000: its size in FLOPs, and its name."""
    divisor, prefixes = 1.0, ["", "k", "M", "G", "T", "P", "E", "Z", "Y"]
    while flops / divisor >= 999.5 and len(prefixes) > 1:  # 999.5 is 1000 in three digits
        divisor *= 1000
        prefixes.pop(0)
    return divisor, f"{prefixes[0]}FLOP"


def format_seconds(seconds: float) -> str:
    """A duration in its two largest units, as "0.35 s", "3 min 20 s", "2 h 05 min" or "3 d 4 h"."""
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    if round(seconds) < 3600:
        return "{} min {:02d} s".format(*divmod(round(seconds), 60))
    if round(seconds / 60) < 24 * 60:
        return "{} h {:02d} min".format(*divmod(round(seconds / 60), 60))
    return "{} d {} h".format(*divmod(round(seconds / 3600), 24))


def format_bytes(size: int) -> str:
    """A size in its unit, of powers of ten: "512 bytes", "20.1 MB"."""
    for unit, divisor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= divisor:
            return f"{size / divisor:.1f} {unit}"
    return "1 byte" if size == 1 else f"{size} bytes"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 layer", "6,000 layers"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def _format_cell(cell: object) -> str:
    if cell is None:
        return MISSING
    if isinstance(cell, int) and not isinstance(cell, bool):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return str(cell).replace("|", r"\|")


def _is_numeric(column: Sequence[str]) -> bool:
    """Every cell begins with a number or is missing."""
    return all(cell == MISSING or re.match(r"[-+]?\d", cell) for cell in column)
