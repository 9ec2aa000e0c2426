"""The values of --freeze, read in one place."""

from typing import NamedTuple

from ..errors import InputError

NONE, LANGUAGE, BODY, BOTTOM = "none", "language", "body", "bottom"
WITH_BIAS = "+bias"


class Freeze(NamedTuple):
    """What training does not change.

    Attributes:
        kind: NONE; LANGUAGE: token embeddings and output bias; BODY: everything else; BOTTOM:
            language side, position embeddings, embedding LayerNorm and some layers.
        layers: of BOTTOM, how many layers, from the bottom.
        bias_is_trained: of BOTTOM, whether the output bias is trained, as a new head needs it.
    """

    kind: str
    layers: int = 0
    bias_is_trained: bool = False


def parse_freeze(text: str | None, layers: int | None = None) -> Freeze:
    """Read a value of --freeze; None is "none".

    Args:
        layers: of the model; None: not known, and not checked.

    Raises:
        InputError: the value is none of those that exist.
    """
    text = text or NONE
    if text in (NONE, LANGUAGE, BODY):
        return Freeze(text)
    kind, _, number = text.removesuffix(WITH_BIAS).partition(":")
    if kind == BOTTOM and number.isdecimal() and (layers is None or int(number) <= layers):
        return Freeze(BOTTOM, int(number), text.endswith(WITH_BIAS))
    highest = "" if layers is None else f" with N from 0 to {layers}"
    raise InputError(
        f'--freeze "{text}" is none of: none, language, body, bottom:N, bottom:N+bias{highest}'
    )
