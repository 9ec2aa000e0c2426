"""The values of --freeze, read in one place."""

import re
from typing import NamedTuple

from ..errors import InputError
from ..terminal.table import counted

NONE, LANGUAGE, BODY, BOTTOM = "none", "language", "body", "bottom"
WITHOUT_HEAD, WITH_BIAS = "-head", "+bias"
_BOTTOM = re.compile(rf"{BOTTOM}:([0-9]+)({WITHOUT_HEAD})?({re.escape(WITH_BIAS)})?")


class Freeze(NamedTuple):
    """What training does not change.

    Attributes:
        kind: NONE; LANGUAGE: token embeddings and output bias; BODY: everything else; BOTTOM:
            language side, position embeddings, embedding LayerNorm and some layers.
        layers: of BOTTOM, how many layers, from the bottom.
        bias_is_trained: of BOTTOM, whether the output bias is trained, as a new head needs it.
        head_is_trained: of BOTTOM, whether the MLM heads are; a head that was trained may stay.
    """

    kind: str
    layers: int = 0
    bias_is_trained: bool = False
    head_is_trained: bool = True

    def in_words(self) -> str:
        """What is not trained, for a reader."""
        side = "token embeddings" if self.bias_is_trained else "language side"
        layers = f"the bottom {counted(self.layers, 'layer')}"
        text = {
            NONE: "nothing",
            LANGUAGE: "language side",
            BODY: "everything but the language side",
            BOTTOM: f"{side}, position embeddings, embedding LayerNorm, {layers}",
        }[self.kind]
        return text if self.head_is_trained else f"{text}, the MLM head"


def parse_freeze(text: str | None, layers: int | None = None) -> Freeze:
    """Read a value of --freeze; None is "none".

    Args:
        layers: of the model; None: not known, and not checked.

    Raises:
        InputError: the value is none of those that exist, or leaves nothing to train.
    """
    text = text or NONE
    if text in (NONE, LANGUAGE, BODY):
        return Freeze(text)
    match = _BOTTOM.fullmatch(text)
    if match and (layers is None or int(match[1]) <= layers):
        freeze = Freeze(BOTTOM, int(match[1]), bool(match[3]), not match[2])
        if freeze.layers == layers and not (freeze.bias_is_trained or freeze.head_is_trained):
            raise InputError(f"--freeze {text} of {layers} layers leaves nothing to train")
        return freeze
    highest = "" if layers is None else f" with N from 0 to {layers}"
    raise InputError(
        f'--freeze "{text}" is none of: none, language, body, bottom:N, bottom:N+bias, bottom:N-head, '
        f"bottom:N-head+bias{highest}"
    )
