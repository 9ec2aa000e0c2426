"""The plan of `adapt`: which method, how long to train, and what each step will take."""

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..terminal.table import format_flops, format_seconds, format_table
from .given import BYTES_PER_TOKEN, Machine, Material, Model
from .options import AUTO, MINIPOST, SENTENCE_VECTORS, STANDARD, START, AdaptOptions
from .steps import VECTOR_BATCH, Commands, Step

# From so many pairs on, training did not improve transfer over the start (docs/adapt.md).
MANY_PAIRS = 5_000
# With so few tokens, training takes from a start that knows translations (docs/choosing.md: of 0.1
# million it did, of 0.9 million it added).
LITTLE_TEXT = 500_000
MOST_EPOCHS = 10  # over the text
FEWEST_UPDATES = 50
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes:
        method: start, standard, minipost or sentence-vectors.
        why: it is this one, in words.
        body, pack: the model, and its new language.
    """

    method: str
    why: str
    steps: list[Step]
    body: Path
    pack: Path

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)

    @property
    def text(self) -> str:
        """The method, and a table of the steps."""
        rows = [
            [
                step.name,
                format_flops(step.flops) if step.flops else None,
                format_seconds(round(step.seconds)),
                f"{step.memory / 1e9:.1f} GB",
            ]
            for step in self.steps
        ]
        flops, memory = sum(one.flops for one in self.steps), max(one.memory for one in self.steps)
        total = ["all", format_flops(flops), format_seconds(self.seconds), f"{memory / 1e9:.1f} GB"]
        table = format_table(["step", "FLOPs", "time, about", "memory, about"], [*rows, total])
        return f"method: {self.method}, because {self.why}\n\n{table}"


def make_plan(options: AdaptOptions, model: Model, material: Material, machine: Machine) -> Plan:
    """The plan: a start alone, where training does not pay or the budget is too short for it.

    Raises:
        InputError: the method that was asked for needs more than there is, or a longer budget.
    """
    method, why = choose(options, model, material)
    budget, commands = seconds_of(options.budget), Commands(options, model, material, machine)
    if method != START:
        first = commands.steps(method, 1, 1)
        # tasks can be added later, which must not change the training
        seconds = budget - sum(one.seconds for one in first if not one.name.startswith("export-"))
        trainings = [step for step in first if step.updates]
        texts = [material.source_text, material.text][-len(trainings) :]
        batches = [text / BYTES_PER_TOKEN / commands.tokens_of_update for text in texts]
        if method == SENTENCE_VECTORS:
            batches = [(commands.known or material.words) / VECTOR_BATCH]
        counts = [
            int(min(seconds / len(trainings) / step.update_seconds, MOST_EPOCHS * one))
            for step, one in zip(trainings, batches, strict=True)
        ]
        if min(counts) >= FEWEST_UPDATES:
            steps = commands.steps(method, counts[0], counts[-1])
            return Plan(method, why, steps, commands.body, commands.pack)
        found = f"the budget and the text are enough for {max(0, min(counts))} updates of {method}"
        if options.method not in (AUTO, SENTENCE_VECTORS):
            raise InputError(
                f"{found}: give a longer --budget than {options.budget}, more --text, or --method "
                "start"
            )
        method, why = START, f"{found} only"
    return Plan(method, why, commands.steps(method), commands.body, commands.pack)


def choose(options: AdaptOptions, model: Model, material: Material) -> tuple[str, str]:
    """The method, and why.

    What was measured, on MiniLM with 1 to 4 million tokens of German and of Swahili: MLM training adds
    3 to 7 points of transfer to a start from 2,000 pairs, at most 3 to one from 6,000, nothing to one
    from 30,000, and nothing to one without translations. On 0.1 million tokens it takes some away.

    Raises:
        InputError: the method that was asked for needs more than there is.
    """
    if options.kind == SENTENCE_VECTORS:
        if options.method not in (AUTO, START):
            raise InputError(
                f"--method {options.method} trains on masked words: with --kind {options.kind} leave "
                "it out, or give --method start"
            )
        if not material.pairs and not material.words:
            raise InputError(
                f"--kind {options.kind} learns from sentences and their translations: give them "
                "(--parallel), or a word list (--dictionary)"
            )
        if options.method == AUTO:
            given = (
                f"{material.pairs:,} pairs"
                if material.pairs
                else f"{material.words:,} entries of a word list"
            )
            return SENTENCE_VECTORS, f"there are {given} to learn the vectors from"
    if options.method == MINIPOST and not options.source_text:
        raise InputError(
            "--method minipost first trains new layers in the language of the model: give text in it "
            "(--source-text)"
        )
    if options.method == STANDARD and not model.has_head:
        raise InputError(
            f"--method standard needs an MLM head, and {options.model} has none: give --method "
            "minipost with --source-text, or --method start"
        )
    if options.method != AUTO:
        return options.method, "it was asked for"
    if material.pairs >= MANY_PAIRS:
        return START, f"training adds little to a start from {material.pairs:,} pairs"
    given = f"{material.pairs:,} pairs" if material.pairs else "a word list"
    if not material.pairs and not material.words:
        given = ""
        if not model.has_head:
            return START, "training adds nothing to a start without pairs and without a word list"
    if given and material.text / BYTES_PER_TOKEN < LITTLE_TEXT:
        return START, f"training on so little text takes from a start from {given}"
    if model.has_head:
        without = "without pairs or a word list there is nothing else to learn from"
        return STANDARD, f"training adds to a start from {given}" if given else without
    if options.source_text:
        return MINIPOST, f"training adds to a start from {given}"
    return START, "the model has no MLM head, and there is no --source-text to train one on"


def seconds_of(budget: str) -> float:
    """The seconds in "30m" or "1h30m". Raises InputError."""
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", budget):
        raise InputError(f"--budget {budget} is not a time: give 90s, 30m, 2h, 1h30m or 1d")
    parts = re.findall(r"([\d.]+)([smhd])", budget)
    return sum(float(number) * UNITS[unit] for number, unit in parts)
