"""The model card of an exported model: what its own records and the user say, and nothing else.

Names in it come from files that anybody may have written. In the header they are written by a library
for YAML; in the text they are escaped, so that they stay text.
"""

import html
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ..bodies.checkpoint import Checkpoint
from ..bodies.cost import TrainingCost
from ..errors import InputError
from ..files.records import read_json, record
from ..kinds.registry import KINDS
from ..kinds.scores import AGAIN, Place, kind_of_row
from ..kinds.scores import read_scores as scores_in
from ..packs.module import Description as ModuleDescription
from ..packs.pack import Description
from ..terminal.table import format_flops, format_seconds, format_table

# The library's name of the task, by the end of the name of the class that loads the model.
PIPELINES = {kind.architecture: kind.pipeline for kind in KINDS.values() if kind.architecture}
NOT_RECORDED = "not recorded"


# The two letters of ISO 639-1, which the Hub knows, as it knows the three of ISO 639-3.
TWO_LETTERS = (
    "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da "
    "de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy "
    "hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg "
    "li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or "
    "os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw "
    "ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)
REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True)
class Origin:
    """Where an exported model comes from.

    Attributes:
        body: the checkpoint, in the language of the pack.
        file: of the body, as the user gave it.
        language: what the pack says of itself.
        module: what the task module says of itself; None: there is none.
        cost: of the run that wrote the body.
    """

    body: Checkpoint
    file: Path
    language: Description
    module: ModuleDescription | None
    cost: TrainingCost


@dataclass(frozen=True)
class Statements:
    """What only the user knows, by the names of the Hub.

    Attributes:
        base_model: the model on the Hub that the body was made of ("FacebookAI/xlm-roberta-base").
        license: its identifier ("cc-by-4.0").
        datasets: names of data sets on the Hub.

    Raises:
        InputError: one of them is not a name of that form.
    """

    base_model: str | None = None
    license: str | None = None
    datasets: Sequence[str] = ()

    def __post_init__(self) -> None:
        for option, name in [
            ("--base-model", self.base_model),
            *(("--dataset", name) for name in self.datasets),
        ]:
            if name is not None and not REPOSITORY.fullmatch(name):
                raise InputError(
                    f"{option} {name!r} is not a name on the Hub: give OWNER/NAME, or NAME alone"
                )
        if self.license is not None and not LICENSE.fullmatch(self.license):
            raise InputError(
                f"--license {self.license!r} is not an identifier of a licence, such as cc-by-4.0, "
                "apache-2.0 or other"
            )


def read_scores(path: Path) -> list[dict[str, object]]:
    """The scores in a file that `fairseq-minimodel evaluate --json` wrote.

    Raises:
        InputError: there is no such file, or something else in it.
    """
    if not path.is_file():
        raise InputError(f"no scores {path}: check the path (--scores)")
    rows = read_json(path, AGAIN)
    try:
        for row in rows:
            record(row, Place, path, AGAIN, others=True)
            _score_cells(row)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise InputError(
            f"{path} holds no scores of `fairseq-minimodel evaluate --json`: give the file that it "
            "wrote (--scores)"
        ) from None
    return rows


def model_card(
    title: str,
    architectures: Sequence[str],
    origin: Origin,
    classes: Sequence[str],
    scores: Sequence[dict[str, object]],
    statements: Statements,
) -> str:
    """The text of README.md, in Markdown, with the Hub's header.

    Says it on stderr if the language is not a code that the Hub knows.

    Args:
        title: name of the model.
        architectures: classes that load it, its task first.
        classes: labels, of a classifier.
        scores: from `read_scores`.
    """
    language = origin.language
    kinds = [PIPELINES[name[name.index("For") :]] for name in architectures]
    size = origin.body.body_settings()
    model = [
        ("language", _plain(language.language)),
        ("classes that load it", ", ".join(architectures)),
        ("layers", size["encoder_layers"]),
        ("width", size["encoder_embed_dim"]),
        ("symbols", language.vocabulary_size),
        ("longest input, in tokens", size["max_positions"]),
        *([("labels", ", ".join(map(_plain, classes)))] if classes else []),
        ("lineage", _plain(language.lineage)),
    ]
    sections = [
        f"---\n{_header(title, kinds, origin, scores, statements)}---",
        f"# {_plain(title)}",
        "A RoBERTa in the language of one language pack, made with fairseq-minimodel: the token "
        "embeddings and the output bias (the language side) belong to the language, everything else "
        "(the body) is shared by all languages of the lineage.",
        format_table(["", ""], model),
        "## Method",
        _method(origin),
        "## Data",
        _data(origin),
        "## Compute",
        _cost_table(origin),
        "A dash: not recorded. Runs before the last one of the body are not in its checkpoint.",
        "## Scores",
        _score_table(scores) if scores else "None were given.",
        "## Versions",
        ", ".join(_plain(f"{name} {version}") for name, version in language.versions.items())
        or NOT_RECORDED,
    ]
    return "\n\n".join(sections) + "\n"


