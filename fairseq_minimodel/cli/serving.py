"""The verb that puts a model to work."""

from pathlib import Path

from .options import (
    add_answering,
    add_body,
    add_device,
    add_labels,
    add_module,
    positive,
)
from .verb import Verbs, add_verb


def add_verbs(verbs: Verbs) -> None:
    _add_predict(verbs)


def _add_predict(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "predict",
        run="fairseq_minimodel.inference.predict:predict",
        help="labels, answers or masked tokens for each line of a text, as JSON Lines",
        example="--body checkpoints/topics/checkpoint_last.pt --pack packs/de --input german.txt "
        "--output topics.jsonl",
        description="A body that was fine-tuned to classify labels each line; one that was fine-tuned "
        "for questions answers it; a pretrained one fills each <mask>. The input is read by and by, "
        "in memory that does not grow with it.",
    )
    add_body(parser)
    parser.add_argument(
        "--pack",
        type=Path,
        metavar="FOLDER",
        help="of the language of the lines (default: the language inside the body)",
    )
    add_module(parser)
    add_labels(parser)
    parser.add_argument(
        "--input",
        dest="source",
        default="-",
        metavar="FILE",
        help="a text a line, or JSON Lines (.jsonl), perhaps compressed (.gz, .xz, .zst); - or "
        "nothing: standard input",
    )
    parser.add_argument(
        "--output", default="-", metavar="FILE", help="JSON Lines; - or nothing: standard output"
    )
    parser.add_argument(
        "--json-lines", action="store_true", help="the input is JSON Lines, whatever its name"
    )
    parser.add_argument(
        "--text-columns",
        nargs="+",
        metavar="KEY",
        help="keys of JSON Lines (default: text; text1 and text2 for pairs; question and context)",
    )
    parser.add_argument(
        "--top",
        type=positive,
        metavar="N",
        help="tokens for each mask (default: 5), or answers to each question (default: 1)",
    )
    add_answering(parser)
    parser.add_argument(
        "--max-tokens",
        type=positive,
        metavar="N",
        help="tokens a batch, padding included (default: 1024 on a CPU, 8192 elsewhere)",
    )
    add_device(parser)
    parser.add_argument(
        "--bf16", dest="bfloat16", action="store_true", help="weights and computation in bfloat16"
    )
