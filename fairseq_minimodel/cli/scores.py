"""Verbs that say how good a model is."""

import argparse
from pathlib import Path

from .options import (
    ANSWERED,
    LABELLED,
    add_answering,
    add_bad_offsets,
    add_body,
    add_device,
    add_json,
    add_labels,
    not_negative,
    positive,
)
from .verb import Verbs, add_verb


def add_verbs(verbs: Verbs) -> None:
    _add_evaluate(verbs)
    _add_retrieve(verbs)
    _add_perplexity(verbs)


def _add_evaluate(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "evaluate",
        run="fairseq_minimodel.evaluation.evaluate:evaluate",
        help="score fine-tuned bodies in the languages of packs: classification, questions",
        example="--body checkpoints/topics/checkpoint_last.pt --test packs/en english_test.tsv --test "
        "packs/de german_test.tsv --json scores.json",
        description="Either on files of examples or questions (--test, once a language), or on a "
        "benchmark as it was published (--benchmark, --data, --packs). Scores that the file of "
        "--json has already are not computed again.",
    )
    parser.add_argument(
        "--body",
        dest="bodies",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="fine-tuned checkpoints; several are compared in one table",
    )
    parser.add_argument(
        "--module",
        dest="modules",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="task modules to score over --body, which is then the one that they were trained over",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--test",
        dest="tests",
        nargs=2,
        action="append",
        metavar=("PACK", "FILE"),
        help="a language pack and labelled examples (TSV or JSON Lines) or questions (SQuAD's JSON) "
        "in its language; repeat it for more languages",
    )
    where.add_argument(
        "--benchmark", metavar="NAME", help=f"one of {', '.join((*LABELLED, *ANSWERED))}"
    )
    parser.add_argument("--packs", type=Path, metavar="FOLDER", help="one pack a language")
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="the benchmark's archive, folder or file"
    )
    parser.add_argument("--split", default="test", help="of the benchmark (default: test)")
    parser.add_argument(
        "--languages", nargs="+", metavar="CODE", help="of the benchmark (default: those of packs)"
    )
    parser.add_argument(
        "--text-columns",
        nargs="+",
        default=["text"],
        metavar="COLUMN",
        help="one or two columns of text, by name or number from 1 (default: text)",
    )
    parser.add_argument(
        "--label-column", default="label", metavar="COLUMN", help="column of the label (label)"
    )
    add_labels(parser)
    parser.add_argument(
        "--metric",
        choices=("squad", "mlqa"),
        help="questions: whose rules compare answers (default: the benchmark's own, or squad)",
    )
    add_answering(parser)
    add_bad_offsets(parser)
    _add_prediction(parser)


def _add_retrieve(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "retrieve",
        run="fairseq_minimodel.evaluation.retrieval:retrieve",
        help="find translations by the hidden states of a body in the languages of packs (no "
        "labels needed)",
        example="--body checkpoints/en/checkpoint_last.pt --source-pack packs/en --pack packs/de "
        "--data tatoeba",
        description="For each sentence of Tatoeba in a pack's language, looks for its English "
        "translation among all, and the other way: the sentence whose mean hidden state is the most "
        "similar.",
    )
    add_body(parser)
    parser.add_argument(
        "--source-pack", type=Path, required=True, metavar="PACK", help="pack of English"
    )
    parser.add_argument(
        "--pack",
        dest="packs",
        type=Path,
        action="append",
        required=True,
        metavar="PACK",
        help="pack of another language; repeat it for more languages",
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER", help="Tatoeba as LASER publishes it"
    )
    parser.add_argument(
        "--layer",
        type=not_negative,
        metavar="K",
        help="compare the hidden states after this layer, from 1; 0: the embeddings (default: the "
        "one above the middle, 7 of 12; of bodies trained for sentence vectors take the last)",
    )
    parser.add_argument(
        "--similarity",
        dest="similarities",
        nargs="+",
        choices=("cosine", "csls"),
        default=["cosine", "csls"],
        help="by which the nearest sentence is found (default: both, side by side)",
    )
    parser.add_argument(
        "--neighbours",
        type=positive,
        default=10,
        metavar="N",
        help="of CSLS (default: %(default)s)",
    )
    _add_prediction(parser)


def _add_perplexity(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "perplexity",
        run="fairseq_minimodel.evaluation.perplexity:perplexity",
        help="MLM loss of a body on plain text in the languages of packs (no labels needed)",
        example="--body checkpoints/en/checkpoint_last.pt --pack packs/de german_test.txt",
        description="Masks 15 % of a text's tokens and says how well the body, with the language of "
        "a pack, predicts them. Give a pretrained body: fine-tuning leaves the MLM head as it was "
        "and changes the layers below it.",
    )
    add_body(parser, "pretrained checkpoint")
    parser.add_argument(
        "--pack",
        dest="tests",
        nargs=2,
        action="append",
        required=True,
        metavar=("PACK", "TEXT"),
        help="a language pack and text in its language, one sentence or document a line, or JSON "
        "Lines, perhaps compressed (gzip, xz, zstd, bzip2); repeat it for more languages",
    )
    parser.add_argument(
        "--field",
        default="text",
        metavar="KEY",
        help="JSON Lines: the key that holds the text (default: %(default)s)",
    )
    parser.add_argument(
        "--depth",
        type=positive,
        metavar="N",
        help="measure the MLM head after this layer (default: the last)",
    )
    parser.add_argument(
        "--seed", type=not_negative, default=1, help="of the masks (default: %(default)s)"
    )
    _add_prediction(parser)


def _add_prediction(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-tokens", type=positive, default=8192, help="tokens a batch (default: %(default)s)"
    )
    add_device(parser)
    add_json(parser, "write scores too")
