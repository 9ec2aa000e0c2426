"""The script (writing system) of a text, by the names that Unicode gives to its characters."""

import unicodedata
from collections import Counter


def script_of(text: str) -> str:
    """The script that most letters and marks of a text belong to, as "LATIN"; "": it has none.

    The first word of a character's name is its script ("LATIN SMALL LETTER A", "CJK UNIFIED IDEOGRAPH-
    6F22"), but for a few that several scripts share ("COMBINING ACUTE ACCENT"). Of scripts with equally
    many characters the one that comes first counts.
    """
    names = (
        unicodedata.name(character, "")
        for character in text
        if unicodedata.category(character)[0] in "LM"
    )
    scripts = Counter(name.split()[0] for name in names if name)
    del scripts["COMBINING"]
    return max(scripts, key=scripts.__getitem__, default="")
