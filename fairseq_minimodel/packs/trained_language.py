"""Noticing a body whose language side was trained on a task: no other language fits it."""

import logging
from collections.abc import Sequence

import torch

from ..bodies.checkpoint import Checkpoint
from ..bodies.tensors import is_head
from ..modules.method import NONE
from .pack import LanguagePack

logger = logging.getLogger(__name__)

LAST_CHECKPOINT = "checkpoint_last.pt"  # fairseq's default of --restore-file


def unfit_packs(checkpoint: Checkpoint, packs: Sequence[LanguagePack]) -> list[LanguagePack]:
    """The packs whose languages the body no longer understands; a warning in the log names them.

    A body that was fine-tuned without `--freeze language` has moved together with its own token
    embeddings. Packs plug into it, but those of other languages give scores near chance. A pack that
    equals the body's own language side by bits is fine.
    """
    if not was_language_trained(checkpoint):
        return []
    unfit = [pack for pack in packs if not _is_own(checkpoint, pack)]
    if unfit:
        languages = ", ".join(dict.fromkeys(pack.description.language for pack in unfit))
        logger.warning(
            "%s was fine-tuned without --freeze language, and its own token embeddings were trained "
            "with it: in %s expect results near chance; fine-tune it again with --freeze language",
            checkpoint.path,
            languages,
        )
    return unfit


def was_language_trained(checkpoint: Checkpoint) -> bool:
    """Whether a task was learned by the language side, too, of a body that was pretrained before.

    The checkpoint's settings say it: fine-tuning began with another checkpoint, froze nothing, and had
    no task module, which freezes body and language itself.
    """
    model, start = checkpoint.model_config, checkpoint.config.get("checkpoint") or {}
    restored = start.get("restore_file") not in (None, LAST_CHECKPOINT)
    has_head = any(map(is_head, checkpoint.state))
    trains_all = (model.get("freeze") or NONE) == NONE == (model.get("task_module") or NONE)
    return has_head and trains_all and bool(start.get("finetune_from_model") or restored)


def _is_own(checkpoint: Checkpoint, pack: LanguagePack) -> bool:
    own, theirs = checkpoint.language_side().tensors, pack.side.tensors
    return own.keys() == theirs.keys() and all(torch.equal(own[name], theirs[name]) for name in own)
