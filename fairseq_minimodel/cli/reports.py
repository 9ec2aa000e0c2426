"""Verbs that show what there is: in a file, or in the folders of runs."""

from pathlib import Path

from .verb import Verbs, add_verb


def add_verbs(verbs: Verbs) -> None:
    _add_inspect(verbs)
    _add_report(verbs)


def _add_inspect(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "inspect",
        run="fairseq_minimodel.report.inspect.command:inspect",
        help="what a checkpoint, pack, module, data or tokenizer is, or where two models differ",
        example="checkpoints/en/checkpoint_last.pt packs/de data/en",
        description="Prints what each path is: sizes, vocabulary, heads, what was frozen, lineage, "
        "training so far. Nothing in it is run.",
    )
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="checkpoint, dict.txt or tokenizer; or a folder: language pack, task module, binarised "
        "data, plugged model, model in Hugging Face's form",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="two checkpoints, language packs or task modules: the settings and the parts that differ",
    )
    parser.add_argument(
        "--json",
        dest="output",
        metavar="FILE",
        help="write it as JSON, too; - prints that alone",
    )


def _add_report(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "report",
        run="fairseq_minimodel.report.html:report",
        help="one page from run folders: scores, compute, learning curves, tokenizers, settings",
        example="outputs/seed1 outputs/seed2 outputs/seed3 --output report.html",
        description="Writes a page of HTML that needs no network, and its charts as PNG. What lies in "
        "the folders, at any depth, is shown: logs of fairseq-train with --log-format json, language "
        "packs, data of prepare, scores (--json of evaluate, retrieve and perplexity).",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("report.html"),
        metavar="FILE",
        help="the page (default: %(default)s)",
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="for the PNGs (default: beside the page, report_files)",
    )
    parser.add_argument(
        "--source",
        metavar="LANGUAGE",
        help="the language that others are compared with (default: that of pretraining)",
    )
