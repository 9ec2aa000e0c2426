"""Text for a terminal: what comes from files and names cannot move the cursor or change a screen."""

import re
from typing import TextIO

# Control characters but for tab and line feed, and halves of characters, which nothing can print.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

_NOT_ASCII = re.compile("[^\x00-\x7f]")
_UP = re.compile("(\x1b\\[A)+")


def plain(text: str) -> str:
    """The text with control characters spelt out, as JSON does: an escape becomes `\\u001b`."""
    return _UNPRINTABLE.sub(_spell_out, text)


def _spell_out(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


class PlainStream:
    """A stream of text that prints everything `plain`; for the rest it is the stream it is given.

    Carriage returns stay, and texts of nothing but "one line up", for progress bars. Letters that
    the stream's encoding does not have are spelt out, too.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        shown = text if _UP.fullmatch(text) else "\r".join(map(plain, text.split("\r")))
        try:
            shown.encode(getattr(self._stream, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            shown = _NOT_ASCII.sub(_spell_out, shown)
        self._stream.write(shown)
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