def _header(
    title: str,
    kinds: Sequence[str],
    origin: Origin,
    scores: Sequence[dict[str, object]],
    statements: Statements,
) -> str:
    """The metadata that the Hub reads, in YAML."""
    language = origin.language.language
    known = language in (*TWO_LETTERS.split(), "multilingual") or re.fullmatch("[a-z]{3}", language)
    if not known:
        print(
            f"warning: {language!r} is not a code of ISO 639 such as de or swa, so the model card "
            "leaves the language out of its header: write the code there (language: CODE)",
            file=sys.stderr,
        )
    results = _results(origin, scores)
    entries = {
        "language": language if known else None,
        "license": statements.license,
        "library_name": "transformers",
        "pipeline_tag": kinds[0],
        "tags": ["fairseq-minimodel"],
        "base_model": statements.base_model,
        "datasets": list(statements.datasets),
        "model-index": [{"name": title, "results": results}] if results else None,
    }
    given = {name: value for name, value in entries.items() if value}
    return yaml.safe_dump(given, sort_keys=False, allow_unicode=True)


def _results(origin: Origin, scores: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """The scores of this body in this language, in the form of the Hub's model-index."""
    own = [score for score in scores if score["language"] == origin.language.language]
    if len({score["body"] for score in own}) > 1:
        own = [score for score in own if Path(score["body"]).resolve() == origin.file.resolve()]
    results = []
    for score in own:
        data = Path(str(score["data"])).name
        kind = kind_of_row(score)
        among = f", n = {score[kind.count]}"
        results.append(
            {
                "task": {"type": kind.pipeline},
                "dataset": {"type": data, "name": f"{data} ({score['language']})"},
                "metrics": [
                    {
                        "type": key,
                        "value": round(number, 6),
                        "name": f"{measure} (95 % interval {low:.3f} to {high:.3f}{among})",
                    }
                    for measure, key, number, low, high in _numbers(score)
                ],
            }
        )
    return results


def _plain(text: object) -> str:
    """Text in which nothing is HTML, Markdown or a control character; "|" is the tables' own."""
    visible = "".join(one if one.isprintable() else " " for one in str(text))
    marks = re.sub(r"([\\`*\[\]~$!#])|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", visible)
    return html.escape(marks, quote=False)


def _method(origin: Origin) -> str:
    language, layers = origin.language, origin.body.layers
    sentences = [
        f"The language side was trained over {language.depth} layers; this model has {layers}."
    ]
    if language.depth < layers:
        sentences.append(
            "It was trained over a mini-model, and plugged into the whole body (Marchisio et al. "
            "2023, Mini-Model Adaptation, arXiv 2212.10503)."
        )
    if language.validation_loss is not None:
        sentences.append(
            f"Its last validation loss was {language.validation_loss:.3f} bits a token."
        )
    task = origin.body.config.get("task", {}).get("_name")
    if task and (origin.cost.updates or origin.module):
        sentences.append(f"The last task of the body was fairseq's {_plain(task)}.")
    if origin.module:
        kind = origin.module.settings.get("task_module")
        sentences.append(
            f"A task module of the kind {_plain(kind)} ({origin.module.parameters:,} parameters) is "
            "merged into the weights."
        )
    return " ".join(sentences)


def _data(origin: Origin) -> str:
    """The last folder of the path, which says what the data is and not where it lies."""
    data = str(origin.body.config.get("task", {}).get("data") or "").split(":")[0]
    known = data and origin.cost.updates and not origin.module
    body = f"folder {_plain(Path(data).name)}" if known else NOT_RECORDED
    return f"Data of the body's last run: {body}. Data of the language side: {NOT_RECORDED}."


def _cost_table(origin: Origin) -> str:
    language, module = origin.language, origin.module
    rows = [(f"language side ({_plain(language.language)})", language)]
    rows.append(("task module", module) if module else ("body, its last run", origin.cost))
    return format_table(
        ["run", "updates", "tokens", "time in steps", "FLOPs"],
        [[name, *_cost_cells(record)] for name, record in rows],
    )


def _cost_cells(record: Description | ModuleDescription | TrainingCost) -> list[object]:
    """A body that was imported has no updates of its own; of a module's run nothing else is kept."""
    seconds, flops = getattr(record, "seconds", None), getattr(record, "flops", None)
    return [
        record.updates or None,
        getattr(record, "tokens", None) or None,
        format_seconds(seconds) if seconds else None,
        format_flops(flops) if flops else None,
    ]


def _score_table(scores: Sequence[dict[str, object]]) -> str:
    """One row a score, in per cent with its 95 % interval."""
    return format_table(
        ["body", "language", "data", "measure", "score (%)", "95 % interval"],
        [row for score in scores for row in _score_cells(score)],
    )


def _score_cells(score: dict[str, object]) -> list[list[object]]:
    names = [_plain(score["body"]), _plain(score["language"])]
    data = _plain(Path(str(score["data"])).name)
    return [
        [*names, data, measure, f"{100 * value:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"]
        for measure, _, value, low, high in _numbers(score)
    ]


def _numbers(score: dict[str, object]) -> list[tuple[str, str, float, float, float]]:
    """(measure, the Hub's name of it, value, low, high) of each measure, 0 to 1.

    Raises:
        KeyError, TypeError, ValueError: this is not a score.
    """
    hub = {metric.name: metric.hub for metric in kind_of_row(score).metrics}
    found = [
        (one.metric, hub[one.metric], one.value / 100, one.low / 100, one.high / 100)
        for one in scores_in(score)
        if hub[one.metric]
    ]
    if not found:
        raise KeyError("no score")
    return found
