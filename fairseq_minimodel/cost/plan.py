"""What adaptation will cost, before anything runs: FLOPs, memory and time of every step.

From shapes alone (`cost/flops.py`, `cost/memory.py`), without torch.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from ..errors import InputError
from ..files.records import shown
from ..terminal.table import format_flops, format_seconds, format_table
from .flops import (
    MOST,
    MOST_LAYERS,
    Flops,
    Shape,
    adam_operations,
    classification_flops,
    masked_lm_flops,
    span_flops,
    token_flops,
)
from .freezing import BODY, LANGUAGE, NONE
from .memory import Memory, parameter_count, training_memory

MOST_TOKENS, LONGEST_NUMBER = 10**15, 15  # no run has had more
# The variants of the method and two baselines: what adaptation leaves as it is (`--adapt`).
METHOD = {"Standard": BODY, "MiniJoint": BODY, "MiniPost": BODY}
BASELINES = {"all weights": NONE, "body alone": LANGUAGE}
VARIANTS = (*METHOD, *BASELINES)
CLASSES, TAGS = 3, 17  # of a classification task, of parts of speech; they cost next to nothing
COUNTED = {
    "pretraining, step 1b, adaptation": ("pretraining", "post"),
    "step 1b, adaptation": ("post",),
    "adaptation alone": (),
}


@dataclass(frozen=True)
class Batches:
    """How long a run is, and in what portions it sees its tokens.

    Attributes:
        updates: optimiser steps.
        tokens: of an update, over all GPUs and accumulated gradients.
        sequence_length: T.
        masked_fraction: share of the tokens that is predicted.
        micro_batch: sequences that a GPU holds at once.
    """

    updates: int
    tokens: int
    sequence_length: int
    masked_fraction: float
    micro_batch: int

    def __post_init__(self) -> None:
        for name, count in (
            ("updates", self.updates),
            ("batch-tokens", self.tokens),
            ("sequence-length", self.sequence_length),
            ("micro-batch", self.micro_batch),
        ):
            _check(name, count, 1 <= count <= MOST_TOKENS, f"1 to {MOST_TOKENS:,}")
        if self.micro_batch * self.sequence_length > self.tokens:
            raise InputError(
                f"--micro-batch {self.micro_batch} sequences of {self.sequence_length} tokens are "
                f"more than the {self.tokens} --batch-tokens of an update"
            )


@dataclass(frozen=True)
class Machine:
    """GPUs of one kind.

    Attributes:
        name: as printed.
        peak: dense FLOP/s of one.
        memory: GB of one; None: not known.
        count: how many.
        utilisation: share of the peak that training reaches; an assumption.
    """

    name: str
    peak: float
    memory: float | None
    count: int
    utilisation: float

    def __post_init__(self) -> None:
        _check("peak-tflops", self.peak / 1e12, 0 < self.peak < 1e30, "above 0, and a number")
        _check("gpus", self.count, 1 <= self.count <= MOST, f"1 to {MOST:,}")
        _check("utilisation", self.utilisation, 0 < self.utilisation <= 1, "above 0 and at most 1")

    def seconds(self, flops: float) -> float:
        return flops / (self.peak * self.utilisation * self.count)


@dataclass(frozen=True)
class Step:
    """A training run of the plan.

    Attributes:
        name: what it is.
        variants: those that need it.
        kind: pretraining or post (once for all languages), adaptation (for each language), or
            fine-tuning (once per task; the same for all variants).
        layers: that run.
        per_token, flops: FLOPs of a token, and of the run.
        adam: elementwise operations of the optimiser in the run, on each GPU; in no FLOPs.
        memory: at the peak of a step, on each GPU.
    """

    name: str
    variants: tuple[str, ...]
    kind: str
    layers: int
    per_token: float
    flops: float
    adam: float | None
    memory: Memory


@dataclass(frozen=True)
class Total:
    """FLOPs of a variant, with some of its steps counted.

    Attributes:
        counted: which steps, in words.
        variant: one of VARIANTS.
        once: what all languages share.
        language: what every language takes.
        languages: how many there are.
    """

    counted: str
    variant: str
    once: float
    language: float
    languages: int

    @property
    def flops(self) -> float:
        """For all languages."""
        return self.once + self.languages * self.language

    @property
    def per_language(self) -> float:
        """With an equal share of what is paid once."""
        return self.once / self.languages + self.language


@dataclass(frozen=True)
class Plan:
    """All training runs of all variants, for a model and a machine.

    Attributes:
        model: the primary model, with the source vocabulary.
        target_vocabulary: size of a target language's.
        depth: layers of the mini-model: MiniJoint's, and those that MiniPost freezes; None: a third.
        new_layers: that MiniPost puts on top of them.
        languages: target languages, which share what is paid once.
        updates: of pretraining; `post_updates` and `adaptation_updates` are as many if None.
        batch_tokens, sequence_length, masked_fraction, micro_batch: as in `Batches`.
        finetune: task (classification, span or tags), number of sequences and their length; None: not.

    Raises:
        InputError: a value is outside its range.
    """

    model: Shape
    machine: Machine
    target_vocabulary: int
    depth: int | None
    new_layers: int
    languages: int
    updates: int
    post_updates: int | None
    adaptation_updates: int | None
    batch_tokens: int
    sequence_length: int
    masked_fraction: float
    micro_batch: int
    finetune: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _check("languages", self.languages, 1 <= self.languages <= MOST, f"1 to {MOST:,}")
        most = f"1 to {MOST_LAYERS:,}"
        _check("new-layers", self.new_layers, 1 <= self.new_layers <= MOST_LAYERS, most)
        if self.depth is None:
            object.__setattr__(self, "depth", max(1, self.model.layers // 3))
        self.steps  # noqa: B018 (refuses what cannot be)

    @cached_property
    def runs(self) -> dict[str, Batches]:
        """The batches of each kind of step."""
        rest = (self.batch_tokens, self.sequence_length, self.masked_fraction, self.micro_batch)
        updates = {"post": self.post_updates, "adaptation": self.adaptation_updates}
        return {
            kind: Batches(self.updates if updates.get(kind) is None else updates[kind], *rest)
            for kind in ("pretraining", "post", "adaptation")
        }

    @cached_property
    def steps(self) -> list[Step]:
        """The training runs of all variants, in their order; each is listed once."""
        source, depth, new = self.model, self.depth, self.new_layers
        target = dataclasses.replace(source, vocabulary=self.target_vocabulary)
        source.truncate(depth)  # says what is wrong with a depth in plain words
        joint, post = f"pretraining, second head after layer {depth}", depth + new
        step = self._masked_lm_step
        steps = [
            step("pretraining", ("Standard", "MiniPost", *BASELINES), "pretraining", source),
            step(joint, ("MiniJoint",), "pretraining", source, auxiliary_head_layers=(depth,)),
            step(
                f"step 1b, {new} new layers on {depth} frozen ones",
                ("MiniPost",),
                "post",
                dataclasses.replace(source, layers=post),
                freeze=f"bottom:{depth}",
            ),
        ]
        for variant, freeze in (METHOD | BASELINES).items():
            layers = {"MiniJoint": depth, "MiniPost": post}.get(variant, source.layers)
            shape = dataclasses.replace(target, layers=layers)
            name = f"adaptation, {layers} layers" + f", {variant}" * (variant in BASELINES)
            steps.append(step(name, (variant,), "adaptation", shape, freeze=freeze))
        return [*steps, *([self._fine_tuning(*self.finetune)] if self.finetune else [])]

    def _masked_lm_step(
        self,
        name: str,
        variants: tuple[str, ...],
        kind: str,
        shape: Shape,
        *,
        freeze: str = "none",
        auxiliary_head_layers: Sequence[int] = (),
    ) -> Step:
        run = self.runs[kind]
        length = run.sequence_length
        options = {
            "freeze": freeze,
            "auxiliary_head_layers": auxiliary_head_layers,
            "masked_fraction": run.masked_fraction,
        }
        # A frozen body skips what nobody asked for in the last layer (nn/frozen_body.py).
        skips = freeze not in (NONE, LANGUAGE)
        per_token = masked_lm_flops(shape, 1, length, **options, predictions_only=skips).total
        heads = len(auxiliary_head_layers)
        trained, _ = parameter_count(shape, length, freeze=freeze, auxiliary_heads=heads)
        return Step(
            name,
            variants,
            kind,
            shape.layers,
            per_token,
            per_token * run.updates * run.tokens,
            adam_operations(trained) * run.updates,
            training_memory(shape, run.micro_batch, length, **options),
        )

    def _fine_tuning(self, task: str, *numbers: str) -> Step:
        costs = {
            "classification": self._classification_flops,
            "span": span_flops,
            "tags": partial(token_flops, outputs=TAGS),
        }
        if task not in costs:
            raise InputError(f'--finetune: the task "{task}" is none of: {", ".join(costs)}')
        for what, text in zip(("number of sequences", "length"), numbers, strict=True):
            if not text.isdecimal() or len(text) > LONGEST_NUMBER or int(text) < 1:
                raise InputError(
                    f'--finetune: the {what} "{text[:40]}" is not a number of at least 1 with at '
                    f"most {LONGEST_NUMBER} digits"
                )
        sequences, length = map(int, numbers)
        per_token = costs[task](self.model, 1, length).total
        options = {
            "freeze": "language",
            "objective": task,
            "classes": TAGS if task == "tags" else CLASSES,
        }
        return Step(
            f"fine-tuning, {task}, {sequences:,} sequences of {length}",
            VARIANTS,
            "fine-tuning",
            self.model.layers,
            per_token,
            per_token * sequences * length,
            None,  # the number of updates is not known
            training_memory(self.model, self.micro_batch, length, **options),
        )

    def _classification_flops(self, shape: Shape, tokens: float, length: int) -> Flops:
        """By the default of each family: <s> alone is read; of a EuroBERT, every token."""
        read = {"wanted": tokens / length} if shape.tied else {"read": tokens}
        return classification_flops(shape, tokens, length, classes=CLASSES, **read)

    @property
    def text(self) -> str:
        """The plan as it is printed: settings, tables, warnings."""
        totals = plan_totals(self.steps, self.languages)
        parts = [self._settings(), self._steps_table(), self._totals_table(totals)]
        return "\n\n".join([*parts, "\n".join([self._footnote(), *self._warnings()])])

    @property
    def json(self) -> dict[str, object]:
        """The plan as it is written."""
        totals = plan_totals(self.steps, self.languages)
        return {
            "model": dataclasses.asdict(self.model),
            "target_vocabulary": self.target_vocabulary,
            "depth": self.depth,
            "new_layers": self.new_layers,
            "runs": {name: dataclasses.asdict(run) for name, run in self.runs.items()},
            "machine": dataclasses.asdict(self.machine),
            "steps": [
                {
                    **dataclasses.asdict(step),
                    "seconds": self.machine.seconds(step.flops),
                    "memory_total": step.memory.total,
                }
                for step in self.steps
            ],
            "totals": [
                {
                    **dataclasses.asdict(total),
                    "flops": total.flops,
                    "per_language": total.per_language,
                    "seconds": self.machine.seconds(total.flops),
                    "standard_over_this": _saving(total, totals),
                }
                for total in totals
            ],
        }

    def _settings(self) -> str:
        model, machine = self.model, self.machine
        return (
            f"model: {model.layers} layers, width {model.width}, feed-forward {model.ffn}, "
            f"{model.heads} heads; vocabulary: source {model.vocabulary:,}, target "
            f"{self.target_vocabulary:,}\n"
            f"batches: {self.batch_tokens:,} tokens per update in sequences of "
            f"{self.sequence_length}, {100 * self.masked_fraction:g} % masked; a GPU holds "
            f"{self.micro_batch} sequences at once\n"
            f"time: {machine.count} x {machine.name}, {machine.peak / 1e12:g} TFLOP/s (dense, 16 "
            f"bits), of which {100 * machine.utilisation:g} % are used (assumed)"
        )

    def _steps_table(self) -> str:
        how_often = {"adaptation": "per language", "fine-tuning": "per task"}
        return format_table(
            ["step", "variant", "paid", "per token", "FLOPs", "time", "memory"],
            [
                [
                    step.name,
                    _names(step.variants),
                    how_often.get(step.kind, "once"),
                    format_flops(step.per_token),
                    format_flops(step.flops),
                    format_seconds(self.machine.seconds(step.flops)),
                    _gigabytes(step.memory.total),
                ]
                for step in self.steps
            ],
        )

    def _totals_table(self, totals: Sequence[Total]) -> str:
        languages = f"{self.languages} languages" if self.languages > 1 else "1 language"
        return format_table(
            ["counted", "variant", languages, "time", "per language", "Standard / this"],
            [
                [
                    total.counted if total.variant == VARIANTS[0] else "",
                    total.variant,
                    format_flops(total.flops),
                    format_seconds(self.machine.seconds(total.flops)),
                    format_flops(total.per_language),
                    f"{_saving(total, totals):.2f}",
                ]
                for total in totals
            ],
        )

    def _footnote(self) -> str:
        share = max(step.adam / step.flops for step in self.steps if step.adam is not None)
        return (
            "FLOPs are those of matrix products; Adam's elementwise operations come on top, at most "
            f"{100 * share:.1g} % as many.\n"
            "Per language: with an equal share of what is paid once. Memory: an estimate for a GPU, "
            "in GB of 10^9 bytes,\nwithout about 1 GB that CUDA takes. A body that is trained with a "
            "language (all weights, body alone)\nlearns each task anew for it."
        )

    def _warnings(self) -> list[str]:
        room, lines = self.machine.memory, []
        for step in self.steps:
            if room is None or step.memory.total <= room * 1e9:
                continue
            state = step.memory.parameters + step.memory.gradients + step.memory.optimiser
            without = f"without any sequence it is {_gigabytes(state)}"
            lines.append(
                f"warning: {step.name}: {_gigabytes(step.memory.total)} do not fit the {room} GB of "
                f"a {self.machine.name}: {'lower --micro-batch' if state < room * 1e9 else without}"
            )
        return lines


def plan_totals(steps: Sequence[Step], languages: int) -> list[Total]:
    """The variants' totals, three ways: all steps, a primary model that exists, adaptation alone.

    Fine-tuning is in none of them: it is the same for all.
    """

    def cost(variant: str, kinds: Sequence[str]) -> float:
        return sum(step.flops for step in steps if variant in step.variants and step.kind in kinds)

    return [
        Total(counted, variant, cost(variant, once), cost(variant, ["adaptation"]), languages)
        for counted, once in COUNTED.items()
        for variant in VARIANTS
    ]


def _names(variants: Sequence[str]) -> str:
    others = [name for name in VARIANTS if name not in variants]
    if len(others) > 1:
        return ", ".join(variants)
    return f"all but {others[0]}" if others else "all"


def _saving(total: Total, totals: Sequence[Total]) -> float:
    """Standard's FLOPs over the variant's, with the same steps counted."""
    standard = {one.counted: one.flops for one in totals if one.variant == VARIANTS[0]}
    return standard[total.counted] / total.flops


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _check(option: str, value: float, good: bool, allowed: str) -> None:
    if not good:
        found = shown(value) if isinstance(value, int) else f"{value:g}"
        raise InputError(f"--{option} is {found}, but it must be {allowed}")
