"""Episodes of meta-training: data of one task to adapt to, and data to see how well that went."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fairseq.data import FairseqDataset


class Episodes(FairseqDataset):
    """Each item is a support batch and a query batch of one task, drawn without repetition.

    Every so many episodes as there are tasks hold each task once, in a new random order. What an
    episode holds follows from the seed, the epoch and its index: a run that resumes sees the same.

    Args:
        tasks: blocks of text, or examples, of each; at least `support` + `query` of them.
        support, query: how many are in the two batches of an episode.
        seed: of the draws.
    """

    can_reuse_epoch_itr_across_epochs = True

    def __init__(
        self, tasks: Sequence[FairseqDataset], support: int, query: int, seed: int
    ) -> None:
        self.tasks, self.support, self.query, self.seed = tasks, support, query, seed
        # Of an episode counts its longest possible item, since no item may be too long.
        self.sizes = np.full(
            sum(map(len, tasks)) // (support + query),
            max(int(np.max(task.sizes)) for task in tasks),
        )
        self.epoch = 1

    def set_epoch(self, epoch: int, **unused: object) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.sizes)

    def size(self, index: int) -> int:
        return self.sizes[index]

    def num_tokens(self, index: int) -> int:
        return self.sizes[index] * (self.support + self.query)

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        return self.sizes[indices] * (self.support + self.query)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The task's number, and its two batches as fairseq's own task has them."""
        epoch, count = self.epoch, len(self.tasks)
        order = np.random.default_rng([self.seed, epoch, 0, int(index) // count]).permutation(count)
        number = int(order[index % count])
        task = self.tasks[number]
        task.set_epoch(epoch)
        generator = np.random.default_rng([self.seed, epoch, 1, int(index)])
        drawn = generator.choice(len(task), self.support + self.query, replace=False)
        items = [task[int(item)] for item in drawn]
        return {
            "task": number,
            "support": task.collater(items[: self.support]),
            "query": task.collater(items[self.support :]),
        }

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {"episodes": samples} if samples else {}
