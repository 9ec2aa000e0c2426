"""Texts, and the vectors that they are to get, as batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fairseq.data import FairseqDataset
from fairseq.data.data_utils import collate_tokens
from torch import Tensor

LIKE = 8  # texts whose lengths differ by less than so many tokens may share a batch


class VectorPairs(FairseqDataset):
    """Texts of like length in batches that are made up anew in each epoch.

    Which texts meet in a batch follows from the seed and the epoch: a run that resumes sees the same.

    Args:
        texts: ids of each, (tokens,), <s> and </s> among them.
        vectors: texts x width.
        padding: its id.
        seed: of the batches.
    """

    can_reuse_epoch_itr_across_epochs = False

    def __init__(
        self, texts: Sequence[np.ndarray], vectors: Tensor, padding: int, seed: int
    ) -> None:
        self.texts, self.vectors, self.padding, self.seed = texts, vectors, padding, seed
        self.sizes = np.array([len(text) for text in texts])
        self.epoch = 1

    def set_epoch(self, epoch: int, **unused: object) -> None:
        self.epoch = epoch

    def ordered_indices(self) -> np.ndarray:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self))
        return order[np.argsort(self.sizes[order] // LIKE, kind="stable")]

    def __len__(self) -> int:
        return len(self.texts)

    def num_tokens(self, index: int) -> int:
        return self.sizes[index]

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        return self.sizes[indices]

    def size(self, index: int) -> int:
        return self.sizes[index]

    def __getitem__(self, index: int) -> tuple[int, np.ndarray]:
        return int(index), self.texts[index]

    def collater(self, samples: list[tuple[int, np.ndarray]]) -> dict[str, Any]:
        if not samples:
            return {}
        indices, texts = zip(*samples, strict=True)
        lengths = torch.tensor([len(text) for text in texts])
        return {
            "id": torch.tensor(indices),
            "net_input": {
                "src_tokens": collate_tokens(
                    [torch.from_numpy(one) for one in texts], self.padding
                ),
                "src_lengths": lengths,
            },
            # of a type that --bf16 and --fp16 leave as it is
            "target": self.vectors[list(indices)].double(),
            "nsentences": len(texts),
            "ntokens": int(lengths.sum()),
        }
