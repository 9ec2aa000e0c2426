"""Zero-shot evaluation: fine-tuned bodies in the languages of packs, on files or on a benchmark."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..atomic import write_json
from ..checkpoint.load import Checkpoint, read_checkpoint
from ..corpus.benchmarks.read import read_benchmark
from ..corpus.benchmarks.rows import Split
from ..corpus.benchmarks.table import BENCHMARKS, CLASSIFICATION, SPAN
from ..corpus.examples import read_examples
from ..corpus.questions import WindowOptions, read_question_file
from ..errors import InputError
from ..language.pack import LanguagePack, load_pack
from ..report.table import format_table
from . import answer, classify
from .answer import Answerer, AnswerScore
from .classify import Classifier, Score

logger = logging.getLogger(__name__)

PACK_FILE = "language.json"
MEAN = "mean"
KINDS = {"sentence_prediction": CLASSIFICATION, "span_qa": SPAN}  # of the tasks
FORMS = {
    CLASSIFICATION: (Score, classify.score_table),
    SPAN: (AnswerScore, answer.score_table),
}


@dataclass(frozen=True)
class Data:
    """What a body is scored on in one language.

    Attributes:
        name: of the file or files.
        paths: of what the rows were read from.
        rows: examples with labels.
        left_out: rows that are not used, for each reason.
    """

    name: str
    paths: tuple[Path, ...]
    rows: Sequence[object]
    left_out: dict[str, int]


def evaluate(
    bodies: Sequence[Path],
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
    max_length: int,
    stride: int,
    max_question: int,
    max_answer: int,
    max_tokens: int,
    device: str | None,
    output: Path | None,
) -> list[dict]:
    """Score fine-tuned bodies in the languages of packs, and print a table.

    Either on files (`tests`) or on a benchmark (`packs`, `benchmark`, `data`). With `output`, every
    score is written as soon as it is there, and scores of the same inputs that the file already
    has are not computed again.

    Args:
        bodies: checkpoints of fairseq's task `sentence_prediction`, or of our task `span_qa`.
        tests: (pack, file of examples or of questions) pairs. For the source language, the pack made
            of the pretrained body itself.
        packs: folder of packs, at any depth.
        benchmark: one of `BENCHMARKS`.
        data: its archive, folder or file, as published.
        split: of the benchmark.
        languages: codes to take; None: of every pack.
        text_columns, label_column: where the texts (one or two) and the label stand in the files of
            `tests`.
        labels: dict.txt of the labels, in the order of the classes; None: the one that a body was
            fine-tuned with.
        metric: of answers, "squad" or "mlqa"; None: the benchmark's own.
        max_length, stride, max_question, max_answer: of questions, see `Answerer`.
        max_tokens: tokens a batch, padding included.
        device: of PyTorch; None: a GPU if there is one.
        output: where to write the scores as JSON; None: nowhere.

    Raises:
        InputError: the options contradict each other, a body has no classification head, a pack
            does not fit it, or a label of the data is not one of the task's.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    checkpoints = {path: read_checkpoint(path) for path in bodies}
    kind = _kind(checkpoints)
    options = WindowOptions(max_length, stride, max_question) if kind == SPAN else None
    metric = metric or ("mlqa" if benchmark == "mlqa" else "squad")
    scorers = [
        Classifier(path, checkpoint, labels)
        if kind == CLASSIFICATION
        else Answerer(path, checkpoint, options, max_answer, metric)
        for path, checkpoint in checkpoints.items()
    ]
    if benchmark is None:
        cases = list(_cases_of_files(kind, tests, text_columns, label_column))
    else:
        cases = list(_cases_of_benchmark(kind, packs, benchmark, data, split, languages))
    done = _read_done(output)
    results = []
    for scorer in scorers:
        for pack, rows in cases:
            key = _key(scorer.path, pack.folder, rows.paths, split, text_columns, label_column,
                       labels, metric, options, max_answer)  # fmt: skip
            if key in done:
                logger.info("%s: %s is there already", output, pack.description.language)
                results.append(done[key])
                continue
            score = scorer.score(pack, rows.rows, rows.name, max_tokens, device)
            results.append({**asdict(score), "left_out": rows.left_out, "inputs": key})
            if output:
                write_json(output, results)
    if output:
        write_json(output, results)
    title = split if benchmark is None else f"{benchmark} {split}"
    print(_table(kind, results, title, len(bodies)))
    return results


