"""Batches of masked blocks of text, a whole batch masked at a time."""

from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset
from fairseq.data.data_utils import collate_tokens
from fairseq.tasks.masked_lm import MaskedLMConfig
from torch import Tensor

from ..kinds.masking import Masking


def masking_of(cfg: MaskedLMConfig, words: Dictionary, mask: int) -> Masking | None:
    """The masking that the settings of a masked LM task ask for; None if it is not of single tokens.

    Args:
        mask: id of the mask token.
    """
    if (
        cfg.mask_whole_words
        or cfg.mask_multiple_length != 1
        or cfg.mask_stdev
        or cfg.freq_weighted_replacement
        or cfg.skip_masking
        or cfg.include_target_tokens
        or cfg.d2v2_multi
    ):
        return None
    return Masking(
        mask=mask,
        random_from=words.nspecial,
        random_to=len(words),
        probability=cfg.mask_prob,
        leave_unmasked=cfg.leave_unmasked_prob,
        random_token=cfg.random_token_prob,
    )


class MaskedBlocks(FairseqDataset):
    """Blocks of text as batches of masked language modelling.

    In fairseq's `masked_lm` each block is masked by itself, twice: for the input and for the target.
    Here a batch is masked at once. Its masks follow from the seed, the epoch and the blocks in it.

    Args:
        blocks: of token ids.
        dictionary: of the language.
        masking: what is done to the blocks.
        seed: of the masks.
    """

    def __init__(
        self, blocks: FairseqDataset, dictionary: Dictionary, masking: Masking, seed: int
    ) -> None:
        self.blocks, self.sizes = blocks, blocks.sizes
        self.padding, self.masking, self.seed = dictionary.pad(), masking, seed
        self.epoch = 0

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return True  # the masks change from epoch to epoch, the lengths do not

    def set_epoch(self, epoch: int, **unused: object) -> None:
        self.blocks.set_epoch(epoch)
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.blocks)

    def num_tokens(self, index: int) -> int:
        return self.sizes[index]

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        return self.sizes[indices]

    def size(self, index: int) -> int:
        return self.sizes[index]

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        return index, self.blocks[index]

    def collater(self, samples: list[tuple[int, Tensor]]) -> dict[str, Any]:
        """The batch that fairseq's `masked_lm` would make of these blocks, with new masks."""
        if not samples:
            return {}
        indices, blocks = zip(*samples, strict=True)
        tokens = collate_tokens(blocks, self.padding)
        lengths = np.array([len(block) for block in blocks])
        generator = np.random.default_rng([self.seed, self.epoch, *map(int, indices)])
        masked, predicted = self.masking(tokens.numpy(), lengths, generator)
        return {
            "id": torch.tensor(indices),
            "net_input": {
                "src_tokens": torch.from_numpy(masked),
                "src_lengths": torch.from_numpy(lengths),
            },
            "target": tokens.masked_fill(torch.from_numpy(~predicted), self.padding),
            "nsentences": len(blocks),
            "ntokens": int(lengths.sum()),
        }
