"""Models on the Hub of Hugging Face, fetched into the cache of its library."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError

NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
SETTINGS = ("*.json", "*.txt", "*.model", "*.codes")
WEIGHTS = (
    ("*.safetensors",),
    ("pytorch_model*.bin",),
)  # the second where there is none of the first


def local_folder(model: str | Path, patterns: Sequence[str] = ()) -> Path:
    """The folder of a model: the given one, or that of a model of this name on the Hub.

    Args:
        patterns: of the files that are needed; none: of all that `import-hf` reads.

    Raises:
        InputError: there is neither such a folder nor such a model, or no network.
    """
    if Path(model).exists() or not NAME.fullmatch(str(model)):
        return Path(model)
    from huggingface_hub import snapshot_download  # imported late: few runs need it

    try:
        if patterns:
            return Path(snapshot_download(str(model), allow_patterns=list(patterns)))
        for weights in WEIGHTS:
            files = [*SETTINGS, *weights]
            folder = Path(snapshot_download(str(model), allow_patterns=files))
            if any(any(folder.glob(pattern)) for pattern in weights):
                break
    except Exception as error:  # of the network, of the Hub: the library has a class for each
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"there is no folder {model}, and the Hub gives no model of that name "
            f"({type(error).__name__}: {reason}): check the name and the network"
        ) from None
    return folder
