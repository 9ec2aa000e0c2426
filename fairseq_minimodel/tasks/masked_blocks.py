"""Batches of masked blocks of text, a whole batch masked at a time."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset
from fairseq.data.data_utils import collate_tokens
from fairseq.tasks.masked_lm import MaskedLMConfig
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True)
class Masking:
    """How tokens are masked (Devlin et al. 2019, section 3.1), as fairseq's `masked_lm` names it.

    Attributes:
        mask: id of the mask token.
        random_from, random_to: ids of replacements, the last excluded.
        probability: share of the tokens of a block that is predicted, special tokens included.
        leave_unmasked: share of these that stays as it is.
        random_token: share of these that becomes a random token; the rest becomes the mask.

    Raises:
        InputError: a share is out of range.
    """

    mask: int
    random_from: int
    random_to: int
    probability: float = 0.15
    leave_unmasked: float = 0.1
    random_token: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.probability <= 1:
            raise InputError(f"--mask-prob {self.probability} is not above 0 and at most 1")
        shares = (self.leave_unmasked, self.random_token)
        if min(shares) < 0 or sum(shares) > 1:
            raise InputError(
                f"--leave-unmasked-prob {shares[0]} and --random-token-prob {shares[1]} are not "
                "shares: 0 or more each, and together at most 1"
            )

    def __call__(
        self, tokens: np.ndarray, lengths: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The input, and which of its positions are to be predicted.

        Of a block of n tokens, floor(probability n + u) are predicted, u uniform in [0, 1).

        Args:
            tokens: ids, blocks x length, padded at the right.
            lengths: of the blocks.
            generator: of the random numbers.

        Returns: blocks x length each.
        """
        counts = (self.probability * lengths + generator.random(len(lengths))).astype(np.int64)
        order = generator.random(tokens.shape, dtype=np.float32)
        order[np.arange(tokens.shape[1]) >= lengths[:, None]] = 2  # padding comes last
        ranks = order.argsort(axis=1).argsort(axis=1)
        predicted = ranks < counts[:, None]
        places = predicted.nonzero()
        fate = generator.random(len(places[0]))
        replaced = np.where(fate < self.leave_unmasked, tokens[places], self.mask)
        is_random = (fate >= self.leave_unmasked) & (fate < self.leave_unmasked + self.random_token)
        replaced[is_random] = generator.integers(
            self.random_from, self.random_to, is_random.sum(), dtype=tokens.dtype
        )
        masked = tokens.copy()
        masked[places] = replaced
        return masked, predicted


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
        """The batch that fairseq's `masked_lm` would make of these blocks, masked anew."""
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
