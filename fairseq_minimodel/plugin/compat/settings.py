"""Text of settings, which a config or a checkpoint may bring, is read as values and never run."""

import ast
import math
import sys
from collections.abc import Callable

from fairseq.optim.adam import FairseqAdam

from ...errors import InputError

# What a setting that is a value may be made of, and the sums and products that fairseq's own have.
VALUES = (
    ast.Expression, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Load,
    ast.BinOp, ast.Add, ast.Mult, ast.UnaryOp, ast.USub,
)  # fmt: skip
MOST_REPEATED = 1_000_000


def read_value(text: str) -> object:
    """The value that a text stands for: numbers, texts, lists of them; nothing is called.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text is needed, not {text!r}")  # as the built-in `eval`
    try:
        tree = ast.parse(text.strip(), mode="eval")
        nodes = list(ast.walk(tree))
        factors = [
            side.value
            for node in nodes
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)
            for side in (node.left, node.right)
            if isinstance(side, ast.Constant) and isinstance(side.value, int)
        ]
        # a list that is repeated so often would fill the memory
        if all(isinstance(node, VALUES) for node in nodes) and math.prod(factors) <= MOST_REPEATED:
            return eval(compile(tree, "<setting>", "eval"), {"__builtins__": {}})
    except (SyntaxError, TypeError, ValueError, MemoryError, RecursionError):
        pass
    raise InputError(
        f'the setting "{text}" is not a value: give numbers, as in 0.9 or (0.9, 0.98); it is never run'
    )


def read_settings_as_values() -> None:
    """Hide the built-in `eval` in each module of fairseq, which reads some options with it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("fairseq.") and module is not None:
            vars(module).setdefault("eval", read_value)


def name_bad_betas(read_config: Callable[[FairseqAdam], dict]) -> property:
    """Name the option where `--adam-betas` is not two numbers; fairseq has a traceback."""

    def optimizer_config(self: FairseqAdam) -> dict:
        try:
            config = read_config(self)
            first, second = map(float, config["betas"])
        except (TypeError, ValueError):
            first = second = math.nan
        if not (0 <= first < 1 and 0 <= second < 1):
            raise InputError(
                f'--adam-betas "{self.cfg.adam_betas}" is not two numbers from 0 to below 1, as in '
                '"(0.9, 0.98)"'
            )
        return config

    return property(optimizer_config)


read_settings_as_values()
FairseqAdam.optimizer_config = name_bad_betas(FairseqAdam.optimizer_config.fget)
