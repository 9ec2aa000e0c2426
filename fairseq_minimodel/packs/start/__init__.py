"""How the language side of a new language starts: one file for each rule, and this list of them.

A new rule is a file with a subclass of `Rule` and an entry in `RULES`: the choices of --initialise,
their settings, the checks of what belongs together and the table in docs/initialise.md come from here.
"""

from dataclasses import Field, field, fields, make_dataclass

from ...errors import InputError
from .aligned import Aligned
from .clp import Clp
from .focus import Focus
from .mean import Mean
from .overlap import Overlap
from .random import Random
from .rule import Pair, Rule, Run, StartReport
from .script import Script

__all__ = ["RULES", "Pair", "Rule", "Run", "StartReport", "StartSettings", "check_settings"]

_RULES = (Random, Overlap, Mean, Script, Clp, Focus, Aligned)
RULES: dict[str, type[Rule]] = {rule.name: rule for rule in _RULES}
DEFAULT = Mean.name


def rules_with(setting: str) -> list[str]:
    """The names of the rules that have a setting."""
    return [name for name, rule in RULES.items() if setting in rule.Settings.__dataclass_fields__]


def make_settings() -> type:
    """A dataclass of the settings of all rules, in one flat namespace.

    The help of each says which rules it is for.
    """
    own = {one.name: one for rule in RULES.values() for one in fields(rule.Settings)}
    return make_dataclass(
        "StartSettings",
        [
            (name, one.type, field(default=one.default, metadata=_metadata_of(one)))
            for name, one in own.items()
        ],
    )


def _metadata_of(setting: Field) -> dict[str, object]:
    rules = " and ".join(rules_with(setting.name))
    help = f"for --initialise {rules}: {setting.metadata['help']}"
    return {**setting.metadata, "help": help}


StartSettings = make_settings()


def check_settings(rule: str, settings: object) -> None:
    """Refuse settings of other rules than the one that is chosen, which would not heed them.

    Raises:
        InputError: there is one.
    """
    for one in fields(StartSettings):
        names = rules_with(one.name)
        if rule not in names and getattr(settings, one.name) != one.default:
            raise InputError(
                f"--{one.name.replace('_', '-')} is for --initialise {' and '.join(names)}, not for "
                f"--initialise {rule}"
            )


def help_of_rules() -> str:
    """What --initialise is for, in a sentence."""
    rules = (
        f"{name} (tokens in both vocabularies: {rule.common_rows}; all others: {rule.other_rows})"
        for name, rule in RULES.items()
    )
    return f"start of the language side; special symbols are copied: {', '.join(rules)}"


def table_of_rules() -> str:
    """The rules as a table in Markdown, as docs/initialise.md has it."""
    lines = [
        "| `--initialise` | tokens in both vocabularies | all other tokens | needs |",
        "|---|---|---|---|",
    ]
    for name, rule in RULES.items():
        title = f"`{name}`" + " (default)" * (name == DEFAULT)
        cells = (title, rule.common_rows, rule.other_rows, rule.needs)
        lines.append("".join(f"| {cell} " if cell else "| " for cell in cells) + "|")
    return "\n".join(lines) + "\n"
