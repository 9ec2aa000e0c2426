"""Giving a body another language."""

from ..bodies.checkpoint import Checkpoint
from ..bodies.identity import encode, fits, lineage_of
from ..bodies.language_side import LanguageSide, is_language_side, with_language_side
from ..bodies.surgery import SurgeryReport
from ..bodies.tensors import VOCABULARY
from ..errors import InputError
from .pack import LanguagePack


def plug(checkpoint: Checkpoint, pack: LanguagePack) -> tuple[Checkpoint, SurgeryReport]:
    """The body of `checkpoint` with the language of `pack`; everything else stays (step 4).

    Raises:
        InputError: the pack is of another lineage, width or form than the body, or the body has no MLM
            head.
    """
    description = pack.description
    own = checkpoint.language_side()
    width = own.width
    if description.width != width:
        raise InputError(
            f"the pack {pack.folder} is {description.width} wide and the body {checkpoint.path} is "
            f"{width} wide: a pack plugs into bodies of the width it was trained with"
        )
    if pack.side.is_tied != own.is_tied:
        raise InputError(
            f"the pack {pack.folder} has {_output(pack.side)} and the body {checkpoint.path} "
            f"{_output(own)}: they are of different families"
        )
    lineage = lineage_of(checkpoint.state)
    if not fits(description.lineage, checkpoint.state):
        raise InputError(
            f"the pack {pack.folder} belongs to the lineage {description.lineage} and the body "
            f"{checkpoint.path} to the lineage {lineage}: a pack plugs into the bodies that derive "
            "from the one it was trained over"
        )
    state = with_language_side(checkpoint.state, pack.side)
    if VOCABULARY in state:
        state[VOCABULARY] = encode(description.vocabulary)
    replaced = tuple(name for name in state if is_language_side(name))
    report = SurgeryReport(
        kept=tuple(name for name in state if not is_language_side(name)),
        made=replaced,
        dropped=replaced,
    )
    return checkpoint.replaced(state), report


def _output(side: LanguageSide) -> str:
    return "an output bias" if side.is_tied else "an output projection of its own"
