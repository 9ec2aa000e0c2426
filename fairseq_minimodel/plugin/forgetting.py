"""Active forgetting: pretraining draws the token embeddings anew, again and again (--forget-every).

Chen, Marchisio, Raileanu, Adelani, Stenetorp, Riedel and Artetxe 2023, *Improving Language Plasticity
via Pretraining with Active Forgetting* (arXiv 2307.01163). After every K updates

    E ~ N(0, 0.02), 0 for <pad>;  the optimiser's moments of E and its count of updates are 0,

and n updates later E learns by the rate that the run's schedule has after n T / K of its T updates:
warm-up and decay take place once in K updates. The body goes on: its rate, its moments, and the output
bias, which is not part of the token embeddings, follow the run's schedule. The projection to the
vocabulary is tied to E and so is forgotten with it, in every MLM head; where it is a table of its own
(EuroBERT's), it is drawn anew and learns as E does.
"""

import logging
from collections.abc import Sequence

import torch
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from omegaconf import open_dict
from torch import Tensor, nn

from ..bodies.tensors import EMBEDDING, OUTPUT_PROJECTION
from ..errors import InputError
from ..kinds.registry import kind_of_task
from ..packs.start.random import STANDARD_DEVIATION
from ..vocabulary.symbols import PAD_INDEX
from .compat.around import Former, around

logger = logging.getLogger(__name__)

OPTIMISERS = ("adam", "fused_adam")
# They look at more than the number of the update, and so have no rate for another one.
OTHER_SCHEDULES = ("reduce_lr_on_plateau", "pass_through", "manual")


def period(trainer: Trainer) -> int:
    """After how many updates the token embeddings are drawn anew; 0: never."""
    return getattr(trainer.cfg.model, "forget_every", 0)


def check_settings(trainer: Trainer) -> None:
    """Refuse a run in which forgetting has no meaning, or which cannot do it.

    Raises:
        InputError: with the setting that does not do.
    """
    cfg, every = trainer.cfg, f"--forget-every {period(trainer)}"
    kind = kind_of_task(cfg.task._name)
    if kind is None or kind.is_fine_tuned:
        raise InputError(f"{every} is for pretraining, not for the task {cfg.task._name}")
    updates = cfg.optimization.max_update
    if not period(trainer) < updates:
        raise InputError(
            f"{every} needs --max-update, and more updates than that: embeddings learn by the schedule "
            f"of the whole run, once in each period (--max-update is {updates})"
        )
    if cfg.optimizer._name not in OPTIMISERS:
        raise InputError(f"{every} needs --optimizer {' or '.join(OPTIMISERS)}")
    if cfg.lr_scheduler._name in OTHER_SCHEDULES:
        raise InputError(
            f"{every} does not go with --lr-scheduler {cfg.lr_scheduler._name}: give one that depends "
            "on the number of updates alone, such as polynomial_decay"
        )
    parallel = cfg.distributed_training
    if (
        parallel.ddp_backend == "fully_sharded"
        or parallel.zero_sharding != "none"
        or cfg.optimization.use_bmuf
    ):
        raise InputError(
            f"{every} needs the whole state of the optimiser in each process: leave out fully_sharded, "
            "--zero-sharding and --use-bmuf"
        )


def check_resumed(trainer: Trainer, path: object, config: object) -> None:
    """Refuse to resume a run that forgets as one that does not, or the other way round.

    Args:
        config: of the checkpoint.

    Raises:
        InputError: it is so.
    """
    model = config.get("model") if config else None
    former = (model.get("forget_every") or 0) if hasattr(model, "get") else 0
    if bool(former) != bool(period(trainer)):
        had = f"with --forget-every {former}" if former else "without --forget-every"
        raise InputError(
            f"{path} was trained {had}, and its optimiser cannot go on otherwise: give the same, or "
            "--reset-optimizer"
        )


def tables(trainer: Trainer) -> dict[nn.Parameter, Tensor]:
    """The token embeddings, and the output projection where it is not the same (each V x d).

    Returns: the model's parameters, with what the optimiser changes: them, or copies of 32 bits.
    """
    model, optimizer = trainer.get_model(), trainer.optimizer
    copies = zip(
        getattr(optimizer, "fp16_params", ()), getattr(optimizer, "fp32_params", ()), strict=True
    )
    copies = dict(copies)
    own = map(model.get_parameter, (EMBEDDING, OUTPUT_PROJECTION))
    return {one: copies.get(one, one) for one in own}


def draw(sizes: Sequence[torch.Size], seed: int, updates: int) -> list[Tensor]:
    """New tables (each V x d), the same in every process and after every resume."""
    generator = torch.Generator().manual_seed((seed << 32) + updates)
    drawn = [
        torch.empty(size).normal_(0, STANDARD_DEVIATION, generator=generator) for size in sizes
    ]
    for rows in drawn:
        rows[PAD_INDEX] = 0.0
    return drawn


def forget(trainer: Trainer) -> None:
    """Draw the token embeddings anew; their optimiser begins with nothing."""
    updates, forgotten = trainer.get_num_updates(), tables(trainer)
    drawn = draw([one.shape for one in forgotten], trainer.cfg.common.seed, updates)
    for (own, trained), rows in zip(forgotten.items(), drawn, strict=True):
        with torch.no_grad():
            for tensor in (trained, own):
                tensor.copy_(rows)
        trainer.optimizer.optimizer.state.pop(trained, None)
    if trainer.data_parallel_rank == 0:
        logger.info("after %d updates the token embeddings were drawn anew", updates)


@around(Trainer, "_build_optimizer")
def build_with_a_group_of_embeddings(build: Former, trainer: Trainer) -> None:
    if not period(trainer):
        return build(trainer)
    check_settings(trainer)
    with open_dict(trainer.cfg):
        trainer.cfg.common.fp16_no_flatten_grads = True  # so that they have a tensor of their own
    build(trainer)
    optimizer, forgotten = trainer.optimizer.optimizer, list(tables(trainer).values())
    (group,) = optimizer.param_groups
    group["params"] = [one for one in group["params"] if not any(one is it for it in forgotten)]
    optimizer.add_param_group({**group, "params": forgotten})
    trainer.lr_step_update()


@around(Trainer, "lr_step_update")
def step_both_schedules(step: Former, trainer: Trainer) -> float:
    if not period(trainer):
        return step(trainer)
    since = trainer.get_num_updates() % period(trainer)
    rate = trainer.lr_scheduler.step_update(
        since * trainer.cfg.optimization.max_update // period(trainer)
    )
    of_body = step(trainer)  # which sets the rate of all groups
    trainer.optimizer.optimizer.param_groups[-1]["lr"] = rate
    metrics.log_scalar("lr_embeddings", rate, weight=0, priority=301)
    return of_body


# Before an update, not after one: what is saved and scored in between has learned for K updates.
@around(Trainer, "train_step")
def forget_before_an_update(
    train_step: Former, trainer: Trainer, *args: object, **kwargs: object
) -> object:
    updates = trainer.get_num_updates()
    if period(trainer) and updates and updates % period(trainer) == 0:
        forget(trainer)
    return train_step(trainer, *args, **kwargs)
