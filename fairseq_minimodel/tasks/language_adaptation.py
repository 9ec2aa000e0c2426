"""Step 2 of mini-model adaptation: learn a language side over a frozen, truncated body."""

import logging
from argparse import ArgumentParser
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from fairseq.data import SortDataset, data_utils
from fairseq.dataclass import ChoiceEnum
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask
from omegaconf import II, DictConfig, open_dict

from ..bodies.checkpoint import Checkpoint, read_checkpoint
from ..bodies.fit import check_model
from ..bodies.identity import lineage_of, with_identity, with_new_lineage
from ..bodies.language_side import LanguageSide, with_language_side
from ..bodies.surgery import truncate
from ..cost.freezing import BODY, LANGUAGE, NONE
from ..errors import InputError
from ..models.accounting import record_waiting
from ..nn import cpu
from ..packs.start import (
    DEFAULT,
    RULES,
    StartSettings,
    check_settings,
    help_of_rules,
)
from ..packs.start.language import start_language
from ..plugin.compat.run_folder import restored_path
from ..vocabulary.symbols import fingerprint
from .architecture import check_architecture
from .masked_blocks import MaskedBlocks, masking_of
from .timed_batches import TimedBatches

logger = logging.getLogger(__name__)

FREEZE = {"language": BODY, "all": NONE, "body": LANGUAGE}  # by --adapt: what is not trained


@dataclass
class LanguageAdaptationConfig(StartSettings, MaskedLMConfig):
    base_checkpoint: Optional[str] = field(
        default=None,
        metadata={"help": "checkpoint whose body is kept (not needed to resume a run)"},
    )
    depth: Optional[int] = field(
        default=None,
        metadata={
            "help": "train over the bottom layers only, up to this one; there must be an MLM head "
            "after it (default: all layers)"
        },
    )
    adapt: ChoiceEnum(tuple(FREEZE)) = field(
        default="language",
        metadata={
            "help": "what is trained: language (the language side, over a frozen body); all (continued "
            "pretraining of all weights); body (all but the language side, which stays as it starts)"
        },
    )
    initialise: ChoiceEnum(tuple(RULES)) = field(
        default=DEFAULT, metadata={"help": help_of_rules()}
    )
    source_dict: Optional[str] = field(
        default=None,
        metadata={
            "help": "dict.txt of the base checkpoint (default: beside it, or in its data folder)"
        },
    )
    cpu: bool = II("common.cpu")
    # To find the run's own checkpoint when it resumes after the base checkpoint is gone.
    save_dir: str = II("checkpoint.save_dir")
    restore_file: str = II("checkpoint.restore_file")


