"""How SentencePiece normalises text, as steps of Hugging Face's library.

SentencePiece replaces, from left to right, the longest sequence of characters that has a rule: "e"
and an accent become one letter, a ligature two letters. The library has a step for the same rules
(`Precompiled`), which works in another way: it looks at one user-perceived character at a time, takes
the shortest rule, and drops what is behind it. So rules for one character are left to that step,
which sees each character alone, and rules for several are the work of Unicode's composition (NFC),
which sees only those characters together for which SentencePiece has a rule:

1. A sequence whose rule says something else than NFC becomes a placeholder.
2. Before a character that NFC or the step may join to the one before it comes a wall, which keeps
   them apart in both; or, where SentencePiece has a rule for them together, a gap, which is taken out
   before NFC.
3. `Precompiled`; gaps are taken out; NFC; walls are taken out; placeholders become what the rules say.

Only rules that matter to a vocabulary are followed: those where a piece has a character of what the
whole sequence or a part of it becomes. All other characters are unknown, together or apart.
"""

import base64
import struct
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping

WALL, GAP, FIRST_PLACEHOLDER = "\ufdd0", "\ufdd1", 0x10F000  # no text has them
# What the library joins to the character before it: marks (and a block where each version of Unicode
# adds some), two vowels of Thai and Lao, joiners, halfwidth voice marks, skin colours and tags.
JOINED = "\\p{M}\u1ab0-\u1aff\u0e33\u0eb3\u200c\u200d\uff9e\uff9f"
JOINED += "\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f"
DECOMPOSED = range(0x80, 0x30000)  # there are all characters that NFC knows
HANGUL_VOWELS, HANGUL_ENDS = range(0x1161, 0x1176), range(0x11A8, 0x11C3)  # composed by rule
OLD_UNICODE = unicodedata.ucd_3_2_0  # letters that every version of NFC knows

Step = dict[str, object]


def replace(pattern: str, content: str) -> Step:
    """The step that puts `content` for each match of a regular expression."""
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def mapping_steps(charsmap: bytes, alphabet: set[str]) -> list[Step]:
    """The steps for a precompiled map of SentencePiece.

    Args:
        charsmap: as it is in the model; not empty.
        alphabet: the characters of all pieces.
    """
    rules = read_rules(charsmap)
    single = {key: value for key, value in rules.items() if len(key) == 1}
    known = {
        key
        for key in rules
        if len(key) > 1
        and any(not alphabet.isdisjoint(rules.get(part, part)) for part in _parts(key))
    }
    known |= {key[:length] for key in known for length in range(2, len(key))} & rules.keys()
    stable = _is_stable(single)
    composed = {key for key in known if stable and _composition(key, single) == rules[key]}
    before, after = [], []
    others = defaultdict(list)
    for key in sorted(known - composed, key=lambda key: (-len(key), key)):
        others[rules[key]].append(key)
    for place, (value, keys) in enumerate(others.items()):
        placeholder = chr(FIRST_PLACEHOLDER + place)
        before.append(replace("|".join(map(_escaped, keys)), placeholder))
        after.append({"type": "Replace", "pattern": {"String": placeholder}, "content": value})
    joined = JOINED
    if composed:
        joined += _members(set(_second_characters(single)))
    together = [
        f"(?<={''.join(f'[{_members(part)}]' for part in before)})[{_members(last)}]"
        for *before, last in _sequences(composed)
    ]
    exception = f"(?!{'|'.join(together)})" if together else ""
    steps = [*before, replace(f"(?!\\A)(?:(?=[{joined}]){exception}|(?<=\r)(?=\n))", WALL)]
    if composed:
        steps.append(replace(f"(?!\\A)(?<!{WALL})(?=[{joined}])", GAP))
    steps.append(
        {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
    )
    if composed:
        nothing = {"type": "Replace", "pattern": {"String": GAP}, "content": ""}
        steps += [nothing, {"type": "NFC"}]
    steps.append({"type": "Replace", "pattern": {"String": WALL}, "content": ""})
    return steps + after


def read_rules(charsmap: bytes) -> dict[str, str]:
    """What each sequence of characters becomes.

    The map is the size of a double-array trie in bytes, the trie (Darts-clone: 32-bit units), and
    the replacements, each ended by a zero byte.
    """
    [size] = struct.unpack_from("<I", charsmap)
    units = struct.unpack_from(f"<{size // 4}I", charsmap, 4)
    texts = charsmap[4 + size :]
    children = defaultdict(list)  # of the unit at each offset: (byte, place)
    for place, unit in enumerate(units):
        if label := unit & 0x800000FF:
            children[place ^ label].append((label, place))
    rules, waiting = {}, [(0, b"")]
    while waiting:
        place, key = waiting.pop()
        unit = units[place]
        offset = place ^ (unit >> 10 << ((unit & 0x200) >> 6))
        if unit & 0x100:  # it has a value
            begin = units[offset] & 0x7FFFFFFF
            rules[key.decode()] = texts[begin : texts.index(b"\0", begin)].decode()
        waiting += [(child, key + bytes([label])) for label, child in children[offset]]
    return rules


def _parts(key: str) -> list[str]:
    """All sequences of characters in a row that are in the key, itself among them."""
    ends = range(1, len(key) + 1)
    return [key[begin:end] for end in ends for begin in range(end)]


def _is_stable(single: Mapping[str, str]) -> bool:
    """Whether NFC changes nothing in what becomes of each character alone."""
    return all(
        unicodedata.is_normalized("NFC", single.get(character, character))
        for character in map(chr, DECOMPOSED)
        if not "\ud800" <= character <= "\udfff"
    )


def _composition(key: str, single: Mapping[str, str]) -> str | None:
    """What the library's NFC makes of the characters, each by its own rule; None: it is too new."""
    text = unicodedata.normalize("NFC", "".join(single.get(one, one) for one in key))
    return None if any(OLD_UNICODE.category(one) == "Cn" for one in text) else text


def _second_characters(single: Mapping[str, str]) -> Iterable[str]:
    """Characters that NFC may join to what is before them, or move."""
    seconds = set()
    for character in map(chr, DECOMPOSED):
        if unicodedata.combining(character):
            seconds.add(character)
        parts = unicodedata.decomposition(character)
        if parts and not parts.startswith("<"):
            seconds.update(chr(int(part, 16)) for part in parts.split()[1:])
    seconds.update(map(chr, [*HANGUL_VOWELS, *HANGUL_ENDS]))
    yield from seconds
    yield from (key for key, value in single.items() if value[:1] in seconds)


def _sequences(keys: Iterable[str]) -> list[list[set[str]]]:
    """The same keys as sequences of sets of characters, one of each set in turn."""
    lasts = defaultdict(set)  # by what stands before them
    for key in sorted(keys):  # so that the same model gives the same file
        lasts[key[:-1]].add(key[-1])
    before = defaultdict(list)
    for beginning, last in lasts.items():
        before[frozenset(last)].append(beginning)
    return [
        [*sequence, last]
        for last, beginnings in before.items()
        for sequence in ([[]] if beginnings == [""] else _sequences(beginnings))
    ]


def _members(characters: Iterable[str]) -> str:
    """The inside of a class of characters, as ranges."""
    ranges: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(
        f"\\x{{{first:X}}}" + (f"-\\x{{{last:X}}}" if last > first else "")
        for first, last in ranges
    )


def _escaped(text: str) -> str:
    return "".join(f"\\x{{{ord(character):X}}}" for character in text)
