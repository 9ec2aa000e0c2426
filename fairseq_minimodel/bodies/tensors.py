"""What the tensors of a model are called here: the names of this package's fairseq models.

Those of the heads of tasks stand in `kinds/`. Imports no PyTorch.
"""

import re

from ..kinds import CLASSIFICATION_HEADS, TOKEN_HEADS

BODY = "encoder."  # what a body has beside the heads of tasks
ENCODER = f"{BODY}sentence_encoder."
EMBEDDING = f"{ENCODER}embed_tokens.weight"
POSITIONS = f"{ENCODER}embed_positions.weight"
EMBEDDING_NORM = f"{ENCODER}layernorm_embedding."
LAYERS = f"{ENCODER}layers."
FINAL_NORM = (
    f"{ENCODER}layer_norm."  # after the last layer, in families whose layers have theirs first
)
VERSION = f"{ENCODER}version"  # a buffer of fairseq's
HEAD = f"{BODY}lm_head."
# The projection is the token embedding, or in some families a table of its own.
OUTPUT_PROJECTION, OUTPUT_BIAS = f"{HEAD}weight", f"{HEAD}bias"
MIDDLE_HEADS = f"{BODY}auxiliary_lm_heads."  # by the layer, counted from 1, that they stand after
MIDDLE_NORM = "final_norm."  # of a middle head, in the place of the `FINAL_NORM`
# Buffers that say what a model is (`bodies/identity.py`); the last, over which body a task module
# was trained.
LINEAGE, VOCABULARY, TASK_BODY = f"{BODY}lineage", f"{BODY}vocabulary", f"{BODY}task_body"
# Which family a body is of, where it is not RoBERTa: a buffer, too.
FAMILY = f"{BODY}family"
# The lineage of the body that this one, which is of a lineage of its own, was trained on from.
ORIGIN = f"{BODY}origin"
# fairseq numbers positions from the padding index, 1, on, so that these rows come before the first.
POSITION_OFFSET = 2
# Of these rows fairseq reads the first for no token. In families that have token types it holds what
# the second text of a pair adds to its positions: the difference between the types 1 and 0.
SECOND_TEXT = 0

LAYER = re.compile(rf"{re.escape(LAYERS)}(\d+)\.")
AUXILIARY_HEAD = re.compile(rf"{re.escape(MIDDLE_HEADS)}(\d+)\.")
CLASSIFICATION_HEAD = re.compile(rf"{re.escape(CLASSIFICATION_HEADS)}([^.]+)\.")


def layer_of(name: str) -> int | None:
    """The layer, counted from 0, that a tensor belongs to; None: to none."""
    match = LAYER.match(name)
    return int(match[1]) if match else None


def middle_head(depth: int) -> str:
    """What the names of the MLM head after so many layers, not all of them, begin with."""
    return f"{MIDDLE_HEADS}{depth}."


def is_head(name: str) -> bool:
    """Whether a tensor belongs to a head of a task."""
    return name.startswith(CLASSIFICATION_HEADS) or name.partition(".")[0] in TOKEN_HEADS
