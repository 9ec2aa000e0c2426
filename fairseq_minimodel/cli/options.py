"""Options that several verbs have."""

import argparse
from pathlib import Path


def add_body(parser: argparse.ArgumentParser, help: str = "checkpoint") -> None:
    parser.add_argument("--body", type=Path, required=True, metavar="FILE", help=help)


def add_dictionary(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dict",
        dest="dictionary",
        type=Path,
        metavar="FILE",
        help="dict.txt of the checkpoint (default: beside it, or in its data folder)",
    )


def add_module(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--module", type=Path, metavar="FOLDER", help="task module that was trained over the body"
    )


def add_labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="dict.txt of the labels (default: the one in the data that was trained on)",
    )


def add_answering(parser: argparse.ArgumentParser) -> None:
    """How a body that was fine-tuned for questions answers them."""
    from ..corpus.window_options import MAX_ANSWER, add_window_arguments

    parser.add_argument(
        "--max-answer",
        type=int,
        default=MAX_ANSWER,
        metavar="N",
        help="questions: tokens of the longest answer (default: %(default)s)",
    )
    add_window_arguments(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="of PyTorch (default: a GPU if there is one)")


def add_output(
    parser: argparse.ArgumentParser,
    metavar: str,
    help: str = "to make",
    former: str = "a former one is replaced, anything else refused",
) -> None:
    """The output, which must come from the same verb where it is there (`outputs.py`)."""
    help = f"{help}; {former}"
    parser.add_argument("--output", type=Path, required=True, metavar=metavar, help=help)


def add_json(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--json", dest="output", type=Path, metavar="FILE", help=help)
