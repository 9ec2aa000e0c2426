"""What meta-training is, whatever its tasks are: episodes, inner steps and the outer gradient."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.data import Dictionary
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from fairseq.optim import FairseqOptimizer
from fairseq.optim.amp_optimizer import AMPOptimizer
from omegaconf import II, DictConfig
from torch import Tensor, nn

from ..bodies.identity import encode
from ..errors import InputError
from ..models.accounting import record_waiting
from ..models.minimodel_roberta import frozen_parameters
from ..models.with_module import embed_task, structure_in
from ..modules.method import NONE, OUTPUT, WEIGHT
from ..nn.first_order import OPTIMIZERS, adapted
from ..packs.module import NO_BODY, is_head
from ..vocabulary.symbols import fingerprint
from .architecture import check_architecture
from .timed_batches import TimedBatches

SHARED = ("model", "module")


@dataclass
class MetaTrainingConfig(FairseqDataclass):
    meta_shared: ChoiceEnum(SHARED) = field(
        default="model",
        metadata={
            "help": "what the outer step trains: model (all but what --freeze says) or module (what "
            "--task-module trains; body and language stay as they are)"
        },
    )
    meta_inner_steps: int = field(default=1, metadata={"help": "steps on a support batch"})
    meta_inner_optimizer: ChoiceEnum(tuple(OPTIMIZERS)) = field(
        default="adam", metadata={"help": "optimiser of these steps, anew in each episode"}
    )
    meta_inner_lr: float = field(default=5e-4, metadata={"help": "learning rate of these steps"})
    meta_support: int = field(
        default=8,
        metadata={
            "help": "blocks of text, or labelled examples, in the batch that a task is adapted to"
        },
    )
    meta_query: int = field(
        default=8, metadata={"help": "the same, in the batch that the adaptation is judged by"}
    )
    ddp_backend: str = II("distributed_training.ddp_backend")
    distributed_world_size: int = II("distributed_training.distributed_world_size")


class MetaTraining:
    """Meta-training over several tasks, each adapted to before it counts; a base of fairseq's tasks.

    Hou, Salazar and Polovets 2022 (arXiv 2207.03509), algorithm 1, first order. `data` names the
    folders of the tasks, with colons between them; `--batch-size` is the number of tasks of an update
    (in each process). For each, from the shared start, inner steps on the support batch change the
    task module's weights and cells; the gradient of the query loss at that point counts as one at the
    shared start, and the optimiser takes the outer step with the mean over tasks. That is the sum of
    the paper but for a factor, which Adam does not see.

    Attributes:
        name: of the task.
        head_is_adapted: whether the inner steps change the task's head, too.
    """

    cfg: MetaTrainingConfig
    name: ClassVar[str]
    head_is_adapted: ClassVar[bool] = False

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the model; what is shared can be trained.

        Raises:
            InputError: it is another than `minimodel_roberta`, or has no task module.
        """
        check_architecture(self.name, cfg)
        if cfg.task_module == NONE:
            raise InputError(
                f"the task {self.name} prepares a task module: give --task-module tarp, or another"
            )
        model = super().build_model(cfg, from_checkpoint)
        if (structure := structure_in(model.encoder.sentence_encoder)) is not None:
            structure.in_meta_training = True
        if self.cfg.meta_shared == "model":
            model.requires_grad_(True)
            for _, parameter in frozen_parameters(model, cfg.freeze):
                parameter.requires_grad_(False)
        return model

    def begin_epoch(self, epoch: int, model: nn.Module) -> None:
        super().begin_epoch(epoch, model)
        if (structure := structure_in(model.encoder.sentence_encoder)) is not None:
            structure.prepared.fill_(1)
        if self.cfg.meta_shared == "model":  # then the module does not belong to the body loaded
            model.encoder.task_body.copy_(encode(NO_BODY))

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

        Returns: the sum of their query losses, each a mean over tokens (or examples); how many they
            are; the log.
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
        """The query losses after adaptation, which validation data get too."""
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

        Where it has a structure, all passes of the episode have the same one. Yields the log: the loss
        on that batch at the shared start.
        """
        log: dict[str, Any] = {}

        def support_loss() -> Tensor:
            loss, fresh = self._loss(model, criterion, support, optimizer)
            log.setdefault("support_loss", fresh["loss"])
            log.setdefault("support_size", fresh["sample_size"])
            return loss

        encoder, cfg = model.encoder.sentence_encoder, self.cfg
        embed_task(encoder, [support["net_input"]["src_tokens"]])
        structure = structure_in(encoder)
        if structure is not None:
            structure.begin_episode()
        inner = inner_parameters(model, heads=self.head_is_adapted)
        steps = cfg.meta_inner_steps, cfg.meta_inner_optimizer, cfg.meta_inner_lr
        try:
            with adapted(inner, support_loss, *steps):
                yield log
        finally:
            if structure is not None:
                structure.end_episode()

    def _loss(
        self,
        model: nn.Module,
        criterion: FairseqCriterion,
        batch: dict[str, Any],
        optimizer: FairseqOptimizer | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """The loss of a batch, in nats for each masked token or example, and its log."""
        with torch.autocast(
            batch["target"].device.type,
            dtype=torch.float16,
            enabled=isinstance(optimizer, AMPOptimizer),
        ):
            loss, size, log = criterion(model, batch)
        return loss / torch.as_tensor(size).clamp(min=1), log

    def reduce_metrics(
        self, logging_outputs: list[dict[str, Any]], criterion: FairseqCriterion
    ) -> None:
        """Log `loss` after adaptation and `support_loss` before it, in bits."""
        super().reduce_metrics(logging_outputs, criterion)
        size = sum(log.get("support_size", 0) for log in logging_outputs)
        if size:
            total = sum(log.get("support_loss", 0) for log in logging_outputs)
            metrics.log_scalar("support_loss", total / size / math.log(2), size, round=3)


def check_settings(cfg: MetaTrainingConfig) -> None:
    """Refuse settings that are out of range, with an `InputError`."""
    for name in ("meta_inner_steps", "meta_support", "meta_query"):
        if getattr(cfg, name) < (0 if name == "meta_inner_steps" else 1):
            raise InputError(f"--{name.replace('_', '-')} {getattr(cfg, name)} is too small")
    if cfg.distributed_world_size > 1 and cfg.ddp_backend not in ("legacy_ddp", "no_c10d"):
        raise InputError(
            f"--ddp-backend {cfg.ddp_backend} does not go with meta-training, whose updates have "
            "several backward passes: give --ddp-backend legacy_ddp"
        )


def read_shared_dictionary(cfg: MetaTrainingConfig, place: str, verb: str) -> Dictionary:
    """The vocabulary, which the data of all tasks must share.

    Args:
        place: of a dictionary within a folder.
        verb: that prepares such folders.

    Raises:
        InputError: they do not, or one is missing.
    """
    dictionaries = {}
    for folder in utils.split_paths(cfg.data):
        path = Path(folder, place)
        if not path.is_file():
            raise InputError(f"no {path}: give folders that fairseq-minimodel {verb} made")
        dictionaries[folder] = Dictionary.load(str(path))
    (first, shared), *others = dictionaries.items()
    for folder, dictionary in others:
        if dictionary.symbols != shared.symbols:
            raise InputError(
                f"{first} has the vocabulary {fingerprint(shared.symbols)} and {folder} has "
                f"{fingerprint(dictionary.symbols)}: the tasks of meta-training share one; prepare "
                "all with the tokenizer and the dictionary of the first"
            )
    return shared


def check_size(cfg: MetaTrainingConfig, split: str, items: int, of_what: str) -> None:
    """Refuse a split with fewer items than an episode takes with an `InputError`.

    Args:
        of_what: the folder and its items, as in "data/news has 5 examples".
    """
    if items < cfg.meta_support + cfg.meta_query:
        raise InputError(
            f"{of_what} in the split {split}, and an episode takes {cfg.meta_support + cfg.meta_query} "
            "(--meta-support and --meta-query): give fewer, or more text"
        )


def inner_parameters(model: nn.Module, *, heads: bool = False) -> list[nn.Parameter]:
    """What the inner steps change: of a task module, the parts within layers.

    Not what all layers share (TAMS's controller, Compacter's slow weights), nor LayerNorms.

    Args:
        heads: what is trained of the task's heads, too.
    """
    return [
        parameter
        for name, parameter in model.named_parameters()
        if (heads and parameter.requires_grad if is_head(name)
            else not {WEIGHT, OUTPUT}.isdisjoint(name.split(".")))
    ]  # fmt: skip


def _sums(logs: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: sum(log[name] for log in logs) for name in logs[0]}
