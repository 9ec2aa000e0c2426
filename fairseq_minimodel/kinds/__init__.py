"""One object for each kind of task: its head, examples, predictions, scores (`registry.KINDS`).

Names that options need are here, where they cost no import of PyTorch.
"""

CLASSIFICATION, SPAN, MASKED, RETRIEVAL = "classification", "span", "masked", "retrieval"
VECTORS = "vectors"  # of sentences
COSINE, CSLS = SIMILARITIES = ("cosine", "csls")  # of sentence vectors
# Modules of our model: the head of spans, and those of classification, each under its name.
SPAN_HEAD, CLASSIFICATION_HEADS = "span_head", "classification_heads."
