"""From a dataclass of options (`options.py`) to the command line, and back."""

import argparse
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

MOST = 2**31  # above the numbers that options take


def add_options(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add an argument for each field. Fields of one `group` exclude each other."""
    groups: dict[str, Any] = {}
    for field in fields(kind):
        argument = _argument(field)
        group, flags = argument.pop("group", None), argument.pop("flags")
        if group and group not in groups:
            is_required = group.endswith("required")
            groups[group] = parser.add_mutually_exclusive_group(required=is_required)
        groups.get(group, parser).add_argument(*flags, **argument)


def _argument(field: Field) -> dict[str, Any]:
    """The keywords of `add_argument` for a field, with its `flags` and its `group`.

    Its type says how it is read: `list[X]`: one or more; `list[tuple[X, Y]]`: two, as often as it is
    given; `tuple[X, Y]`: two; a bool: a switch.
    """
    given = dict(field.metadata["argument"])
    name = given.pop("name", field.name.replace("_", "-"))
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    required = default is MISSING
    kind = field.type
    if NoneType in get_args(kind):  # X | None
        kind = get_args(kind)[0]
    argument: dict[str, Any] = {"help": _help(field.metadata["help"], default)}
    if name:
        argument |= {"flags": [f"--{name}"], "dest": field.name, "required": required}
    else:
        argument["flags"] = [field.name]
    if not required:
        argument["default"] = default
    if kind is bool:
        return {**argument, "action": "store_true", **given}
    if get_origin(kind) is list:
        (kind,) = get_args(kind)
        if get_origin(kind) is tuple:
            argument["action"] = "append"
        elif given.get("action") != "append":
            argument["nargs"] = "+" if name or required else "*"
    if get_origin(kind) is tuple:
        kinds = [one for one in get_args(kind) if one is not ...]
        kind, argument["nargs"] = kinds[0], "+" if ... in get_args(kind) else len(kinds)
    least = given.pop("at_least", None)
    if least is not None:
        kind = _number(least)
    if kind is not str:
        argument["type"] = kind
    if "choices" not in given:
        metavar = "FILE" if kind is Path else "N" if kind is not str else None
        argument |= {"metavar": metavar} if metavar else {}
    return {**argument, **given}


def _help(help: str, default: object) -> str:
    """With the default, where it says something and the text does not tell it."""
    if default in (MISSING, None, False, "-", (), []) or "(default" in help:
        return help.replace("%", "%%")
    shown = " ".join(default) if isinstance(default, list) else default
    return f"{help} (default: {shown})".strip().replace("%", "%%")


def _number(least: int) -> Callable[[str], int]:
    """A whole number that a count of the computer's can hold: the type of an option."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"{text} is too small: give at least {least}")
        if number >= MOST:
            raise argparse.ArgumentTypeError(f"{text} is too large: give less than {MOST}")
        return number

    return read
