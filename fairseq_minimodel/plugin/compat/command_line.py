"""The command line of fairseq's training: its help, and warnings that are not for its user."""

import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Sequence

import fairseq.options

from .around import Former, around

HELP = ("-h", "--help")
TRAINING = "fairseq_cli.train"
# Warnings for those who write fairseq and Hydra: what they call is deprecated, or was renamed.
AUTHORS = r"(hydra|fairseq|omegaconf)(\.|$)"
MESSAGES = (
    r"\s*'\w+' is validated against ConfigStore schema",  # Hydra's, of no module
    r"'pin_memory' argument is set as true but no accelerator is found",
    r"`torch\.",  # is deprecated
)


def leave_out_warnings_of_dependencies() -> None:
    """In this process, unless it was told what to do with warnings (-W, PYTHONWARNINGS)."""
    if not sys.warnoptions:
        for category in (UserWarning, FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=AUTHORS)
            for message in MESSAGES:
                warnings.filterwarnings("ignore", message, category=category)


@around(fairseq.options, "parse_args_and_arch")
def parse_args_and_arch(
    parse: Former,
    parser: ArgumentParser,
    input_args: Sequence[str] | None = None,
    *args: object,
    **options: object,
) -> object:
    """fairseq's, with all options in the help.

    fairseq prints the help while it finds out which model, task, criterion and optimiser are asked
    for, before it has added their options.
    """
    if input_args is None and TRAINING in sys.modules:  # the command line of this process
        leave_out_warnings_of_dependencies()
    asked = list(sys.argv[1:] if input_args is None else input_args)
    if any(word in HELP for word in asked):
        parse_known_args = parser.parse_known_args

        def parse_without_help(*unused: object) -> object:
            del parser.parse_known_args  # the next one prints it
            return parse_known_args([word for word in asked if word not in HELP])

        parser.parse_known_args = parse_without_help
    return parse(parser, input_args, *args, **options)
