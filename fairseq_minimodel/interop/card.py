"""The model card of an exported model: what its own records and the user say, and nothing else.

Names in it come from files that anybody may have written. In the header they are written by
`huggingface_hub`; in the text (`card.md.j2`) they are escaped, so that they stay text.
"""

import html
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jinja2
from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..bodies.checkpoint import Checkpoint
from ..bodies.cost import TrainingCost
from ..errors import InputError
from ..files.records import read_json, record
from ..kinds import VECTORS
from ..kinds.registry import KINDS
from ..kinds.scores import AGAIN, Place, kind_of_row
from ..kinds.scores import read_scores as scores_in
from ..packs.module import Description as ModuleDescription
from ..packs.pack import Description
from ..terminal.table import MISSING, format_flops, format_seconds
from .sentence_transformers import in_words

TEMPLATE = "card.md.j2"
# The library's name of the task, by the end of the name of the class that loads the model.
PIPELINES = {kind.architecture: kind.pipeline for kind in KINDS.values() if kind.architecture}
# The two letters of ISO 639-1, which the Hub knows, as it knows the three of ISO 639-3.
TWO_LETTERS = (
    "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da "
    "de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy "
    "hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg "
    "li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or "
    "os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw "
    "ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)
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
        names = [("--base-model", self.base_model), *(("--dataset", one) for one in self.datasets)]
        for option, name in names:
            try:
                validate_repo_id(name or "none")
            except HFValidationError:
                raise InputError(
                    f"{option} {name!r} is not a name on the Hub: give OWNER/NAME, or NAME alone"
                ) from None
        if self.license is not None and not LICENSE.fullmatch(self.license):
            raise InputError(
                f"--license {self.license!r} is not an identifier of a licence, such as cc-by-4.0, "
                "apache-2.0 or other"
            )


class Measure(NamedTuple):
    """One number of a score, 0 to 1, with its 95 % interval."""

    key: str
    name: str
    value: float
    low: float
    high: float


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
            _measures(row)
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
    scores: Sequence[Mapping[str, object]],
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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    vectors = origin.body.sentence_settings()
    end = architectures[0][architectures[0].index("For") :]
    environment.filters["time"] = lambda seconds: format_seconds(seconds) if seconds else None
    environment.filters["flops"] = lambda flops: format_flops(flops) if flops else None
    language, task = origin.language, origin.body.config.get("task", {})
    # the last folder of the path, which says what the data is and not where it lies
    data = Path(str(task.get("data") or "").split(":")[0]).name
    run = ("task module", origin.module) if origin.module else ("body, its last run", origin.cost)
    text = environment.get_template(TEMPLATE).render(
        vars(origin),
        title=title,
        architectures=[*["SentenceTransformer"] * bool(vectors), *architectures],
        vectors=in_words(vectors) if vectors else None,
        classes=classes,
        longest=origin.body.body_settings()["max_positions"],
        task=task,
        data=data if origin.cost.updates and not origin.module else None,
        versions=[" ".join(map(str, pair)) for pair in language.versions.items()],
        runs=[(f"language side ({language.language})", language), run],
        scores=[(score, _data(score), _measures(score)) for score in scores],
    )
    results = _results(origin, scores)
    header = ModelCardData(
        language=_code(language.language),
        license=statements.license,
        library_name="sentence-transformers" if vectors else "transformers",
        pipeline_tag=KINDS[VECTORS].pipeline if vectors else PIPELINES[end],
        tags=["fairseq-minimodel", *["sentence-similarity"] * bool(vectors)],
        base_model=statements.base_model,
        datasets=list(statements.datasets) or None,
        eval_results=results or None,
        model_name=_without_html(title) if results else None,
    )
    return f"---\n{header.to_yaml()}\n---\n\n{text}"


def _code(language: str) -> str | None:
    """The language, if it is a code that the Hub knows; else None, and a warning."""
    if language in (*TWO_LETTERS.split(), "multilingual") or re.fullmatch("[a-z]{3}", language):
        return language
    print(
        f"warning: {language!r} is not a code of ISO 639 such as de or swa, so the model card leaves "
        "the language out of its header: write the code there (language: CODE)",
        file=sys.stderr,
    )
    return None


def _results(origin: Origin, scores: Sequence[Mapping[str, object]]) -> list[EvalResult]:
    """The scores of this body in this language."""
    own = [score for score in scores if score["language"] == origin.language.language]
    if len({score["body"] for score in own}) > 1:
        own = [score for score in own if Path(score["body"]).resolve() == origin.file.resolve()]
    results = []
    for score in own:
        kind = kind_of_row(score)
        among = f", n = {score[kind.count]}"
        results += [
            EvalResult(
                task_type=kind.pipeline,
                dataset_type=_without_html(_data(score)),
                dataset_name=_without_html(f"{_data(score)} ({score['language']})"),
                metric_type=one.key,
                metric_value=round(one.value, 6),
                metric_name=f"{one.name} (95 % interval {one.low:.3f} to {one.high:.3f}{among})",
            )
            for one in _measures(score)
        ]
    return results


def _data(score: Mapping[str, object]) -> str:
    return Path(str(score["data"])).name


def _measures(score: Mapping[str, object]) -> list[Measure]:
    """Raises KeyError, TypeError or ValueError if this is not a score."""
    hub = {metric.name: metric.hub for metric in kind_of_row(score).metrics}
    found = [
        Measure(hub[one.metric], one.metric, one.value / 100, one.low / 100, one.high / 100)
        for one in scores_in(score)
        if hub[one.metric]
    ]
    if not found:
        raise KeyError("no score")
    return found


def _without_html(name: str) -> str:
    """A name for the header, which some viewers show as a table of HTML."""
    return html.escape(name, quote=False)


def _plain(value: object) -> str:
    """A value as text in which nothing is HTML, Markdown or a control character."""
    if value is None:
        return MISSING
    text = f"{value:,}" if isinstance(value, int) else str(value)
    visible = "".join(one if one.isprintable() else " " for one in text)
    marks = re.sub(r"([\\`*\[\]~$!#|])|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", visible)
    return html.escape(marks, quote=False)
