"""The options of the verbs of the command itself."""

from dataclasses import dataclass

from ..options import REQUIRED, option


@dataclass(frozen=True, kw_only=True)
class CompletionOptions:
    shell: str = option(REQUIRED, name="", choices=("bash", "zsh", "tcsh"))
