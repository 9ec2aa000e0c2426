"""Verbs that make the data for training."""

from pathlib import Path

from .options import LABELLED, add_bad_offsets, add_output, positive
from .verb import Verbs, add_verb


def add_verbs(verbs: Verbs) -> None:
    _add_prepare(verbs)
    _add_prepare_classification(verbs)
    _add_export_benchmark(verbs)
    _add_prepare_questions(verbs)
    _add_toy(verbs)


def _add_prepare(verbs: Verbs) -> None:
    from ..corpus.options import add_option_arguments

    parser = add_verb(
        verbs,
        "prepare",
        run="fairseq_minimodel.corpus.prepare:prepare",
        help="raw text to fairseq's binary data: clean, shuffle, train a vocabulary, encode",
        example="--text german.txt --output data/de --vocabulary-size 8000",
    )
    parser.add_argument(
        "--text",
        nargs="+",
        required=True,
        metavar="FILE",
        help="plain text or JSON Lines, each perhaps compressed (gzip, xz, zstd, bzip2)",
    )
    add_output(parser, "FOLDER", former="one of other text or options is never replaced")
    parser.add_argument(
        "--sentencepiece-model", metavar="FILE", help="use this model instead of training one"
    )
    parser.add_argument(
        "--dict",
        dest="dictionary",
        metavar="FILE",
        help="use this dict.txt with the given model instead of making one",
    )
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")
    add_option_arguments(parser)


def _add_prepare_classification(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "prepare-classification",
        run="fairseq_minimodel.corpus.classification:prepare_classification",
        help="labelled sentences or sentence pairs to data for fairseq's sentence_prediction",
        example="--train train.tsv --valid dev.tsv --text-columns text --label-column label --dict "
        "data/en/dict.txt --sentencepiece-model data/en/sentencepiece.bpe.model --output "
        "data/topics",
        description="Files are TSV or JSON Lines (.jsonl), each perhaps compressed. A column is a "
        "name (TSV: of the header; JSON Lines: a key) or a number from 1 (TSV without header).",
    )
    parser.add_argument("--train", type=Path, required=True, metavar="FILE")
    parser.add_argument("--valid", type=Path, required=True, metavar="FILE")
    parser.add_argument("--test", type=Path, metavar="FILE")
    parser.add_argument("--text-columns", nargs="+", required=True, metavar="COLUMN")
    parser.add_argument("--label-column", required=True, metavar="COLUMN")
    parser.add_argument(
        "--labels",
        nargs="+",
        metavar="LABEL",
        help="all labels in the order of their classes (default: those of --train, sorted)",
    )
    parser.add_argument(
        "--max-length",
        type=positive,
        metavar="N",
        help="cut longer examples to so many tokens, special tokens included, as evaluate and predict "
        "cut them to the positions of the model (default: nothing is cut)",
    )
    parser.add_argument("--sentencepiece-model", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--dict", dest="dictionary", type=Path, required=True, metavar="FILE", help="dict.txt"
    )
    add_output(parser, "FOLDER")


def _add_export_benchmark(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "export-benchmark",
        run="fairseq_minimodel.corpus.benchmarks.export:export_benchmark",
        help="a benchmark's labelled sentences, as published, to JSON Lines for "
        "prepare-classification",
        example="--benchmark multinli --data multinli_1.0.zip --split train --output mnli.jsonl",
        description='Writes one split in one language: {"text": ..., "label": ...} a line, or '
        '{"text1": ..., "text2": ..., "label": ...}.',
    )
    parser.add_argument(
        "--benchmark", required=True, metavar="NAME", help=f"one of {', '.join(LABELLED)}"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="PATH", help="its archive, folder or file"
    )
    parser.add_argument("--split", default="train", help="of the benchmark (default: train)")
    parser.add_argument("--language", default="en", metavar="CODE", help="(default: en)")
    add_output(parser, "FILE", "NAME.jsonl")


def _add_prepare_questions(verbs: Verbs) -> None:
    from ..kinds.window_options import add_window_arguments

    parser = add_verb(
        verbs,
        "prepare-questions",
        run="fairseq_minimodel.corpus.questions:prepare_questions",
        help="questions with answers in a text (SQuAD's form) to data for the task span_qa",
        example="--train train-v1.1.json --valid dev-v1.1.json --dict data/en/dict.txt "
        "--sentencepiece-model data/en/sentencepiece.bpe.model --output data/questions",
        description="Files are JSON in the form of SQuAD v1.1, as MLQA, XQuAD and TyDiQA-GoldP are "
        "published in, each perhaps compressed.",
    )
    parser.add_argument("--train", type=Path, required=True, metavar="FILE")
    parser.add_argument("--valid", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--language",
        metavar="CODE",
        help='take the questions of one language out of the files of TyDi QA, "en" (default: all)',
    )
    parser.add_argument("--sentencepiece-model", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--dict", dest="dictionary", type=Path, required=True, metavar="FILE", help="dict.txt"
    )
    add_window_arguments(parser, positive, recorded=False)
    add_bad_offsets(parser)
    add_output(parser, "FOLDER", "to make")


def _add_toy(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "toy",
        run="fairseq_minimodel.corpus.toy.generate:write_toy",
        help="generate two small languages and a task, to try everything out with",
        example="--output toy",
    )
    add_output(parser, "FOLDER")
    parser.add_argument("--seed", type=int, default=1, help="of the random draws (default: 1)")
    parser.add_argument(
        "--sentences",
        type=int,
        default=30000,
        metavar="N",
        help="sentences of running text in each language (default: 30000)",
    )
