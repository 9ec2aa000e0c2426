"""What adaptation will cost, before anything runs: FLOPs, memory and time of every step.

From shapes alone (`cost/flops.py`, `cost/memory.py`), without torch, unless the sizes are read off a
checkpoint.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..bodies.architectures import ARCHITECTURES
from ..cost.flops import (
    MOST,
    MOST_LAYERS,
    Flops,
    Shape,
    adam_operations,
    classification_flops,
    masked_lm_flops,
    span_flops,
)
from ..cost.gpus import GPUS
from ..cost.memory import Memory, parameter_count, training_memory
from ..errors import InputError
from ..files.atomic import write_json
from ..files.outputs import check_file, json_form
from ..files.records import shown
from ..terminal.table import format_flops, format_seconds, format_table

PLAN = json_form("a plan of flops", "target_vocabulary", "runs", "steps", "totals")
MOST_TOKENS, LONGEST_NUMBER = 10**15, 15  # no run has had more
VARIANTS = ("Standard", "MiniJoint", "MiniPost")
CLASSES = 3  # of a classification task; they cost next to nothing


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
            fine-tuning (once a task; the same for all variants).
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


def flops(
    *,
    arch: str,
    body: Path | None,
    layers: int | None,
    width: int | None,
    ffn: int | None,
    heads: int | None,
    vocabulary: int,
    source_vocabulary: int | None,
    depth: int | None,
    new_layers: int,
    languages: int,
    updates: int,
    post_updates: int | None,
    adaptation_updates: int | None,
    batch_tokens: int,
    sequence_length: int,
    masked_fraction: float,
    micro_batch: int,
    finetune: Sequence[str] | None,
    gpu: str,
    peak_tflops: float | None,
    gpus: int,
    utilisation: float,
    output: Path | None,
) -> None:
    """Print what every step of every variant will take. The options are those of the command line.

    Raises:
        InputError: a value is outside its range, or `output` holds something else.
    """
    if output is not None:
        check_file(output, PLAN, body)
    _check("languages", languages, 1 <= languages <= MOST, f"1 to {MOST:,}")
    _check("new-layers", new_layers, 1 <= new_layers <= MOST_LAYERS, f"1 to {MOST_LAYERS:,}")
    given = {
        "layers": layers, "width": width, "ffn": ffn, "heads": heads,
        "vocabulary": source_vocabulary,
    }  # fmt: skip
    source = dataclasses.replace(
        _named_shape(arch, vocabulary) if body is None else _shape_of_body(body),
        **{name: size for name, size in given.items() if size is not None},
    )
    depth = max(1, source.layers // 3) if depth is None else depth
    machine = _machine(gpu, peak_tflops, gpus, utilisation)

    def batches(others: int | None) -> Batches:
        count = updates if others is None else others
        return Batches(count, batch_tokens, sequence_length, masked_fraction, micro_batch)

    runs = {
        "pretraining": batches(None),
        "post": batches(post_updates),
        "adaptation": batches(adaptation_updates),
    }
    steps = plan_steps(source, vocabulary, depth, new_layers, **runs)
    if finetune:
        steps.append(_fine_tuning(source, *finetune, micro_batch))
    totals = plan_totals(steps, languages)

    print(_settings_text(source, vocabulary, runs["pretraining"], machine))
    print(f"\n{_steps_table(steps, machine)}")
    print(f"\n{_totals_table(totals, machine)}\n\n{_footnote(steps)}")
    for warning in _warnings(steps, machine):
        print(warning)
    if output is not None:
        result = {
            "model": dataclasses.asdict(source),
            "target_vocabulary": vocabulary,
            "depth": depth,
            "new_layers": new_layers,
            "runs": {name: dataclasses.asdict(run) for name, run in runs.items()},
            "machine": dataclasses.asdict(machine),
            "steps": [_step_json(step, machine) for step in steps],
            "totals": [_total_json(total, totals, machine) for total in totals],
        }
        write_json(output, result, PLAN)
        print(f"\n{output}")


def plan_steps(
    source: Shape,
    vocabulary: int,
    depth: int,
    new_layers: int,
    *,
    pretraining: Batches,
    post: Batches,
    adaptation: Batches,
) -> list[Step]:
    """The training runs of all variants, in their order; each is listed once.

    Args:
        source: the primary model, with the source vocabulary.
        vocabulary: size of a target vocabulary.
        depth: layers of the mini-model: MiniJoint's, and those that MiniPost freezes.
        new_layers: that MiniPost puts on top of them.

    Raises:
        InputError: a value is outside its range.
    """
    target = dataclasses.replace(source, vocabulary=vocabulary)
    source.truncate(depth)  # says what is wrong with a depth in plain words
    post_layers = depth + new_layers
    joint = {"auxiliary_head_layers": (depth,)}
    return [
        _masked_lm_step(
            "pretraining", "pretraining", ("Standard", "MiniPost"), source, pretraining
        ),
        _masked_lm_step(
            f"pretraining, second head after layer {depth}",
            "pretraining",
            ("MiniJoint",),
            source,
            pretraining,
            **joint,
        ),
        _masked_lm_step(
            f"step 1b, {new_layers} new layers on {depth} frozen ones",
            "post",
            ("MiniPost",),
            dataclasses.replace(source, layers=post_layers),
            post,
            freeze=f"bottom:{depth}",
        ),
        *(
            _masked_lm_step(
                f"adaptation, {layers} layers",
                "adaptation",
                (variant,),
                dataclasses.replace(target, layers=layers),
                adaptation,
                freeze="body",
            )
            for variant, layers in zip(VARIANTS, (source.layers, depth, post_layers), strict=True)
        ),
    ]


def plan_totals(steps: Sequence[Step], languages: int) -> list[Total]:
    """The variants' totals, three ways: all steps, a primary model that exists, adaptation alone.

    Fine-tuning is in none of them: it is the same for all.
    """
    return [
        Total(
            counted,
            variant,
            sum(s.flops for s in steps if variant in s.variants and s.kind in once),
            sum(s.flops for s in steps if variant in s.variants and s.kind == "adaptation"),
            languages,
        )
        for counted, once in (
            ("pretraining, step 1b, adaptation", ("pretraining", "post")),
            ("step 1b, adaptation", ("post",)),
            ("adaptation alone", ()),
        )
        for variant in VARIANTS
    ]


def _masked_lm_step(
    name: str,
    kind: str,
    variants: tuple[str, ...],
    shape: Shape,
    batches: Batches,
    *,
    freeze: str = "none",
    auxiliary_head_layers: Sequence[int] = (),
) -> Step:
    options = {
        "freeze": freeze,
        "auxiliary_head_layers": auxiliary_head_layers,
        "masked_fraction": batches.masked_fraction,
    }
    length = batches.sequence_length
    # A frozen body skips what nobody asked for in its last layer (nn/frozen_body.py).
    skips = freeze == "body"
    per_token = masked_lm_flops(shape, 1, length, **options, predictions_only=skips).total
    trained, _ = parameter_count(
        shape, length, freeze=freeze, auxiliary_heads=len(auxiliary_head_layers)
    )
    return Step(
        name,
        variants,
        kind,
        shape.layers,
        per_token,
        per_token * batches.updates * batches.tokens,
        adam_operations(trained) * batches.updates,
        training_memory(shape, batches.micro_batch, length, **options),
    )


def _fine_tuning(shape: Shape, task: str, sequences: str, length: str, micro_batch: int) -> Step:
    costs: dict[str, Callable[..., Flops]] = {
        "classification": lambda *sizes: classification_flops(*sizes, classes=CLASSES),
        "span": span_flops,
    }
    if task not in costs:
        raise InputError(f'--finetune: the task "{task}" is none of: {", ".join(costs)}')
    counts = []
    for what, text in (("number of sequences", sequences), ("length", length)):
        if not text.isdecimal() or len(text) > LONGEST_NUMBER or int(text) < 1:
            raise InputError(
                f'--finetune: the {what} "{text[:40]}" is not a number of at least 1 with at most '
                f"{LONGEST_NUMBER} digits"
            )
        counts.append(int(text))
    sequences, length = counts
    per_token = costs[task](shape, 1, length).total
    return Step(
        f"fine-tuning, {task}, {sequences:,} sequences of {length}",
        VARIANTS,
        "fine-tuning",
        shape.layers,
        per_token,
        per_token * sequences * length,
        None,  # the number of updates is not known
        training_memory(
            shape, micro_batch, length, freeze="language", objective=task, classes=CLASSES
        ),
    )


def _named_shape(arch: str, vocabulary: int) -> Shape:
    sizes = ARCHITECTURES[arch]
    return Shape(
        sizes["encoder_layers"],
        sizes["encoder_embed_dim"],
        sizes["encoder_ffn_embed_dim"],
        sizes["encoder_attention_heads"],
        vocabulary,
    )


def _shape_of_body(body: Path) -> Shape:
    from ..bodies.checkpoint import read_checkpoint
    from ..bodies.cost import shape_of  # imports torch

    return shape_of(read_checkpoint(body))


def _machine(gpu: str, peak_tflops: float | None, count: int, utilisation: float) -> Machine:
    if peak_tflops is not None:
        return Machine("GPU", peak_tflops * 1e12, None, count, utilisation)
    peak, memory = GPUS[gpu]
    return Machine(gpu, peak, memory, count, utilisation)


def _settings_text(source: Shape, vocabulary: int, batches: Batches, machine: Machine) -> str:
    return (
        f"model: {source.layers} layers, width {source.width}, feed-forward {source.ffn}, "
        f"{source.heads} heads; vocabulary: source {source.vocabulary:,}, target {vocabulary:,}\n"
        f"batches: {batches.tokens:,} tokens an update in sequences of {batches.sequence_length}, "
        f"{100 * batches.masked_fraction:g} % masked; a GPU holds {batches.micro_batch} sequences at "
        "once\n"
        f"time: {machine.count} x {machine.name}, {machine.peak / 1e12:g} TFLOP/s (dense, 16 bits), "
        f"of which {100 * machine.utilisation:g} % are used (assumed)"
    )


def _steps_table(steps: Sequence[Step], machine: Machine) -> str:
    how_often = {"adaptation": "per language", "fine-tuning": "per task"}
    return format_table(
        ["step", "variant", "paid", "per token", "FLOPs", "time", "memory"],
        [
            [
                step.name,
                ", ".join(step.variants) if step.variants != VARIANTS else "all",
                how_often.get(step.kind, "once"),
                format_flops(step.per_token),
                format_flops(step.flops),
                format_seconds(machine.seconds(step.flops)),
                _gigabytes(step.memory.total),
            ]
            for step in steps
        ],
    )


def _totals_table(totals: Sequence[Total], machine: Machine) -> str:
    languages = totals[0].languages
    return format_table(
        [
            "counted",
            "variant",
            f"{languages} languages" if languages > 1 else "1 language",
            "time",
            "per language",
            "Standard / this",
        ],
        [
            [
                total.counted if total.variant == VARIANTS[0] else "",
                total.variant,
                format_flops(total.flops),
                format_seconds(machine.seconds(total.flops)),
                format_flops(total.per_language),
                f"{_saving(total, totals):.2f}",
            ]
            for total in totals
        ],
    )


def _footnote(steps: Sequence[Step]) -> str:
    share = max(step.adam / step.flops for step in steps if step.adam is not None)
    return (
        "FLOPs are those of matrix products; Adam's elementwise operations come on top, at most "
        f"{100 * share:.1g} % as many.\n"
        "Per language: with an equal share of what is paid once. Memory: an estimate for a GPU, in "
        "GB of 10^9 bytes,\nwithout about 1 GB that CUDA takes."
    )


def _warnings(steps: Sequence[Step], machine: Machine) -> list[str]:
    lines = []
    for step in steps:
        if machine.memory is None or step.memory.total <= machine.memory * 1e9:
            continue
        state = step.memory.parameters + step.memory.gradients + step.memory.optimiser
        lines.append(
            f"warning: {step.name}: {_gigabytes(step.memory.total)} do not fit the "
            f"{machine.memory} GB of a {machine.name}: "
            + (
                "lower --micro-batch"
                if state < machine.memory * 1e9
                else f"without any sequence it is {_gigabytes(state)}"
            )
        )
    return lines


def _saving(total: Total, totals: Sequence[Total]) -> float:
    """Standard's FLOPs over the variant's, with the same steps counted."""
    reference = next(
        other for other in totals if (other.counted, other.variant) == (total.counted, VARIANTS[0])
    )
    return reference.flops / total.flops


def _step_json(step: Step, machine: Machine) -> dict[str, object]:
    return {
        **dataclasses.asdict(step),
        "seconds": machine.seconds(step.flops),
        "memory_total": step.memory.total,
    }


def _total_json(total: Total, totals: Sequence[Total], machine: Machine) -> dict[str, object]:
    return {
        **dataclasses.asdict(total),
        "flops": total.flops,
        "per_language": total.per_language,
        "seconds": machine.seconds(total.flops),
        "standard_over_this": _saving(total, totals),
    }


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _check(option: str, value: float, good: bool, allowed: str) -> None:
    if not good:
        found = shown(value) if isinstance(value, int) else f"{value:g}"
        raise InputError(f"--{option} is {found}, but it must be {allowed}")
