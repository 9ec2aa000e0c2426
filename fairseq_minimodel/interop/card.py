"""The model card of an exported model: what its own records say, and nothing else."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint.cost import TrainingCost
from ..checkpoint.load import Checkpoint
from ..checkpoint.task_module import Description as ModuleDescription
from ..errors import InputError
from ..language.pack import Description
from ..records import read_json, record
from ..report.scores import AGAIN, Place
from ..report.table import format_flops, format_seconds, format_table

KINDS = {  # of the model, by the class that loads it: the library's name of the task
    "ForQuestionAnswering": "question-answering",
    "ForSequenceClassification": "text-classification",
    "ForMaskedLM": "fill-mask",
}
NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Origin:
    """Where an exported model comes from.

    Attributes:
        body: the checkpoint, in the language of the pack.
        language: what the pack says of itself.
        module: what the task module says of itself; None: there is none.
        cost: of the run that wrote the body.
    """

    body: Checkpoint
    language: Description
    module: ModuleDescription | None
    cost: TrainingCost


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
) -> str:
    """The text of README.md, in Markdown, with the library's header.

    Args:
        title: name of the model.
        architectures: classes that load it, its task first.
        classes: labels, of a classifier.
        scores: from `read_scores`.
    """
    language = origin.language
    kinds = [KINDS[name[name.index("For") :]] for name in architectures]
    header = [
        "---",
        f"language: {json.dumps(language.language, ensure_ascii=False)}",
        "library_name: transformers",
        f"pipeline_tag: {kinds[0]}",
        "tags: [fairseq-minimodel]",
        "---",
    ]
    size = origin.body.body_settings()
    model = [
        ("language", language.language),
        ("classes that load it", ", ".join(architectures)),
        ("layers", size["encoder_layers"]),
        ("width", size["encoder_embed_dim"]),
        ("symbols", language.vocabulary_size),
        ("longest input, in tokens", size["max_positions"]),
        *([("labels", ", ".join(classes))] if classes else []),
        ("lineage", language.lineage),
    ]
    sections = [
        "\n".join(header),
        f"# {title}",
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
        ", ".join(f"{name} {version}" for name, version in language.versions.items())
        or NOT_RECORDED,
    ]
    return "\n\n".join(sections) + "\n"


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
        sentences.append(f"The last task of the body was fairseq's `{task}`.")
    if origin.module:
        kind = origin.module.settings.get("task_module")
        sentences.append(
            f"A task module of the kind {kind} ({origin.module.parameters:,} parameters) is merged "
            "into the weights."
        )
    return " ".join(sentences)


def _data(origin: Origin) -> str:
    """The last folder of the path, which says what the data is and not where it lies."""
    data = str(origin.body.config.get("task", {}).get("data") or "").split(":")[0]
    known = data and origin.cost.updates and not origin.module
    body = f"folder `{Path(data).name}`" if known else NOT_RECORDED
    return f"Data of the body's last run: {body}. Data of the language side: {NOT_RECORDED}."


def _cost_table(origin: Origin) -> str:
    language, module = origin.language, origin.module
    rows = [(f"language side ({language.language})", language)]
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
    measures = {
        "accuracy": ("accuracy", "low", "high"),
        "exact match": ("exact_match", "exact_match_low", "exact_match_high"),
        "F1": ("f1", "f1_low", "f1_high"),
    }
    shown = []
    for measure, (value, low, high) in measures.items():
        if value in score:
            numbers = [100 * float(score[key]) for key in (value, low, high)]
            shown.append(
                [score["body"], score["language"], Path(str(score["data"])).name, measure,
                 f"{numbers[0]:.1f}", f"{numbers[1]:.1f} to {numbers[2]:.1f}"]
            )  # fmt: skip
    if not shown:
        raise KeyError("no score")
    return shown
