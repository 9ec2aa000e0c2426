"""Meta-training of task modules on text: a start from which a few updates go far in a new domain."""

from dataclasses import dataclass

import numpy as np
from fairseq import utils
from fairseq.tasks import register_task
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask

from ..errors import InputError
from .episodes import Episodes
from .lengths import too_long, ways_out
from .masked_blocks import MaskedBlocks, Masking, masking_of
from .meta_training import (
    MetaTraining,
    MetaTrainingConfig,
    check_settings,
    check_size,
    read_shared_dictionary,
)


@dataclass
class MetaMaskedLMConfig(MetaTrainingConfig, MaskedLMConfig):
    pass


@register_task("meta_masked_lm", dataclass=MetaMaskedLMConfig)
class MetaMaskedLMTask(MetaTraining, MaskedLMTask):
    """Masked language modelling over several domains, each a folder of binarised text."""

    cfg: MetaMaskedLMConfig
    name = "meta_masked_lm"

    @classmethod
    def setup_task(cls, cfg: MetaMaskedLMConfig, **unused: object) -> "MetaMaskedLMTask":
        """Read the vocabulary, which all domains must share.

        Raises:
            InputError: they do not, or a setting is out of range.
        """
        check_settings(cfg)
        return cls(cfg, read_shared_dictionary(cfg, "dict.txt", "prepare"))

    def load_dataset(
        self, split: str, epoch: int = 1, combine: bool = False, **unused: object
    ) -> None:
        """Episodes of a split.

        Raises:
            InputError: a domain has too few blocks for one, or blocks that are too long.
        """
        cfg, words = self.cfg, self.source_dictionary
        domains = []
        for number, folder in enumerate(utils.split_paths(cfg.data)):
            blocks = self._load_dataset_split(split, number + 1, combine)  # fairseq: 1 an epoch
            everything = np.arange(len(blocks))
            over = too_long(f"{folder}/{split}", blocks, everything, cfg.tokens_per_sample)
            if over:
                raise InputError(
                    f"{over} are in items longer than the {over.limit} tokens that this run takes (the "
                    f"longest has {over.longest}): {ways_out(self, [over])}"
                )
            has = f"{folder} has {len(blocks)} blocks of {cfg.tokens_per_sample} tokens"
            check_size(cfg, split, len(blocks), has)
            domains.append(MaskedBlocks(blocks, words, self._masking(), cfg.seed))
        self.datasets[split] = Episodes(domains, cfg.meta_support, cfg.meta_query, cfg.seed)

    def _masking(self) -> Masking:
        masking = masking_of(self.cfg, self.source_dictionary, self.mask_idx)
        if masking is None:
            raise InputError("the task meta_masked_lm masks single tokens: leave --mask-* out")
        return masking
