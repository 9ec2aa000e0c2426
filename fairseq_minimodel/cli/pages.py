"""The verb that makes a page to read."""

from pathlib import Path

from .verb import Verbs, add_verb


def add_verbs(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "report",
        run="fairseq_minimodel.report.html:report",
        help="one page from run folders: learning curves, scores, tokenizers, neighbours, settings",
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