def _kind(checkpoints: Mapping[Path, Checkpoint]) -> str:
    """What all the bodies were fine-tuned for."""
    kinds = set()
    for path, checkpoint in checkpoints.items():
        task = checkpoint.config.get("task", {}).get("_name")
        if task not in KINDS:
            raise InputError(
                f"{path} was not fine-tuned for a task that is scored: train it with fairseq's task "
                "sentence_prediction, or with span_qa, first"
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
) -> Iterator[tuple[LanguagePack, Data]]:
    if not tests:
        raise InputError("there is nothing to evaluate on: give --test PACK FILE, or --benchmark")
    for pack, file in tests:
        path = Path(file)
        if kind == SPAN:
            rows = list(read_question_file(path))
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
) -> Iterator[tuple[LanguagePack, Data]]:
    if packs is None or data is None:
        raise InputError("--benchmark needs --packs FOLDER and --data PATH")
    if BENCHMARKS.get(benchmark) and BENCHMARKS[benchmark].kind != kind:
        kinds = [name for name, one in BENCHMARKS.items() if one.kind == kind]
        raise InputError(f"{benchmark} is not a {kind} benchmark; these are: {', '.join(kinds)}")
    found = _packs_below(packs)
    wanted = list(found) if languages is None else languages
    for language in wanted:
        if language not in found:
            raise InputError(
                f"{packs} has no pack of the language {language}; there is "
                f"{', '.join(found) or 'none'}"
            )
    for language, rows in read_benchmark(benchmark, data, split, wanted).items():
        yield found[language], _data_of(rows, data)


def _packs_below(folder: Path) -> dict[str, LanguagePack]:
    """The packs in a folder, at any depth, by language."""
    packs: dict[str, LanguagePack] = {}
    for path in sorted(folder.rglob(PACK_FILE)):
        pack = load_pack(path.parent)
        first = packs.setdefault(pack.description.language, pack)
        if first is not pack:
            raise InputError(
                f"{first.folder} and {pack.folder} are both packs of {pack.description.language}: "
                "name a folder with one pack a language"
            )
    return packs


def _data_of(split: Split, data: Path) -> Data:
    return Data(", ".join(split.files), (data,), split.rows, dict(split.left_out))


def _key(body: Path, pack: Path, data: Sequence[Path], *settings: object) -> str:
    """Changes when one of the inputs is another file, or the same file with another content."""
    states = [
        (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for path in (body, pack / "language.safetensors", *data)
    ]
    return hashlib.sha256(repr((states, settings)).encode()).hexdigest()[:16]


def _read_done(output: Path | None) -> dict[str, dict]:
    if output is None or not output.exists():
        return {}
    try:
        rows = json.loads(output.read_text(encoding="utf-8"))
        return {row["inputs"]: row for row in rows}
    except (ValueError, TypeError, KeyError):
        raise InputError(
            f"{output} is there and holds no scores of this command: give another name to --json"
        ) from None


def _table(kind: str, results: Sequence[dict], title: str, bodies: int) -> str:
    """A row a score for one body; languages by bodies for several."""
    form, table = FORMS[kind]
    scores = [form(**{name: row[name] for name in form.__dataclass_fields__}) for row in results]
    text = table(scores) if bodies == 1 else _comparison(scores, title)
    left_out = [
        f"{row['language']}: {count} {reason} rows of {row['data']} left out"
        for row in results
        for reason, count in row["left_out"].items()
    ]
    return "\n".join([text, *([""] if left_out else []), *dict.fromkeys(left_out)])


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
