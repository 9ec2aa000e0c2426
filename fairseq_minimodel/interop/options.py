"""The options of the verbs for the formats of other libraries."""

from dataclasses import dataclass
from pathlib import Path

from ..options import REQUIRED, labels, option, output


def like() -> Path | None:
    help = "body that the model was fine-tuned from, token embeddings frozen: its packs fit"
    return option(None, help, metavar="BODY")


@dataclass(frozen=True, kw_only=True)
class ImportHFOptions:
    model: Path = option(
        REQUIRED,
        "with config.json, weights and tokenizer, or the name of a model on the Hub",
        metavar="FOLDER",
    )
    language: str = option(REQUIRED, 'its name, as you call it ("en")')
    text: list[Path] = option(
        [],
        "for a model without an MLM head: text whose counts of tokens make the new head's output bias",
        metavar="FILE",
        nargs="+",
    )
    like: Path | None = like()
    output: Path = output(help="of body.pt and pack/")


@dataclass(frozen=True, kw_only=True)
class ExportHFOptions:
    body: Path | None = option(None, "checkpoint", group="required")
    model: Path | None = option(
        None, "instead: a model in Hugging Face's form", metavar="FOLDER", group="required"
    )
    like: Path | None = like()
    pack: Path = option(REQUIRED, metavar="FOLDER")
    module: Path | None = option(None, "task module to merge", metavar="FOLDER", group="change")
    depth: int | None = option(
        None,
        "the bottom layers alone, with the MLM head after them (default: all layers)",
        group="change",
    )
    labels: Path | None = labels()
    scores: Path | None = option(None, "what evaluate --json wrote, for the model card")
    base_model: str | None = option(
        None, "on the Hub, that the body was made of, for the card", metavar="NAME"
    )
    license: str | None = option(None, "for the card, such as cc-by-4.0", metavar="ID")
    datasets: list[str] = option(
        [],
        "data on the Hub that it was trained on, for the card; repeat it for more",
        name="dataset",
        metavar="NAME",
        action="append",
    )
    output: Path = output()
