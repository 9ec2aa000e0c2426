"""Step 2 of mini-model adaptation: learn a language side over a frozen, truncated body."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
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

from ..bodies.architectures import ARCHITECTURES
from ..bodies.checkpoint import Checkpoint, read_checkpoint
from ..bodies.family import EMBEDDING
from ..bodies.identity import lineage_of, with_identity
from ..bodies.language_side import LanguageSide, with_language_side
from ..bodies.surgery import truncate
from ..bodies.training_files import find_training_file, symbols_of
from ..errors import InputError
from ..models.accounting import record_waiting
from ..nn import cpu
from ..packs.start.combine import clp_weights, sparsemax
from ..packs.start.helper import read_folder
from ..packs.start.initialise import INITIALISERS, initialise
from ..packs.start.vectors import TokenVectors, vectors_from_text
from ..plugin.compat.run_folder import restored_path
from ..vocabulary.matching import spelled_out
from ..vocabulary.symbols import fingerprint
from .masked_blocks import MaskedBlocks, masking_of
from .timed_batches import TimedBatches

logger = logging.getLogger(__name__)


@dataclass
class LanguageAdaptationConfig(MaskedLMConfig):
    base_checkpoint: Optional[str] = field(
        default=None,
        metadata={"help": "checkpoint whose body is kept, frozen (not needed to resume a run)"},
    )
    depth: Optional[int] = field(
        default=None,
        metadata={
            "help": "train over the bottom layers only, up to this one; there must be an MLM head "
            "after it (default: all layers)"
        },
    )
    initialise: ChoiceEnum(INITIALISERS) = field(
        default="mean",
        metadata={
            "help": "start of the language side: random (N(0, 0.02), special symbols copied), "
            "overlap (rows of tokens in both vocabularies copied as well), mean (all others: the "
            "mean row), clp (all others: means of copied rows, weighted by a helper model), focus "
            "(the same, weighted by the target text)"
        },
    )
    helper: Optional[str] = field(
        default=None,
        metadata={
            "help": "for --initialise clp: a model in the target vocabulary; a fairseq checkpoint of "
            "a masked language model, a language pack, or a folder in Hugging Face's form"
        },
    )
    helper_dict: Optional[str] = field(
        default=None,
        metadata={
            "help": "dict.txt of a helper that is a checkpoint (default: beside it, or in its data "
            "folder)"
        },
    )
    initialise_top_k: Optional[int] = field(
        default=None,
        metadata={
            "help": "for --initialise clp: only so many nearest tokens count (default: all, the "
            "paper's rule)"
        },
    )
    initialise_temperature: Optional[float] = field(
        default=None,
        metadata={
            "help": "for --initialise clp: weights are the softmax of cosine / temperature "
            "(default: the cosine itself, the paper's rule)"
        },
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
    """Masked language modelling in a new language; only the language side is trained.

    Marchisio et al. 2023, section 3, step 2; over all layers it is the method of Artetxe et al. 2020.
    The model that is trained, and saved, is a plain `minimodel_roberta` of the chosen depth.
    """

    cfg: LanguageAdaptationConfig

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the truncated model over the base checkpoint, with a new language side.

        Raises:
            InputError: there is no base checkpoint, or it does not fit.
        """
        if from_checkpoint:  # its own checkpoint: configuration and weights are complete
            return super().build_model(cfg, from_checkpoint)
        if self.cfg.cpu or not torch.cuda.is_available():
            cpu.prepare_process()
        self._check_initialiser()
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

    def adapt(self, base: Checkpoint) -> Checkpoint:
        """The base checkpoint, truncated, with the initial language side of the target language."""
        lineage = lineage_of(base.state)
        truncated, report = truncate(
            base, base.layers if self.cfg.depth is None else self.cfg.depth
        )
        logger.info("base checkpoint %s, lineage %s; %s", base.path, lineage, report)
        state = with_language_side(truncated.state, self._initial_side(base))
        symbols = self.source_dictionary.symbols
        return truncated.replaced(with_identity(state, lineage, fingerprint(symbols)))

    def _check_initialiser(self) -> None:
        """Refuse options that the initialiser would not heed, rather than train for days without."""
        if self.cfg.initialise != "clp":
            for name in ("helper", "helper_dict", "initialise_top_k", "initialise_temperature"):
                if getattr(self.cfg, name) is not None:
                    raise InputError(
                        f"--{name.replace('_', '-')} is for --initialise clp, not for --initialise "
                        f"{self.cfg.initialise}"
                    )

    def _initial_side(self, base: Checkpoint) -> LanguageSide:
        """The language side with which the target language starts."""
        cfg = self.cfg
        source_dict = cfg.source_dict or find_training_file(base, "dict.txt")
        target_dict = Path(cfg.data.split(":")[0]) / "dict.txt"
        source_symbols = symbols_of(base, source_dict)
        target_symbols = self.source_dictionary.symbols
        rule, vectors, weigh = cfg.initialise, None, None
        if self._resumed.exists():
            rule = "random"  # the trainer puts the weights of the checkpoint there
        if rule != "random":
            source_symbols = spelled_out(source_symbols, source_dict)
            target_symbols = spelled_out(target_symbols, target_dict)
        if rule == "clp":
            vectors = self._helper()
            weigh = clp_weights(cfg.initialise_top_k, cfg.initialise_temperature)
        elif rule == "focus":
            vectors = self._text_vectors(target_symbols)
            weigh = sparsemax
        side, rows = initialise(
            rule,
            base.language_side(),
            source_symbols,
            target_symbols,
            torch.Generator().manual_seed(cfg.seed),
            vectors,
            weigh,
        )
        if not self._resumed.exists():
            logger.info("%s", rows)
        return side

    def _helper(self) -> TokenVectors:
        """The embedding of the helper model."""
        if self.cfg.helper is None:
            raise InputError(
                "--initialise clp needs --helper PATH, a model in the target vocabulary: a "
                "checkpoint, a language pack, or a folder in Hugging Face's form"
            )
        if Path(self.cfg.helper).is_dir():
            return read_folder(self.cfg.helper)
        helper = read_checkpoint(self.cfg.helper)
        dictionary = self.cfg.helper_dict or find_training_file(helper, "dict.txt")
        symbols = spelled_out(symbols_of(helper, dictionary), dictionary)
        return TokenVectors(helper.state[EMBEDDING], symbols, str(helper.path))

    def _text_vectors(self, symbols: Sequence[str]) -> TokenVectors:
        """Vectors made from the training text; of several shards, from the first."""
        path = Path(self.cfg.data.split(":")[0]) / "train"
        dataset = data_utils.load_indexed_dataset(str(path), self.source_dictionary)
        if dataset is None:
            raise InputError(f"no {path}.bin: --initialise focus needs the training text")
        items = (dataset[index].numpy() for index in range(len(dataset)))
        return vectors_from_text(items, symbols, str(path))

    @property
    def _resumed(self) -> Path:
        """The checkpoint that the trainer goes on from, if it exists."""
        return restored_path(self.cfg.save_dir, self.cfg.restore_file)

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs) -> None:
        """Blocks of a split, masked a batch at a time where the settings allow it."""
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
        if cfg._name not in ARCHITECTURES:
            raise InputError(
                f"the task language_adaptation trains the model minimodel_roberta, not {cfg._name}: "
                "give --arch minimodel_roberta"
            )
        with open_dict(cfg):
            cfg.update(checkpoint.body_settings())
            cfg.auxiliary_head_layers = ""
            cfg.freeze = "body"
            if self.cfg.tokens_per_sample > cfg.max_positions:
                raise InputError(
                    f"--tokens-per-sample {self.cfg.tokens_per_sample} is longer than the "
                    f"{cfg.max_positions} positions of {checkpoint.path}: give at most that many"
                )
