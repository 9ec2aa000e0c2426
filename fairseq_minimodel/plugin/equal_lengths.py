"""Batches of texts of similar lengths in fairseq's task `sentence_prediction`, as in its other tasks.

fairseq fills its batches at random, and computes the padding: almost half of all positions in pairs of
sentences.
"""

from fairseq.data import FairseqDataset, SortDataset
from fairseq.tasks.sentence_prediction import SentencePredictionTask

from .compat.around import Former, around


@around(SentencePredictionTask, "load_dataset")
def order_by_length(
    load_dataset: Former, self: SentencePredictionTask, split: str, *args: object, **kwargs: object
) -> FairseqDataset:
    """The dataset, whose order is random among texts of one length; with --no-shuffle, as it was."""
    dataset = load_dataset(self, split, *args, **kwargs)
    if isinstance(dataset, SortDataset):
        (lengths,) = dataset.sizes
        dataset.sort_order = [*dataset.sort_order, lengths]
    return dataset
