"""Zero-shot evaluation: fine-tuned bodies in the languages of packs, on files or on a benchmark."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..bodies.checkpoint import Checkpoint, read_checkpoint
from ..corpus.benchmarks.read import read_benchmark
from ..corpus.benchmarks.rows import Split
from ..corpus.benchmarks.table import BENCHMARKS, CLASSIFICATION, SPAN
from ..corpus.questions import read_question_file
from ..errors import InputError
from ..files.atomic import locked, write_json
from ..files.outputs import check_file, json_form
from ..files.records import read_json, record
from ..inference.build import ready_device
from ..kinds.answer_metrics import normaliser
from ..kinds.examples import read_examples
from ..packs.module import DESCRIPTION, WEIGHTS, load_module, plug_module
from ..packs.pack import LanguagePack, load_pack
from ..packs.trained_language import unfit_packs
from ..terminal.table import format_table
from . import answer, classify
from .answer import Answerer, AnswerScore, windows_of
from .classify import Classifier, Score

logger = logging.getLogger(__name__)

PACK_FILE = "language.json"
AGAIN = "remove it, and score again"
MEAN = "mean"
SCORES = json_form("a file of scores", "body", "language", "pack", "data", "inputs")
RULES = 2  # of cutting and comparing: another number when the same inputs get another score
KINDS = {"sentence_prediction": CLASSIFICATION, "span_qa": SPAN}  # of the tasks
FORMS = {
    CLASSIFICATION: (Score, classify.score_table),
    SPAN: (AnswerScore, answer.score_table),
}


@dataclass(frozen=True)
class _Inputs:
    """What a row of scores holds beside the score."""

    inputs: str
    left_out: dict[str, int]


@dataclass(frozen=True)
class Subject:
    """What is scored: a fine-tuned body, or a body with a task module.

    Attributes:
        name: as it is shown.
        files: that its scores depend on.
        checkpoint: the whole model.
        labels: dict.txt of the labels, where it is known already.
    """

    name: str
    files: tuple[Path, ...]
    checkpoint: Checkpoint
    labels: Path | None


@dataclass(frozen=True)
class Data:
    """What a body is scored on in one language.

    Attributes:
        name: of the file or files.
        paths: of what the rows were read from.
        rows: examples with labels, or questions with answers.
        left_out: rows that are not used, for each reason.
    """

    name: str
    paths: tuple[Path, ...]
    rows: Sequence[object]
    left_out: dict[str, int]


def evaluate(
    bodies: Sequence[Path],
    modules: Sequence[Path] | None,
    tests: Sequence[tuple[str, str]] | None,
    packs: Path | None,
    benchmark: str | None,
    data: Path | None,
    split: str,
    languages: Sequence[str] | None,
    text_columns: Sequence[str],
    label_column: str,
    labels: Path | None,
    metric: str | None,
    max_length: int | None,
    stride: int | None,
    max_question: int | None,
    max_answer: int,
    bad_offsets: str,
    max_tokens: int,
    device: str | None,
    output: Path | None,
) -> list[dict]:
    """Score fine-tuned bodies in the languages of packs, and print a table.

    The arguments are those of `EvaluateOptions`: either files (`tests`) or a benchmark (`packs`,
    `benchmark`, `data`). With `output`, every score is written as soon as it is there, and scores of
    the same inputs that the file already has are not computed again. Other scores in the file stay
    there, so that several processes can write to one; a score of the same body, pack and data is
    replaced.

    Raises:
        InputError: `output` holds something else, the options contradict each other, the bodies were
            fine-tuned for other tasks, or for tasks of two kinds, a pack does not fit, a label of the
            data is not one of the task's, the metric does not know a language, a module belongs to
            another body, or the device cannot be used.
    """
    if output:
        check_file(output, SCORES)
    device = ready_device(device)
    subjects = list(_subjects(bodies, modules, labels))
    kind = _kind(subjects)
    metric = metric or ("mlqa" if benchmark == "mlqa" else "squad")
    scorers = [
        Classifier(subject.name, subject.checkpoint, subject.labels)
        if kind == CLASSIFICATION
        else Answerer(
            subject.name,
            subject.checkpoint,
            windows_of(subject.checkpoint, max_length, stride, max_question),
            max_answer,
            metric,
        )
        for subject in subjects
    ]
    if benchmark is None:
        cases = list(_cases_of_files(kind, tests, text_columns, label_column, bad_offsets))
    else:
        cases = list(
            _cases_of_benchmark(kind, packs, benchmark, data, split, languages, bad_offsets)
        )
    if kind == SPAN:
        for pack, _ in cases:
            normaliser(metric, pack.description.language)  # refused before the work begins
    done = {row["inputs"]: row for row in _read_rows(output)} if output else {}
    results = []
    for subject, scorer in zip(subjects, scorers, strict=True):
        unfit = unfit_packs(subject.checkpoint, [pack for pack, _ in cases])
        for pack, rows in cases:
            files = (*subject.files, pack.folder / "language.safetensors", *rows.paths)
            key = _key(
                files, split, text_columns, label_column, labels, metric,
                scorer.options if kind == SPAN else None, max_answer, bad_offsets,
            )  # fmt: skip
            if key in done:
                logger.info("%s: %s is there already", output, pack.description.language)
                results.append(done[key])
                continue
            score = scorer.score(pack, rows.rows, rows.name, max_tokens, device)
            results.append(
                {
                    **asdict(score),
                    "unfit_body": any(pack is one for one in unfit),
                    "left_out": rows.left_out,
                    "inputs": key,
                }
            )
            if output:
                _write_row(output, results[-1])
    title = split if benchmark is None else f"{benchmark} {split}"
    print(_table(kind, results, title, len(subjects)))
    return results


def _subjects(
    bodies: Sequence[Path], modules: Sequence[Path] | None, labels: Path | None
) -> Iterator[Subject]:
    if not modules:
        for path in bodies:
            yield Subject(str(path), (path,), read_checkpoint(path), labels)
        return
    if len(bodies) > 1:
        raise InputError(
            f"--module needs one --body, the one that the modules were trained over, and there are "
            f"{len(bodies)}"
        )
    body = read_checkpoint(bodies[0])
    for path in modules:
        module = load_module(path)
        files = (bodies[0], path / WEIGHTS, path / DESCRIPTION)
        checkpoint = plug_module(body, module)[0]
        yield Subject(f"{bodies[0]} + {path}", files, checkpoint, labels or module.labels)


def _kind(subjects: Sequence[Subject]) -> str:
    """What all of them were trained for."""
    kinds = set()
    for subject in subjects:
        task = subject.checkpoint.config.get("task", {}).get("_name")
        if task not in KINDS:
            raise InputError(
                f"{subject.name} was not fine-tuned for a task that is scored: train it with "
                "fairseq's task sentence_prediction, or with span_qa, first"
            )
        kinds.add(KINDS[task])
    if len(kinds) > 1:
        raise InputError(
            "some of the bodies classify and some answer questions: score them one kind at a time"
        )
    return kinds.pop()


def _cases_of_files(
    kind: str,
    tests: Sequence[tuple[str, str]] | None,
    text_columns: Sequence[str],
    label_column: str,
    bad_offsets: str,
) -> Iterator[tuple[LanguagePack, Data]]:
    if not tests:
        raise InputError("there is nothing to evaluate on: give --test PACK FILE, or --benchmark")
    for pack, file in tests:
        path = Path(file)
        if kind == SPAN:
            rows = list(read_question_file(path, bad_offsets=bad_offsets))
        else:
            rows = list(read_examples(path, text_columns, label_column))
        yield load_pack(pack), Data(file, (path,), rows, {})


def _cases_of_benchmark(
    kind: str,
    packs: Path | None,
    benchmark: str,
    data: Path | None,
    split: str,
    languages: Sequence[str] | None,
    bad_offsets: str,
) -> Iterator[tuple[LanguagePack, Data]]:
    if packs is None or data is None:
        raise InputError("--benchmark needs --packs FOLDER and --data PATH")
    if BENCHMARKS.get(benchmark) and BENCHMARKS[benchmark].kind != kind:
        kinds = [name for name, one in BENCHMARKS.items() if one.kind == kind]
        raise InputError(f"{benchmark} is not a {kind} benchmark; these are: {', '.join(kinds)}")
    found = _packs_below(packs)
    wanted = list(found) if languages is None else languages
    if benchmark in BENCHMARKS:
        _refuse_mixed(benchmark, wanted)
    for language in wanted:
        if language not in found:
            raise InputError(
                f"{packs} has no pack of the language {language}; there is "
                f"{', '.join(found) or 'none'}"
            )
    for language, rows in read_benchmark(benchmark, data, split, wanted, bad_offsets).items():
        yield found[language], _data_of(rows, data)


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
    for path in sorted(folder.rglob(PACK_FILE)):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue  # unfinished, or not meant
        pack = load_pack(path.parent)
        first = packs.setdefault(pack.description.language, pack)
        if first is not pack:
            raise InputError(
                f"{first.folder} and {pack.folder} are both packs of {pack.description.language}: "
                "name a folder with one pack a language"
            )
    return packs


def _data_of(split: Split, data: Path) -> Data:
    files = tuple(path for path in map(Path, split.files) if path.exists())  # not if in an archive
    return Data(", ".join(split.files), files or (data,), split.rows, dict(split.left_out))


def _key(files: Sequence[Path], *settings: object) -> str:
    """Changes when one of the inputs is another file, or the same file with another content."""
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr((RULES, states, settings)).encode()).hexdigest()[:16]


def _read_rows(output: Path) -> list[dict]:
    """The scores that are in the file already."""
    rows = read_json(output, AGAIN) if check_file(output, SCORES) else []
    for row in rows:
        kind = SPAN if "f1" in row else CLASSIFICATION
        record(row, FORMS[kind][0], output, AGAIN, others=True)
        record(row, _Inputs, output, AGAIN, others=True)
    return rows


def _write_row(output: Path, row: dict) -> None:
    """Put a score into the file, where another process may have written in the meantime."""
    with locked(output):
        rows = _read_rows(output)
        same = [index for index, other in enumerate(rows) if _subject(other) == _subject(row)]
        if same:
            rows[same[0]] = row
        else:
            rows.append(row)
        write_json(output, rows)


def _subject(row: dict) -> list[object]:
    """What a score is of."""
    return [row.get(name) for name in ("body", "language", "pack", "data", "metric")]


def _table(kind: str, results: Sequence[dict], title: str, bodies: int) -> str:
    """A row a score for one body; languages by bodies for several."""
    form, table = FORMS[kind]
    scores = [form(**{name: row[name] for name in form.__dataclass_fields__}) for row in results]
    measure = "accuracy" if kind == CLASSIFICATION else "F1"
    text = table(scores) if bodies == 1 else _comparison(scores, f"{title}: {measure} (%)")
    left_out = [
        f"{row['language']}: {count} {reason} rows of {row['data']} left out"
        for row in results
        for reason, count in row["left_out"].items()
    ]
    what = "examples" if kind == CLASSIFICATION else "questions"
    cut = [
        f"{score.language}: {score.truncated} of {_count(score)} {what} of {score.data} were too long "
        f"for {score.body} and were cut"
        for score in scores
        if score.truncated
    ]
    notes = list(dict.fromkeys([*left_out, *cut]))
    return "\n".join([text, *([""] if notes else []), *notes])


def _comparison(scores: Sequence[Score | AnswerScore], title: str) -> str:
    """Accuracies, or F1, of several bodies."""
    bodies = list(dict.fromkeys(score.body for score in scores))
    languages = list(dict.fromkeys(score.language for score in scores))
    by_place = {(score.language, score.body): _measure(score) for score in scores}
    counts = {score.language: _count(score) for score in scores}
    rows = []
    for language in languages:
        cells = [by_place[language, body] for body in bodies]
        rows.append(
            [language, counts[language]]
            + [
                f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"
                for mean, low, high in cells
            ]
        )
    means = [sum(by_place[name, body][0] for name in languages) / len(languages) for body in bodies]
    rows.append([MEAN, None, *(f"{100 * mean:.1f}" for mean in means)])
    return format_table([title, "examples", *bodies], rows)


def _measure(score: Score | AnswerScore) -> tuple[float, float, float]:
    if isinstance(score, Score):
        return score.accuracy, score.low, score.high
    return score.f1, score.f1_low, score.f1_high


def _count(score: Score | AnswerScore) -> int:
    return score.examples if isinstance(score, Score) else score.questions
