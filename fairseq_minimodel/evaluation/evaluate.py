"""The verb `evaluate`: bodies x packs x data to scores, for any kind of task, resumed."""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..bodies.checkpoint import Checkpoint, read_checkpoint
from ..corpus.benchmarks.read import read_benchmark
from ..corpus.benchmarks.table import BENCHMARKS
from ..errors import InputError
from ..files.atomic import locked, write_json
from ..files.outputs import check_file, json_form
from ..files.records import read_json, record
from ..inference.build import ready_device
from ..inference.mixture import check_counts, sort_members
from ..inference.solve import solver_of, speaker_of
from ..kinds import CLASSIFICATION, VECTORS
from ..kinds.batches import Batches
from ..kinds.centroids import Centroids
from ..kinds.kind import Kind, Options, Row, Solver
from ..kinds.mixture import Member, Mixing, predict_mixed
from ..kinds.registry import KINDS, kind_of
from ..kinds.rows import Split
from ..kinds.scores import kind_of_row, read_score, row_of
from ..packs.module import DESCRIPTION, WEIGHTS, load_module
from ..packs.pack import DESCRIPTION as PACK_DESCRIPTION
from ..packs.pack import WEIGHTS as PACK_WEIGHTS
from ..packs.pack import LanguagePack, load_pack
from ..packs.plug_module import plug_module
from ..packs.trained_language import unfit_packs
from ..terminal.table import format_table
from .table import notes_of, score_table

logger = logging.getLogger(__name__)

PACK_FILES = {PACK_DESCRIPTION, PACK_WEIGHTS}
AGAIN = "remove it, and score again"
MEAN = "mean"
SCORES = json_form("a file of scores", "body", "language", "pack", "data", "inputs")
RULES = 3  # of cutting and comparing: another number when the same inputs get another score


@dataclass(frozen=True)
class _Inputs:
    """What a row of scores holds beside the score."""

    body: str
    language: str
    pack: str
    data: str
    inputs: str
    left_out: dict[str, int]


@dataclass(frozen=True)
class _Subject:
    """What is scored: a fine-tuned body, or a body with a task module (a folder)."""

    name: str
    files: tuple[Path, ...]  # that its scores depend on
    checkpoint: Checkpoint
    module: Path | None = None