@register_task("language_adaptation", dataclass=LanguageAdaptationConfig)
class LanguageAdaptationTask(MaskedLMTask):
    """Masked language modelling in a new language; by default only the language side is trained.

    Marchisio et al. 2023, section 3, step 2; over all layers it is the method of Artetxe et al. 2020.
    The model that is trained, and saved, is a plain model of the chosen depth. Where the
    body is trained, as in the baselines that these are compared with, it gets a lineage of its own.
    """

    cfg: LanguageAdaptationConfig

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        """fairseq's options, where a list is one text of Python; not so those that are added before."""
        for one in fields(StartSettings):
            if argument := one.metadata["argument"]:
                name, help = one.name.replace("_", "-"), one.metadata["help"]
                parser.add_argument(f"--{name}", help=help, **argument)
        super().add_args(parser)

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the truncated model over the base checkpoint, with a new language side.

        Raises:
            InputError: there is no base checkpoint, or it does not fit.
        """
        if from_checkpoint:  # its own checkpoint: configuration and weights are complete
            return super().build_model(cfg, from_checkpoint)
        if self.cfg.cpu or not torch.cuda.is_available():
            cpu.prepare_process()
        check_settings(self.cfg.initialise, self.cfg)
        resumed, base = self._resumed, self.cfg.base_checkpoint
        if base is None or (not Path(base).exists() and resumed.exists()):
            if not resumed.exists():
                raise InputError(
                    "the task language_adaptation needs --base-checkpoint FILE, and there is no "
                    f"{resumed} to resume from"
                )
            self._adopt_body(cfg, read_checkpoint(resumed))
            return super().build_model(cfg)  # the trainer loads the weights
        adapted = self.adapt(read_checkpoint(base))
        self._adopt_body(cfg, adapted)
        model = super().build_model(cfg)
        model.load_state_dict(adapted.state, strict=True, model_cfg=cfg)
        return model

    @property
    def frozen(self) -> str:
        """What of the model is not trained: the value of --freeze."""
        return FREEZE[str(self.cfg.adapt)]

    def adapt(self, base: Checkpoint) -> Checkpoint:
        """The base checkpoint, truncated, with the initial language side of the target language."""
        if self.frozen != BODY:
            base = base.replaced(with_new_lineage(base.state))
        lineage = lineage_of(base.state)
        truncated, report = truncate(base, self.depth_over(base))
        logger.info("base checkpoint %s, lineage %s; %s", base.path, lineage, report)
        state = with_language_side(truncated.state, self._initial_side(base))
        symbols = self.source_dictionary.symbols
        return truncated.replaced(with_identity(state, lineage, fingerprint(symbols)))

    def depth_over(self, base: Checkpoint) -> int:
        """How many layers are kept."""
        return base.layers if self.cfg.depth is None else self.cfg.depth

    def _initial_side(self, base: Checkpoint) -> LanguageSide:
        """The language side with which the target language starts."""
        is_resumed = self._resumed.exists()  # then the trainer loads other weights over these
        initialise = "random" if is_resumed else self.cfg.initialise
        side, report = start_language(
            base, self.cfg.data, initialise, self.cfg, self.cfg.seed, self.cfg.source_dict
        )
        if not is_resumed:
            logger.info("%s", report)
        return side

    @property
    def _resumed(self) -> Path:
        """The checkpoint that the trainer goes on from, if it exists."""
        return restored_path(self.cfg.save_dir, self.cfg.restore_file)

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs) -> None:
        """Blocks of a split, masked one batch at a time where the settings allow it."""
        masking = masking_of(self.cfg, self.source_dictionary, self.mask_idx)
        if masking is None:
            super().load_dataset(split, epoch, combine, **kwargs)
            return
        blocks = self._load_dataset_split(split, epoch, combine)
        with data_utils.numpy_seed(self.cfg.seed):
            shuffle = np.random.permutation(len(blocks))
        batches = MaskedBlocks(blocks, self.source_dictionary, masking, self.cfg.seed)
        self.datasets[split] = SortDataset(batches, sort_order=[shuffle, blocks.sizes])

    def get_batch_iterator(self, *args, **kwargs) -> TimedBatches:
        """fairseq's batches; the time that the run waits for them is logged."""
        return TimedBatches(super().get_batch_iterator(*args, **kwargs))

    def train_step(self, *args, **kwargs) -> tuple[Any, ...]:
        """fairseq's step; the log of training, and not that of validation, shows the waiting."""
        record_waiting()
        return super().train_step(*args, **kwargs)

    def _adopt_body(self, cfg: DictConfig, checkpoint: Checkpoint) -> None:
        """Take the body's sizes from a checkpoint, so that they are saved with this run's."""
        check_model(checkpoint, check_architecture("language_adaptation", cfg))
        with open_dict(cfg):
            cfg.update({**checkpoint.body_settings(), **checkpoint.sentence_settings()})
            cfg.auxiliary_head_layers = ""
            cfg.freeze = self.frozen
        self.check_length(cfg, checkpoint)

    def check_length(self, cfg: DictConfig, checkpoint: Checkpoint) -> None:
        """Refuse settings of the task that do not go with the model's with an `InputError`."""
        if self.cfg.tokens_per_sample > cfg.max_positions:
            raise InputError(
                f"--tokens-per-sample {self.cfg.tokens_per_sample} is longer than the "
                f"{cfg.max_positions} positions of {checkpoint.path}: give at most that many"
            )
