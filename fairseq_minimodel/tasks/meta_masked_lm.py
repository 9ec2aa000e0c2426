"""Meta-training of task modules: a start from which a few updates go far in a new domain."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.data import Dictionary
from fairseq.dataclass import ChoiceEnum
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from fairseq.optim import FairseqOptimizer
from fairseq.optim.amp_optimizer import AMPOptimizer
from fairseq.tasks import register_task
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask
from omegaconf import II, DictConfig
from torch import Tensor, nn

from ..bodies.identity import encode
from ..errors import InputError
from ..models.accounting import record_waiting
from ..models.minimodel_roberta import frozen_parameters
from ..models.with_module import embed_task, forget_task
from ..modules.method import NONE, OUTPUT, WEIGHT
from ..nn.first_order import adapted
from ..packs.module import NO_BODY, is_head
from ..vocabulary.symbols import fingerprint
from .architecture import check_architecture
from .episodes import Episodes
from .lengths import too_long, ways_out
from .masked_blocks import MaskedBlocks, Masking, masking_of
from .timed_batches import TimedBatches

SHARED = ("model", "module")


@dataclass
class MetaMaskedLMConfig(MaskedLMConfig):
    meta_shared: ChoiceEnum(SHARED) = field(
        default="model",
        metadata={
            "help": "what the outer step trains: model (all but what --freeze says) or module (what "
            "--task-module trains; body and language stay as they are)"
        },
    )
    meta_inner_steps: int = field(
        default=1, metadata={"help": "steps of gradient descent on a support batch"}
    )
    meta_inner_lr: float = field(default=5e-4, metadata={"help": "learning rate of these steps"})
    meta_support: int = field(
        default=8, metadata={"help": "blocks of text in the batch that a domain is adapted to"}
    )
    meta_query: int = field(
        default=8, metadata={"help": "blocks of text in the batch that the adaptation is judged by"}
    )
    ddp_backend: str = II("distributed_training.ddp_backend")
    distributed_world_size: int = II("distributed_training.distributed_world_size")


@register_task("meta_masked_lm", dataclass=MetaMaskedLMConfig)
class MetaMaskedLMTask(MaskedLMTask):
    """Masked language modelling over several domains, each adapted to before it counts.

    Hou, Salazar and Polovets 2022 (arXiv 2207.03509), first order. `data` names the folders of the
    domains, with colons between them; `--batch-size` is the number of domains of an update (in each
    process). For each, from the shared start, inner steps on the support batch change the task
    module's weights and cells; the gradient of the query loss at that point counts as one at the
    shared start, and the optimiser takes the outer step with the mean over domains. That is the sum
    of the paper but for a factor, which Adam does not see.
    """

    cfg: MetaMaskedLMConfig

    @classmethod
    def setup_task(cls, cfg: MetaMaskedLMConfig, **unused: object) -> "MetaMaskedLMTask":
        """Read the vocabulary, which all domains must share.

        Raises:
            InputError: they do not, or a setting is out of range.
        """
        for name in ("meta_inner_steps", "meta_support", "meta_query"):
            if getattr(cfg, name) < (0 if name == "meta_inner_steps" else 1):
                raise InputError(f"--{name.replace('_', '-')} {getattr(cfg, name)} is too small")
        if cfg.distributed_world_size > 1 and cfg.ddp_backend not in ("legacy_ddp", "no_c10d"):
            raise InputError(
                f"--ddp-backend {cfg.ddp_backend} does not go with the task meta_masked_lm, whose "
                "updates have several backward passes: give --ddp-backend legacy_ddp"
            )
        dictionaries = {}
        for folder in utils.split_paths(cfg.data):
            path = Path(folder, "dict.txt")
            if not path.is_file():
                raise InputError(f"no {path}: give folders that fairseq-minimodel prepare made")
            dictionaries[folder] = Dictionary.load(str(path))
        (first, shared), *others = dictionaries.items()
        for folder, dictionary in others:
            if dictionary.symbols != shared.symbols:
                raise InputError(
                    f"{first} has the vocabulary {fingerprint(shared.symbols)} and {folder} has "
                    f"{fingerprint(dictionary.symbols)}: the domains of meta_masked_lm share one; "
                    "prepare all with the tokenizer of the first (prepare --sentencepiece-model)"
                )
        return cls(cfg, shared)

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the model; what is shared can be trained.

        Raises:
            InputError: it is another than `minimodel_roberta`, or has no task module.
        """
        check_architecture("meta_masked_lm", cfg)
        if cfg.task_module == NONE:
            raise InputError(
                "the task meta_masked_lm prepares a task module: give --task-module tarp, or another"
            )
        model = super().build_model(cfg, from_checkpoint)
        if self.cfg.meta_shared == "model":
            model.requires_grad_(True)
            for _, parameter in frozen_parameters(model, cfg.freeze):
                parameter.requires_grad_(False)
        return model

    def begin_epoch(self, epoch: int, model: nn.Module) -> None:
        super().begin_epoch(epoch, model)
        if self.cfg.meta_shared == "model":  # then the module does not belong to the body loaded
            model.encoder.task_body.copy_(encode(NO_BODY))

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
            if len(blocks) < cfg.meta_support + cfg.meta_query:
                raise InputError(
                    f"{folder} has {len(blocks)} blocks of {cfg.tokens_per_sample} tokens in the "
                    f"split {split}, and an episode takes {cfg.meta_support + cfg.meta_query} "
                    "(--meta-support and --meta-query): give fewer, or more text"
                )
            domains.append(MaskedBlocks(blocks, words, self._masking(), cfg.seed))
        self.datasets[split] = Episodes(domains, cfg.meta_support, cfg.meta_query, cfg.seed)

    def _masking(self) -> Masking:
        masking = masking_of(self.cfg, self.source_dictionary, self.mask_idx)
        if masking is None:
            raise InputError("the task meta_masked_lm masks single tokens: leave --mask-* out")
        return masking

    def get_batch_iterator(self, *args, **kwargs) -> TimedBatches:
        """fairseq's batches; the time that the run waits for them is logged."""
        return TimedBatches(super().get_batch_iterator(*args, **kwargs))

    def train_step(
        self,
        sample: dict[str, Any],
        model: nn.Module,
        criterion: FairseqCriterion,
        optimizer: FairseqOptimizer,
        update_num: int,
        ignore_grad: bool = False,
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Add the gradients of some episodes.

        Returns: the sum of their query losses, each a mean over tokens; how many they are; the log.
        """
        record_waiting()
        model.train()
        model.set_num_updates(update_num)
        total, logs = 0.0, []
        for episode in sample["episodes"]:
            with self._adapted(model, criterion, episode["support"], optimizer) as log:
                loss, query_log = self._loss(model, criterion, episode["query"], optimizer)
                if ignore_grad:
                    loss = loss * 0
                optimizer.backward(loss)
            total = total + loss.detach()
            logs.append({**query_log, **log})
        return total, len(logs), _sums(logs)

    def valid_step(
        self, sample: dict[str, Any], model: nn.Module, criterion: FairseqCriterion
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """The query losses after adaptation, which validation text gets too."""
        model.eval()
        total, logs = 0.0, []
        for episode in sample["episodes"]:
            with self._adapted(model, criterion, episode["support"]) as log, torch.no_grad():
                loss, query_log = self._loss(model, criterion, episode["query"])
            total = total + loss
            logs.append({**query_log, **log})
        return total, len(logs), _sums(logs)

    @contextmanager
    def _adapted(
        self,
        model: nn.Module,
        criterion: FairseqCriterion,
        support: dict[str, Any],
        optimizer: FairseqOptimizer | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Within the block the task module is adapted to the support batch.

        Yields the log: the loss on that batch at the shared start.
        """
        log: dict[str, Any] = {}

        def support_loss() -> Tensor:
            loss, fresh = self._loss(model, criterion, support, optimizer)
            log.setdefault("support_loss", fresh["loss"])
            log.setdefault("support_size", fresh["sample_size"])
            return loss

        encoder = model.encoder.sentence_encoder
        embed_task(encoder, support["net_input"]["src_tokens"])
        cfg = self.cfg
        try:
            with adapted(inner_parameters(model), support_loss, cfg.meta_inner_steps,
                         cfg.meta_inner_lr):  # fmt: skip
                yield log
        finally:
            forget_task(encoder)

    def _loss(
        self,
        model: nn.Module,
        criterion: FairseqCriterion,
        batch: dict[str, Any],
        optimizer: FairseqOptimizer | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """The loss of a batch, in nats per masked token, and its log."""
        with torch.autocast(
            batch["target"].device.type,
            dtype=torch.float16,
            enabled=isinstance(optimizer, AMPOptimizer),
        ):
            loss, size, log = criterion(model, batch)
        return loss / size.clamp(min=1), log

    def reduce_metrics(
        self, logging_outputs: list[dict[str, Any]], criterion: FairseqCriterion
    ) -> None:
        """Log `loss` after adaptation and `support_loss` before it, in bits per masked token."""
        super().reduce_metrics(logging_outputs, criterion)
        size = sum(log.get("support_size", 0) for log in logging_outputs)
        if size:
            total = sum(log.get("support_loss", 0) for log in logging_outputs)
            metrics.log_scalar("support_loss", total / size / math.log(2), size, round=3)


def inner_parameters(model: nn.Module) -> list[nn.Parameter]:
    """What the inner steps change: of a task module, the parts within layers.

    Not what all layers share (TAMS's controller, Compacter's slow weights), nor LayerNorms.
    """
    return [
        parameter
        for name, parameter in model.named_parameters()
        if not {WEIGHT, OUTPUT}.isdisjoint(name.split(".")) and not is_head(name)
    ]


def _sums(logs: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: sum(log[name] for log in logs) for name in logs[0]}
