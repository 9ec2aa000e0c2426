"""One object for each kind of task: its head, examples, predictions, scores (`registry.KINDS`).

The names of the kinds are here, where they cost no import of PyTorch.
"""

CLASSIFICATION, SPAN, MASKED, RETRIEVAL = "classification", "span", "masked", "retrieval"
