"""The verb `flops`: what adaptation will cost, before anything runs (cost/plan.py)."""

import dataclasses
from pathlib import Path

from ..cost.flops import Shape
from ..cost.gpus import GPUS
from ..cost.plan import Machine, Plan
from ..files.atomic import write_json
from ..files.outputs import check_file, json_form
from .architectures import ARCHITECTURES, model_of
from .families import FAMILIES

PLAN = json_form("a plan of flops", "target_vocabulary", "runs", "steps", "totals")


def flops(
    *,
    arch: str,
    body: Path | None,
    vocabulary: int,
    source_vocabulary: int | None,
    gpu: str,
    peak_tflops: float | None,
    gpus: int,
    utilisation: float,
    output: Path | None,
    **settings: object,
) -> None:
    """Print what every step of every variant will take. The options are those of the command line.

    Args:
        settings: sizes of the model, and the other fields of a `Plan`.

    Raises:
        InputError: a value is outside its range, or `output` holds something else.
    """
    if output is not None:
        check_file(output, PLAN, body)
    given = {name: settings.pop(name) for name in ("layers", "width", "ffn", "heads")}
    given = {**given, "vocabulary": source_vocabulary}
    given = {name: size for name, size in given.items() if size is not None}
    model = _named_shape(arch, vocabulary) if body is None else _shape_of_body(body)
    peak, memory = GPUS[gpu] if peak_tflops is None else (peak_tflops * 1e12, None)
    plan = Plan(
        model=dataclasses.replace(model, **given),
        machine=Machine(gpu if peak_tflops is None else "GPU", peak, memory, gpus, utilisation),
        target_vocabulary=vocabulary,
        **settings,
    )
    print(plan.text)
    if output is not None:
        write_json(output, plan.json, PLAN)
        print(f"\n{output}")


def _named_shape(arch: str, vocabulary: int) -> Shape:
    family = next(one for one in FAMILIES if one.model == model_of(arch))
    settings = {**family.settings, **ARCHITECTURES[arch]}
    return Shape.of(settings, vocabulary, modern=family.is_modern, tied=family.is_tied)


def _shape_of_body(body: Path) -> Shape:
    from .checkpoint import read_checkpoint  # imports torch
    from .cost import shape_of

    return shape_of(read_checkpoint(body))
