"""Verbs for the formats of other libraries."""

from pathlib import Path

from .options import add_body, add_labels, add_output
from .verb import Verbs, add_verb


def add_verbs(verbs: Verbs) -> None:
    _add_import_hf(verbs)
    _add_export_hf(verbs)


def _add_import_hf(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "import-hf",
        run="fairseq_minimodel.interop.import_hf:import_hf",
        help="a RoBERTa, XLM-R or CamemBERT in Hugging Face's form to a body and a language pack",
        example="--model xlm-roberta-base --language en --output bodies/xlmr",
    )
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="with config.json, weights and tokenizer",
    )
    parser.add_argument("--language", required=True, help='its name, as you call it ("en")')
    add_output(parser, "FOLDER", "of body.pt and pack/")


def _add_export_hf(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "export-hf",
        run="fairseq_minimodel.interop.export_hf:export_hf",
        help="a body in the language of a pack to a folder that Hugging Face's transformers loads",
        example="--body checkpoints/topics/checkpoint_last.pt --pack packs/de --scores scores.json "
        "--output hf/topics-de",
    )
    add_body(parser)
    parser.add_argument("--pack", type=Path, required=True, metavar="FOLDER")
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--module", type=Path, metavar="FOLDER", help="task module to merge")
    change.add_argument(
        "--depth",
        type=int,
        metavar="N",
        help="the bottom layers alone, with the MLM head after them (default: all layers)",
    )
    add_labels(parser)
    parser.add_argument(
        "--scores",
        type=Path,
        metavar="FILE",
        help="what evaluate --json wrote, for the model card",
    )
    parser.add_argument(
        "--base-model", metavar="NAME", help="on the Hub, that the body was made of, for the card"
    )
    parser.add_argument("--license", metavar="ID", help="for the card, such as cc-by-4.0")
    parser.add_argument(
        "--dataset",
        dest="datasets",
        action="append",
        default=[],
        metavar="NAME",
        help="data on the Hub that it was trained on, for the card; repeat it for more",
    )
    add_output(parser, "FOLDER")