@dataclass(frozen=True)
class _Case:
    """What a body is scored on in the language of a pack: rows as the kind reads them."""

    pack: LanguagePack
    name: str
    files: tuple[Path, ...]  # that the rows were read from
    rows: Sequence[Any]
    left_out: dict[str, int]  # how many rows, for each reason

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The files that a score depends on."""
        return (self.pack.folder / PACK_WEIGHTS, *self.files)


@dataclass(frozen=True)
class _Mix:
    """What is mixed with the pack of each case, or with the module of each subject."""

    packs: Sequence[LanguagePack]
    modules: Sequence[tuple[_Subject, Solver]]
    mixing: Mixing

    @property
    def files(self) -> tuple[Path, ...]:
        """That the scores depend on, besides those of subject and case."""
        packs = (pack.folder / "language.safetensors" for pack in self.packs)
        return (*packs, *(file for subject, _ in self.modules for file in subject.files))

    def members(
        self, subject: _Subject, solver: Solver, pack: LanguagePack, batches: Batches
    ) -> Iterator[Member]:
        for one in self._with_others(pack):
            yield solver, speaker_of(subject.checkpoint, one, batches)
        for other, own in self.modules:
            yield own, speaker_of(other.checkpoint, pack, batches)

    def score(self, subject: _Subject, solver: Solver, case: _Case, batches: Batches) -> Row:
        """The row of a score, which says what was mixed, and by which mean weights."""
        texts = [row.texts for row in case.rows]
        packs, bodies = self._with_others(case.pack), [subject, *(one for one, _ in self.modules)]
        members = self.members(subject, solver, case.pack, batches)
        found, weights = predict_mixed(members, texts, self.mixing)
        folders, names = [str(one.folder) for one in packs], [one.name for one in bodies]
        row = row_of(
            KINDS[CLASSIFICATION],
            solver.rate(found, case.rows),
            "+".join(one.description.language for one in packs),
            " + ".join(folders),
            case.name,
            " + ".join(names),
        )
        mixed = folders if self.packs else names
        own = dict(zip(mixed, weights, strict=True))
        return row | {"mixture": {**asdict(self.mixing), "weights": own}}

    def _with_others(self, pack: LanguagePack) -> list[LanguagePack]:
        others = (one for one in self.packs if one.folder.resolve() != pack.folder.resolve())
        return [pack, *others]


def evaluate(
    bodies: Sequence[Path],
    modules: Sequence[Path] | None = None,
    tests: Sequence[tuple[str, str]] | None = None,
    packs: Path | None = None,
    benchmark: str | None = None,
    data: Path | None = None,
    split: str = "test",
    languages: Sequence[str] | None = None,
    max_tokens: int = 8192,
    device: str | None = None,
    output: Path | None = None,
    mix: Sequence[Path] | None = None,
    mix_steps: int = 10,
    mix_batch: int = 32,
    centroids: tuple[Path, Path] | None = None,
    bfloat16: bool = False,
    **options: Any,
) -> list[Row]:
    """Score fine-tuned bodies in the languages of packs, and print a table.

    Either on files (`tests`) or on a benchmark (`packs`, `benchmark`, `data`). With `output`, every
    score is written as soon as it is there, and scores of the same inputs that the file already
    has are not computed again. Other scores in the file stay there, so that several processes can
    write to one; a score of the same body, pack and data is replaced.

    Args:
        bodies: checkpoints, fine-tuned by a task of one of the `KINDS`.
        modules: task modules of these tasks; then there is one body, the one that they were trained
            over. None: the bodies are scored as they are.
        tests: (pack, file of examples) pairs. For the source language, the pack made of the
            pretrained body itself.
        packs: folder of packs, at any depth.
        benchmark: one of `BENCHMARKS`.
        data: its archive, folder or file, as published.
        split: of the benchmark.
        languages: codes to take; None: of every pack.
        max_tokens: tokens per batch, padding included.
        device: of PyTorch; None: a GPU if there is one.
        bfloat16: compute in bfloat16, which moves a score a little, and which its row says.
        output: where to write the scores as JSON; None: nowhere.
        mix: packs that are mixed with that of each test, or modules that are mixed with each of
            `modules`, for classification (`kinds/mixture.py`).
        mix_steps, mix_batch: see `Mixing`.
        centroids: bodies made for sentence vectors classify by the nearest centroid
            (`kinds/centroids.py`): a pack and labelled texts in its language, of which the centroids
            are made. They are read as what is scored: a file of examples, or the benchmark's archive,
            folder or file, of which the split "train" is taken.
        options: of the kinds. Classification: text_columns (one or two), label_column (of `tests`),
            labels (dict.txt, in the order of the classes; None: as the body was fine-tuned).
            Questions: metric ("squad" or "mlqa"; None: the benchmark's own), max_length, stride,
            max_question (of the windows; None: as in training), max_answer (tokens of the longest
            answer), bad_offsets (see `read_questions`). Tags: labels, unknown_tags.

    Raises:
        InputError: `output` holds something else, the options contradict each other, the bodies were
            fine-tuned for other tasks, or for tasks of two kinds, a pack does not fit, a label of the
            data is not one of the task's, the metric does not know a language, a module belongs to
            another body, what is to be mixed cannot be, or the device cannot be used.
    """
    if output:
        check_file(output, SCORES)
    batches = Batches(max_tokens, ready_device(device), bfloat16=bfloat16)
    subjects = list(_subjects(bodies, modules))
    trained = _kind(subjects)
    kind = _kind_of_centroids(trained, subjects) if centroids else trained
    options = {**options, "benchmark": benchmark}
    if benchmark is None:
        cases = list(_cases_of_files(kind, tests, options))
    else:
        cases = list(_cases_of_benchmark(kind, packs, benchmark, data, split, languages, options))
    labelled = _labelled(kind, centroids, benchmark, options) if centroids else None
    solvers = [_solver(subject, labelled, batches, options) for subject in subjects]
    for solver in solvers:
        for case in cases:  # refused before the work begins
            solver.check(case.rows, case.pack.description.language, case.name)
    mixed = _mixed(trained, subjects, mix, Mixing(steps=mix_steps, together=mix_batch), options)
    done = {row["inputs"]: row for row in _read_rows(output)} if output else {}
    rows, all_cases = [], [*cases, *([labelled] if labelled else ())]
    for subject, solver in zip(subjects, solvers, strict=True):
        packs_of_all = [case.pack for case in all_cases] + list(mixed.packs if mixed else ())
        unfit = unfit_packs(subject.checkpoint, packs_of_all)
        for case in cases:
            pack, language = case.pack, case.pack.description.language
            files = (*subject.files, *case.inputs, *(labelled.inputs if labelled else ()))
            settings = [split, sorted(options.items()), solver.settings]
            if mixed:
                files, settings = (*files, *mixed.files), [*settings, mixed.mixing]
            key = _key(files, *settings, *batches.rounding)
            if key in done:
                logger.info("%s: %s is there already", output, language)
                rows.append(done[key])
                continue
            if mixed:
                row = mixed.score(subject, solver, case, batches)
            else:
                speaker = speaker_of(subject.checkpoint, pack, batches)
                facts = solver.score(speaker, case.rows, language)
                row = row_of(kind, facts, language, str(pack.folder), case.name, subject.name)
            if labelled:
                row["centroids"] = {"pack": str(labelled.pack.folder), "data": labelled.name}
            row["unfit_body"] = any(pack is one for one in unfit)
            rows.append(row | batches.rounding | {"left_out": case.left_out, "inputs": key})
            if output:
                _write_row(output, rows[-1])
    title = split if benchmark is None else f"{benchmark} {split}"
    table = score_table(kind, rows) if len(subjects) == 1 else _comparison(kind, rows, title)
    left_out = [
        f"{row['language']}: {count} {reason} rows of {row['data']} left out"
        for row in rows
        for reason, count in row["left_out"].items()
    ]
    how = [_weights(row) for row in rows if "mixture" in row]
    if labelled:
        how.append(f"by the nearest centroid of {len(labelled.rows)} examples of {labelled.name}")
    if bfloat16:
        how.append("computed in bfloat16")
    print("\n".join([table, *notes_of(kind, rows, [*left_out, *how])]))
    return rows


def _subjects(bodies: Sequence[Path], modules: Sequence[Path] | None) -> Iterator[_Subject]:
    if not modules:
        for path in bodies:
            yield _Subject(str(path), (path,), read_checkpoint(path))
        return
    if len(bodies) > 1:
        raise InputError(
            f"--module needs one --body, the one that the modules were trained over, and there are "
            f"{len(bodies)}"
        )
    body = read_checkpoint(bodies[0])
    for path in modules:
        files = (bodies[0], path / WEIGHTS, path / DESCRIPTION)
        checkpoint = plug_module(body, load_module(path))[0]
        yield _Subject(f"{bodies[0]} + {path}", files, checkpoint, path)


def _mixed(
    kind: Kind,
    subjects: Sequence[_Subject],
    folders: Sequence[Path] | None,
    mixing: Mixing,
    options: Options,
) -> _Mix | None:
    """What is mixed with each case and subject; None: nothing."""
    if not folders:
        return None
    if kind.name != CLASSIFICATION:
        raise InputError(
            f"--mix is for bodies that were fine-tuned to classify, and {subjects[0].name} "
            f"{kind.trained}: several tokenizers cut a text at different places"
        )
    packs, modules = sort_members(folders)
    for subject in subjects:
        own = [] if subject.module is None else [subject.module]
        check_counts(["", *packs], [*own, *modules])
        if modules and not own:
            raise InputError("--mix with task modules needs --module, the first of them")
    body = subjects[0].files[0]
    others = [
        (subject, solver_of(subject.name, subject.checkpoint, options, subject.module))
        for subject in (_subjects([body], modules) if modules else ())
    ]
    return _Mix([load_pack(folder) for folder in packs], others, mixing)


def _weights(row: Row) -> str:
    shown = ", ".join(f"{name} {weight:.2f}" for name, weight in row["mixture"]["weights"].items())
    return f"{row['language']}: mean weights {shown}"


def _kind(subjects: Sequence[_Subject]) -> Kind:
    """What all of them were fine-tuned for."""
    found = {}
    for subject in subjects:
        kind = kind_of(subject.checkpoint.config)
        if not kind.is_fine_tuned:
            tasks = sorted(
                task for one in KINDS.values() if one.is_fine_tuned for task in one.tasks
            )
            raise InputError(
                f"{subject.name} was not fine-tuned for a task that is scored: train it with one of "
                f"the tasks {', '.join(tasks)} first"
            )
        found.setdefault(kind.name, (kind, subject.name))
    if len(found) > 1:
        different = ", ".join(f"{name} {kind.trained}" for kind, name in found.values())
        raise InputError(
            f"the bodies are of different kinds ({different}): score one kind at a time"
        )
    [(kind, _)] = found.values()
    return kind


def _kind_of_centroids(trained: Kind, subjects: Sequence[_Subject]) -> Kind:
    if trained.name != VECTORS:
        raise InputError(
            f"--centroids is for bodies made for sentence vectors, and {subjects[0].name} "
            f"{trained.trained}: leave it out"
        )
    return KINDS[CLASSIFICATION]


def _labelled(
    kind: Kind, centroids: tuple[Path, Path], benchmark: str | None, options: Options
) -> _Case:
    """What the centroids are made of."""
    pack, data = centroids
    if benchmark is None:
        return _case_of_file(kind, pack, data, options)
    found = load_pack(pack)
    language = found.description.language
    return _case(found, read_benchmark(benchmark, data, "train", [language])[language], data)


def _solver(
    subject: _Subject, labelled: _Case | None, batches: Batches, options: Options
) -> Solver:
    if labelled is None:
        return solver_of(subject.name, subject.checkpoint, options, subject.module)
    speaker = partial(speaker_of, subject.checkpoint, labelled.pack, batches)
    return Centroids(subject.checkpoint, labelled.rows, labelled.name, speaker)


def _cases_of_files(
    kind: Kind, tests: Sequence[tuple[str, str]] | None, options: Options
) -> Iterator[_Case]:
    if not tests:
        raise InputError("there is nothing to evaluate on: give --test PACK FILE, or --benchmark")
    for pack, file in tests:
        yield _case_of_file(kind, pack, file, options)


def _case_of_file(kind: Kind, pack: str | Path, file: str | Path, options: Options) -> _Case:
    rows = kind.read(Path(file), options)
    return _Case(load_pack(pack), str(file), (Path(file),), rows, {})


def _cases_of_benchmark(
    kind: Kind,
    packs: Path | None,
    benchmark: str,
    data: Path | None,
    split: str,
    languages: Sequence[str] | None,
    options: Options,
) -> Iterator[_Case]:
    if packs is None or data is None:
        raise InputError("--benchmark needs --packs FOLDER and --data PATH")
    known = BENCHMARKS.get(benchmark)
    if known and known.kind != kind.name:
        if kind.name == VECTORS:
            raise InputError(
                f"{benchmark} says nothing of sentence vectors by itself: give --centroids PACK PATH "
                "for labels of single texts (sib200), or pairs with scores by --test"
            )
        fitting = [name for name, one in BENCHMARKS.items() if one.kind == kind.name]
        raise InputError(
            f"{benchmark} is not a {kind.name} benchmark; these are: {', '.join(fitting)}"
        )
    found = _packs_below(packs)
    wanted = list(found) if languages is None else languages
    if known:
        _refuse_mixed(benchmark, wanted)
    for language in wanted:
        if language not in found:
            raise InputError(
                f"{packs} has no pack of the language {language}; there is "
                f"{', '.join(found) or 'none'}"
            )
    splits = read_benchmark(benchmark, data, split, wanted, options.get("bad_offsets"))
    for language, rows in splits.items():
        yield _case(found[language], rows, data)


def _case(pack: LanguagePack, split: Split, data: Path) -> _Case:
    files = tuple(path for path in map(Path, split.files) if path.exists())  # not if in an archive
    return _Case(pack, ", ".join(split.files), files or (data,), split.rows, dict(split.left_out))


def _refuse_mixed(benchmark: str, codes: Sequence[str]) -> None:
    """MLQA also has questions in another language than their contexts; a pack reads one."""
    languages = BENCHMARKS[benchmark].languages
    for code in codes:
        context, _, question = code.partition("-")
        if context != question and {context, question} <= set(languages):
            raise InputError(
                f"{code} of {benchmark} has contexts in {context} and questions in {question}, and a "
                f"pack reads one language: take {context} or {question}; if you have one pack for "
                "both languages, give it and the file by --test"
            )


def _packs_below(folder: Path) -> dict[str, LanguagePack]:
    """The packs in a folder, at any depth, by language."""
    packs: dict[str, LanguagePack] = {}
    # rglob passes over a link that leads nowhere, and its pack would be missing silently
    found = sorted(Path(root) for root, _, files in os.walk(folder) if PACK_FILES & {*files})
    for path in found:
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue  # unfinished, or not meant
        pack = load_pack(path)  # also what has one of its files alone, which is refused
        first = packs.setdefault(pack.description.language, pack)
        if first is not pack:
            raise InputError(
                f"{first.folder} and {pack.folder} are both packs of {pack.description.language}: "
                "name a folder with one pack per language"
            )
    return packs


def _key(files: Sequence[Path], *settings: object) -> str:
    """Changes when one of the inputs is another file, or the same file with another content."""
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr((RULES, states, settings)).encode()).hexdigest()[:16]


def _read_rows(output: Path) -> list[Row]:
    """The scores that are in the file already."""
    rows = read_json(output, AGAIN) if check_file(output, SCORES) else []
    for row in rows:
        try:
            form = kind_of_row(row).form
        except (KeyError, TypeError):
            form = None
        if form is None:
            raise InputError(f"{output} is damaged (it has a row without a score); {AGAIN}")
        for part in (form, _Inputs):
            record(row, part, output, AGAIN, others=True)
    return rows


def _write_row(output: Path, row: Row) -> None:
    """Put a score into the file, where another process may have written in the meantime."""
    with locked(output):
        rows = _read_rows(output)
        same = [index for index, other in enumerate(rows) if _place(other) == _place(row)]
        if same:
            rows[same[0]] = row
        else:
            rows.append(row)
        write_json(output, rows)


def _place(row: Row) -> list[object]:
    """What a score is of."""
    return [row.get(name) for name in ("body", "language", "pack", "data", "metric")]


def _comparison(kind: Kind, rows: Sequence[Row], title: str) -> str:
    """Languages by bodies, by the metric that stands for the kind."""
    scores = {(row["language"], row["body"]): read_score(row) for row in rows}
    languages, bodies = (list(dict.fromkeys(place)) for place in zip(*scores, strict=True))
    cells = []
    for language in languages:
        own = [scores[language, body] for body in bodies]
        shown = [f"{one.value:.1f} ({one.low:.1f} to {one.high:.1f})" for one in own]
        cells.append([language, own[-1].n, *shown])
    means = [
        sum(scores[name, body].value for name in languages) / len(languages) for body in bodies
    ]
    cells.append([MEAN, None, *(f"{mean:.1f}" for mean in means)])
    measure = f"{title}: {next(iter(scores.values())).metric} (%)"
    return format_table([measure, "examples", *bodies], cells)
