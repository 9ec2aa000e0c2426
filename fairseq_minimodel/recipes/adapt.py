"""The verb `adapt`: a model in a new language, by one command."""

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..corpus.indexed import check_folder_name
from ..errors import InputError
from ..files.outputs import check_folder
from ..files.records import read_json
from ..interop.import_hf import CONFIG
from ..packs.pack import check_language
from .given import measure, read_material, read_model
from .options import KINDS, METHODS, AdaptOptions
from .plan import make_plan
from .run import AGAIN, State, read_state, run

LOCK = ".lock"
FREE = ("output", "tasks", "dry_run")  # options that may change from run to run


@dataclass(frozen=True)
class Adapted:
    """What `adapt` has made.

    Attributes:
        pack: the language pack.
        body: that it fits, and was made over.
        models: folders that transformers loads: the model and each task, in the new language.
        scores: rows of scores without labels, those of the start first.
        report: a page.
    """

    pack: Path
    body: Path
    models: list[Path]
    scores: list[dict[str, Any]]
    report: Path


def adapt(**options: Any) -> Adapted | None:
    """Adapt a model to a new language: import, prepare, start, train what pays, score, export, report.

    The arguments are the fields of `AdaptOptions`; a list of files may be one file. Every command that
    it runs is printed, and its output stands in a folder of its own below `output`. A second call goes
    on where the first one was interrupted.

    Returns: what was made; None of a dry run.

    Raises:
        InputError: an option or a file is wrong, `output` holds something else or was begun with other
            options, or a step has failed.
    """
    given = _checked(AdaptOptions(**options))
    folder = given.output
    state = read_state(folder)
    if state is None:
        check_folder(folder, None, *_inputs(given))
    model, material = read_model(given.model), read_material(given)
    settings, inputs = _settings(given), _stamps(given)
    if state and (changed := _changed(state, settings, inputs)):
        raise InputError(f"{folder} was begun with another {changed}: {AGAIN}")
    state = state or State(settings, inputs, measure(model.shape))
    make = partial(make_plan, given, model, material, state.machine)
    plan = make()
    print(plan.text, flush=True)
    if given.dry_run:
        print("\n" + "\n".join(step.line for step in plan.steps))
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        state.write(folder)
        run(lambda: make().steps, state, folder)
    made = {step.name: step.output for step in plan.steps}
    scores = [made[name] for name in ("retrieve", "perplexity") if name in made]
    adapted = Adapted(
        pack=plan.pack,
        body=plan.body,
        models=[step.output for step in plan.steps if step.name.startswith("export")],
        scores=[row for path in scores for row in read_json(path, AGAIN)],
        report=made["report"],
    )
    print(f"\npack: {adapted.pack}\nreport: {adapted.report}")
    for path in adapted.models:
        print(f"model for transformers: {path}")
    return adapted


def _checked(options: AdaptOptions) -> AdaptOptions:
    """The options with paths, whatever Python gave; refuses what no file has to be read for."""
    options = dataclasses.replace(
        options,
        model=str(options.model),
        output=Path(options.output),
        text=_paths(options.text),
        source_text=_paths(options.source_text),
        tasks=_paths(options.tasks),
        parallel=[(Path(source), Path(target)) for source, target in options.parallel],
        dictionary=options.dictionary and Path(options.dictionary),
    )
    check_folder_name(options.output)
    for language in (options.language, options.source_language):
        check_language(language)
    if options.language == options.source_language:
        raise InputError(
            f"--language {options.language} is the language of the model: give the new one, or name "
            "the other with --source-language"
        )
    if options.method not in METHODS:
        raise InputError(f"--method {options.method} is none of {', '.join(METHODS)}")
    if options.kind not in KINDS:
        raise InputError(f"--kind {options.kind} is none of {', '.join(KINDS)}")
    if not options.text:
        raise InputError("there is no --text: give text in the new language")
    names = [task.resolve().name for task in options.tasks]
    for task in options.tasks:
        if not (task / CONFIG).is_file():
            raise InputError(
                f"{task} has no {CONFIG}: give a model in Hugging Face's form (--tasks)"
            )
        if names.count(task.resolve().name) > 1:
            raise InputError(f"two of --tasks are called {task.resolve().name}: rename one")
    return options


def _paths(files: Any) -> list[Path]:
    return [Path(files)] if isinstance(files, str | os.PathLike) else [Path(one) for one in files]


def _inputs(options: AdaptOptions) -> list[Path]:
    pairs = [path for pair in options.parallel for path in pair]
    model = [Path(options.model)] if Path(options.model).exists() else []
    words = [options.dictionary] if options.dictionary else []
    return [*model, *options.text, *options.source_text, *pairs, *words]


def _settings(options: AdaptOptions) -> dict[str, object]:
    """The options that must not change, as JSON has them."""
    given = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if field.name not in FREE
    }
    return json.loads(json.dumps(given, default=str))


def _stamps(options: AdaptOptions) -> dict[str, list[int]]:
    stats = {str(path): path.stat() for path in _inputs(options) if path.is_file()}
    return {path: [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}


def _changed(state: State, settings: dict[str, object], inputs: dict[str, list[int]]) -> str | None:
    """What is not as it was when the output was begun, in words."""
    for name, value in settings.items():
        if state.settings.get(name) != value:
            return f"--{name.replace('_', '-')} ({json.dumps(state.settings.get(name))})"
    return next((path for path in inputs if state.inputs.get(path) != inputs[path]), None)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process alone."""
    with open(folder / LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"another process is at work in {folder}: wait for it, or give another --output"
            ) from None
        yield
