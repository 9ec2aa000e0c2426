"""Reading JSON that may be damaged or hostile: typed values, or one sentence that says what is wrong.

A dataclass describes what a file holds: the names of its fields, which of them may be absent (those
with a default), and their types. `read_record` is the only way from such a file into this package.
"""

import dataclasses
import json
import re
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError

Record = TypeVar("Record")

MOST_BYTES = 1 << 28  # of a file; the tokenizer.json of the largest vocabularies has some 40 MB
MOST_LEVELS = 64  # of lists and objects within each other
LARGEST = 10**30  # of a number: more than anything counts here, FLOPs included
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def read_json(path: str | Path, way_out: str, most_bytes: int = MOST_BYTES) -> Any:
    """The value in a JSON file.

    Args:
        way_out: what to do about a damaged file, in words.
        most_bytes: a larger file is refused unread.

    Raises:
        InputError: the file cannot be read, is too large, is not UTF-8 or not JSON, names a key twice,
            holds NaN or infinities or half a surrogate pair, or is nested too deeply.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise InputError(f"there is no {path}: check the path") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > most_bytes:
        raise InputError(f"{path} has more than {most_bytes:,} bytes: it is not what it should be")
    return parse_json(content, path, way_out)


def parse_json(content: bytes, where: str | Path, way_out: str) -> Any:
    """The value of a JSON text; `where` it stands. Arguments and errors as in `read_json`."""
    try:
        text = content.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=with_each_key_once, parse_constant=refuse_constant
        )
        _check_levels(value)
        if _SURROGATE.search(text):  # whole pairs are characters, halves cannot be written again
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _damaged(where, "half a surrogate pair in a text", way_out) from None
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        raise _damaged(where, f"it is not UTF-8 in line {line}", way_out) from None
    except RecursionError:
        raise _damaged(where, f"nested in more than {MOST_LEVELS} levels", way_out) from None
    except ValueError as error:
        raise _damaged(where, f"{error}", way_out) from None
    return value


def read_record(
    path: str | Path, kind: type[Record], way_out: str, *, others: bool = False
) -> Record:
    """The dataclass `kind` from a JSON file; arguments and errors as in `read_json` and `record`."""
    return record(read_json(path, way_out), kind, path, way_out, others=others)


def record(
    value: object, kind: type[Record], where: str | Path, way_out: str, *, others: bool = False
) -> Record:
    """A value that was read, as the dataclass `kind`, every field of the type that it is given there.

    Known are bool, int, float (finite), str, object (anything), dict and list of these, dataclasses,
    and each of them or None.

    Args:
        where: it was read, for a message.
        others: fields that `kind` does not have are passed over, not refused.

    Raises:
        InputError: a field is missing, unknown, or of another type; `kind` itself refuses the values.
    """
    try:
        return _typed(value, kind, "", others)
    except _Wrong as wrong:
        raise _damaged(where, str(wrong), way_out) from None


class _Wrong(Exception):
    """What is wrong with a value, in words."""


def _typed(value: object, kind: Any, name: str, others: bool) -> Any:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is object:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        [kind] = (part for part in parts if part is not type(None))
        return _typed(value, kind, name, others)
    if dataclasses.is_dataclass(kind):
        return _fields(value, kind, name, others)
    if origin is dict:
        _require(isinstance(value, dict), value, name, "an object")
        return {key: _typed(one, parts[1], _below(name, key), others) for key, one in value.items()}
    if origin is list:
        _require(isinstance(value, list), value, name, "a list")
        return [
            _typed(one, parts[0], _below(name, place), others) for place, one in enumerate(value)
        ]
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON has one kind of numbers
    accepted = (int, float) if kind is float else kind
    fits = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
    _require(fits, value, name, _WORDS[kind])
    if kind in (int, float):
        _require(abs(value) < LARGEST, value, name, f"below {LARGEST:.0e}")  # and not NaN
    return value


def _fields(value: object, kind: Any, name: str, others: bool) -> Any:
    _require(isinstance(value, dict), value, name, "an object")
    fields, hints = dataclasses.fields(kind), typing.get_type_hints(kind)
    unknown = [key for key in value if key not in {field.name for field in fields}]
    if unknown and not others:
        raise _Wrong(f"{_below(name, unknown[0])} is not known to this version")
    given = {}
    for field in fields:
        if field.name in value:
            place = _below(name, field.name)
            given[field.name] = _typed(value[field.name], hints[field.name], place, others)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise _Wrong(f"{_below(name, field.name)} is missing")
    try:
        return kind(**given)
    except InputError as error:
        raise _Wrong(str(error)) from None


def _require(holds: bool, value: object, name: str, wanted: str) -> None:
    if not holds:
        raise _Wrong(f"{name or 'it'} is {shown(value)}, not {wanted}")


def shown(value: object) -> str:
    """A value from a file, short and without control characters."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= LARGEST:
        return "a number of more than 30 digits"
    text = json.dumps(value) if value is None or isinstance(value, bool) else ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _below(name: str, key: object) -> str:
    key = str(key) if str(key).isprintable() and len(str(key)) <= 60 else shown(key)
    return f"{name}.{key}" if name else key


def with_each_key_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object, for `json.loads`. Raises ValueError if it has a key twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"{_below('', twice)} is there twice")
    return found


def refuse_constant(name: str) -> None:
    """For `json.loads`: Python reads NaN and the infinities, which JSON does not have."""
    raise ValueError(f"it holds {name}, which is not JSON")


def _check_levels(value: object) -> None:
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise RecursionError


def _damaged(where: str | Path, reason: str, way_out: str) -> InputError:
    return InputError(f"{where} is damaged ({reason}); {way_out}")
