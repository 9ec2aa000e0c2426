"""One object for each kind of task: its head, examples, predictions, scores (`registry.KINDS`).

Names that options need are here, where they cost no import of PyTorch.
"""

from collections.abc import Container

CLASSIFICATION, SPAN, MASKED, RETRIEVAL = "classification", "span", "masked", "retrieval"
VECTORS = "vectors"  # of sentences
TAGS = "tags"
COSINE, CSLS = SIMILARITIES = ("cosine", "csls")  # of sentence vectors
LABELS = "label/dict.txt"  # in the data of kinds whose head has a class for each label
# What becomes of tags in test data that a body does not know.
UNKNOWN_TAGS = ("refuse", "mistakes", "outside")
# Modules of our model: heads of one linear layer that all tokens have, and those of classification,
# each under its name.
SPAN_HEAD, TAG_HEAD = TOKEN_HEADS = ("span_head", "tag_head")
CLASSIFICATION_HEADS = "classification_heads."


def output_weight(head: str, state: Container[str]) -> str:
    """The name of the weight whose rows are the outputs of a head: its own, or that of its last layer.

    Args:
        head: the name of its module.
        state: the names of tensors of a model, with or without the head.
    """
    last = f"{head}.out_proj.weight"
    return last if last in state else f"{head}.weight"
