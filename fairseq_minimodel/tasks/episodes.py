"""Episodes of meta-training: text of one domain to adapt to, and text to see how well that went."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fairseq.data import FairseqDataset

from .masked_blocks import MaskedBlocks


class Episodes(FairseqDataset):
    """Each item is a support batch and a query batch of one domain, drawn without repetition.

    Every so many episodes as there are domains hold each domain once, in a new random order. What an
    episode holds follows from the seed, the epoch and its index: a run that resumes sees the same.

    Args:
        domains: blocks of each; at least `support` + `query` of them.
        support, query: blocks in the two batches of an episode.
        seed: of the draws.
    """

    can_reuse_epoch_itr_across_epochs = True

    def __init__(
        self, domains: Sequence[MaskedBlocks], support: int, query: int, seed: int
    ) -> None:
        self.domains, self.support, self.query, self.seed = domains, support, query, seed
        blocks = support + query
        # Of an episode counts its longest possible block, since no block may be too long.
        self.sizes = np.full(
            sum(len(domain) for domain in domains) // blocks,
            max(int(domain.sizes.max()) for domain in domains),
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
        """The domain's number, and its two batches as `masked_lm` has them."""
        epoch, count = self.epoch, len(self.domains)
        order = np.random.default_rng([self.seed, epoch, 0, int(index) // count]).permutation(count)
        number = int(order[index % count])
        domain = self.domains[number]
        domain.set_epoch(epoch)
        generator = np.random.default_rng([self.seed, epoch, 1, int(index)])
        drawn = generator.choice(len(domain), self.support + self.query, replace=False)
        items = [domain[int(block)] for block in drawn]
        return {
            "domain": number,
            "support": domain.collater(items[: self.support]),
            "query": domain.collater(items[self.support :]),
        }

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {"episodes": samples} if samples else {}
