"""One object for each kind of task: its head, examples, predictions, scores (`registry.KINDS`).

Names that options need are here, where they cost no import of PyTorch.
"""

CLASSIFICATION, SPAN, MASKED, RETRIEVAL = "classification", "span", "masked", "retrieval"
COSINE, CSLS = SIMILARITIES = ("cosine", "csls")  # of sentence vectors
