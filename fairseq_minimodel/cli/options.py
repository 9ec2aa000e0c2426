"""Options that several verbs have."""

import argparse
from pathlib import Path

# The benchmarks, by kind, without a wait for the modules that read them.
LABELLED = ("xnli", "multinli", "snli", "snli-counterfactual", "pawsx", "sib200")
ANSWERED = ("squad", "mlqa", "xquad", "tydiqa-goldp")
MOST = 2**31  # above the numbers that options take


def positive(text: str) -> int:
    """A whole number of at least 1: the type of an option."""
    number = whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is too small: give at least 1")
    return number


def not_negative(text: str) -> int:
    """A whole number of at least 0: the type of an option."""
    number = whole(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is too small: give at least 0")
    return number


def whole(text: str) -> int:
    """A whole number that a count of the computer's can hold: the type of an option."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if abs(number) >= MOST:
        raise argparse.ArgumentTypeError(f"{text} is too large: give less than {MOST}")
    return number


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
    from ..kinds.window_options import MAX_ANSWER, add_window_arguments

    parser.add_argument(
        "--max-answer",
        type=positive,
        default=MAX_ANSWER,
        metavar="N",
        help="questions: tokens of the longest answer (default: %(default)s)",
    )
    add_window_arguments(parser, positive, recorded=True)


def add_bad_offsets(parser: argparse.ArgumentParser) -> None:
    """What becomes of answers in a file of questions that stand elsewhere than it says."""
    from ..kinds.window_options import BAD_OFFSETS, REFUSE

    parser.add_argument(
        "--bad-offsets",
        choices=BAD_OFFSETS,
        default=REFUSE,
        help="questions: where an answer does not stand in its context at answer_start, refuse the "
        "file, skip the answer, or take the nearest place where it stands (default: %(default)s)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="of PyTorch (default: a GPU if there is one)")


def add_output(
    parser: argparse.ArgumentParser,
    metavar: str,
    help: str = "to make",
    former: str = "a former one is replaced, anything else refused",
) -> None:
    """The output, which must come from the same verb where it is there (`files/outputs.py`)."""
    help = f"{help}; {former}"
    parser.add_argument("--output", type=Path, required=True, metavar=metavar, help=help)


def add_json(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--json", dest="output", type=Path, metavar="FILE", help=help)
