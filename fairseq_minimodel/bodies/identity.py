"""What a model is, written into its own state: its lineage, its vocabulary and its family.

They are short identifiers in hexadecimal digits. They are kept as buffers of the model, so that they
travel with every checkpoint that fairseq writes, whichever option it was loaded by. The buffers
hold one small whole number for each digit, as floating point: fairseq averages (EMA) and halves (fp16)
buffers like weights, and a digit survives both.
"""

import hashlib
import uuid

import torch
from torch import Tensor

from .families import FAMILIES, ROBERTA
from .family import Family
from .language_side import StateDict, is_language_side
from .tensors import BODY, FAMILY, LINEAGE, ORIGIN, TASK_BODY, VOCABULARY

IDENTIFIERS = (LINEAGE, VOCABULARY, TASK_BODY, FAMILY, ORIGIN)
DIGITS = 16


def encode(identifier: str) -> Tensor:
    """The buffer for an identifier of `DIGITS` hexadecimal digits."""
    return torch.tensor([float(int(digit, 16)) for digit in identifier])


def is_identifier(buffer: Tensor) -> bool:
    """Whether a buffer from a file holds an identifier."""
    return buffer.shape == (DIGITS,) and bool(((buffer > -0.5) & (buffer < 15.5)).all())


def decode(buffer: Tensor) -> str:
    """The identifier in a buffer."""
    return "".join(f"{round(digit):x}" for digit in buffer.tolist())


def new_lineage() -> str:
    """A lineage for a body that is pretrained from nothing. Draws from no seeded generator."""
    return uuid.uuid4().hex[:DIGITS]


def lineage_of(state: StateDict) -> str:
    """The lineage of a model's state dict.

    A model that was not trained with this package (fairseq's `roberta`) has none written down; its
    lineage is the digest of its body, so that everybody who starts from a published model gets the
    same one.
    """
    if LINEAGE in state:
        return decode(state[LINEAGE])
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.startswith(BODY) and not is_language_side(name):
            digest.update(name.encode())
            digest.update(state[name].detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:DIGITS]


def with_new_lineage(state: StateDict) -> StateDict:
    """The state dict as that of a body that is trained on, in a lineage of its own.

    Its language sides fit no other body, while those of the body that it comes from can be put into it.
    """
    return {**state, ORIGIN: encode(lineage_of(state)), LINEAGE: encode(new_lineage())}


def fits(lineage: str, state: StateDict) -> bool:
    """Whether a language side of a lineage can be put into a body."""
    return lineage == lineage_of(state) or ORIGIN in state and lineage == decode(state[ORIGIN])


def family_mark(family: Family) -> StateDict:
    """What the state of a body of this family has beside its weights; of RoBERTa nothing."""
    return {} if family is ROBERTA else {FAMILY: encode(_family_identifier(family))}


def family_of_state(state: StateDict) -> Family | None:
    """The family of a model's state dict; None: this version does not know it."""
    if FAMILY not in state:
        return ROBERTA
    found = decode(state[FAMILY])
    return next((one for one in FAMILIES if _family_identifier(one) == found), None)


def _family_identifier(family: Family) -> str:
    return hashlib.sha256(family.name.encode()).hexdigest()[:DIGITS]


def with_identity(state: StateDict, lineage: str, vocabulary: str) -> StateDict:
    """The state dict with both identifiers written into it."""
    return {**state, LINEAGE: encode(lineage), VOCABULARY: encode(vocabulary)}
