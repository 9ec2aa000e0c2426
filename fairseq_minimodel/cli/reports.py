"""Verbs that say what a file is."""

from pathlib import Path

from .verb import Verbs, add_verb


def add_verbs(verbs: Verbs) -> None:
    _add_inspect(verbs)


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
