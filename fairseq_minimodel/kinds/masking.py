"""Which tokens are masked, in training and where a masked language model is measured."""

from dataclasses import dataclass

import numpy as np

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
