"""Reading prepare.json, which `prepare` leaves with the data that it has made."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files.records import read_json, record

RECORD_NAME = "prepare.json"
AGAIN = "prepare the data again"


@dataclass(frozen=True)
class _Split:
    documents: int | None = None
    items: int | None = None
    tokens: int | None = None
    unknown_share: float | None = None


@dataclass(frozen=True)
class _Counts:
    documents: int | None = None
    too_short: int | None = None
    duplicates: int | None = None
    text_bytes: int | None = None
    vocabulary: int | None = None
    train: _Split = _Split()
    valid: _Split = _Split()


@dataclass(frozen=True)
class _Input:
    name: str


@dataclass(frozen=True)
class _Record:
    counts: _Counts
    options: dict[str, object]
    inputs: list[_Input] = field(default_factory=list)
    shards: int = 1
    versions: dict[str, str] = field(default_factory=dict)


def read_prepared(path: Path) -> dict[str, Any]:
    """What a prepare.json says, as it stands there; what is read of it has the right types.

    Raises:
        InputError: it is damaged, or is not of `prepare`.
    """
    content = read_json(path, AGAIN)
    record(content, _Record, path, AGAIN, others=True)
    return content


def check_dictionary(path: Path, symbols: int) -> None:
    """Refuse a dict.txt that has lost or gained lines since the data beside it were prepared.

    Args:
        path: of the dict.txt. The prepare.json of several shards lies in the folder of their folders.
        symbols: how many it has, with the four special ones.

    Raises:
        InputError: it has another number than prepare.json says, or that is damaged.
    """
    for folder in (path.parent, path.parent.parent):
        prepared = folder / RECORD_NAME
        if not prepared.is_file():
            continue
        content = read_prepared(prepared)
        files, expected = content.get("files"), content["counts"].get("vocabulary")
        of_another = isinstance(files, dict) and str(path.relative_to(folder)) not in files
        if not of_another and expected not in (None, symbols):
            raise InputError(
                f"{path} has {symbols:,} symbols, and the data were prepared with {expected:,} "
                f"({prepared}): it has lost or gained lines; copy it or {AGAIN}"
            )
