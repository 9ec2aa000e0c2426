"""How a verb is added: its function, its help, and an example."""

import argparse
import textwrap

PROGRAM = "fairseq-minimodel"
Verbs = argparse._SubParsersAction


class _Help(argparse.HelpFormatter):
    """Keeps the lines of a text that has several: the example."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return text
        return super()._fill_text(text, width, indent)


def add_verb(
    verbs: Verbs, name: str, run: str, help: str, example: str, description: str | None = None
) -> argparse.ArgumentParser:
    """Add a verb, and return its parser.

    Args:
        run: the function that does the work, as "module:function"; it gets the options as keywords.
        help: one line.
        example: the options of one complete command.
        description: what `help` does not say (default: `help` again).
    """
    command = textwrap.fill(
        f"{PROGRAM} {name} {example}",
        width=78,
        initial_indent="  ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\n", " \\\n")
    parser = verbs.add_parser(
        name,
        help=help,
        description=description or f"{help[0].upper()}{help[1:]}.",
        epilog=f"example:\n{command}",
        formatter_class=_Help,
    )
    parser.set_defaults(run=run)
    return parser
