"""The verb `inspect`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import InputError
from ...files.atomic import write_json
from ...files.outputs import FileForm, check_file, json_form
from ...files.recognise import UNKNOWN, recognise
from ...kinds.window_options import SPANS, WINDOWS
from ...packs.commands import MODEL
from ...packs.module import DESCRIPTION as MODULE
from ...packs.pack import DESCRIPTION as PACK
from ...vocabulary.tokenizers import FAST_TOKENIZER_FILE
from . import data
from .checkpoint import describe_checkpoint
from .compare import compare as compare_two
from .dataset import shards_in
from .facts import Description
from .folders import (
    CONFIG,
    describe_hugging_face,
    describe_module,
    describe_pack,
)

_DESCRIBED = json_form("", "path", "kind", "title", "warnings")
_COMPARED = json_form("", "a", "b", "verdict")
INSPECTED = FileForm(
    "a description", lambda path: _DESCRIBED.is_own(path) or _COMPARED.is_own(path)
)
BODY = "body.pt"  # the checkpoint's name in a folder of import-hf
KNOWN = (
    "a checkpoint, a dict.txt or a tokenizer; or the folder of a language pack, a task module, "
    "binarised data, a plugged model, or a model in Hugging Face's form"
)


def inspect(paths: Sequence[Path], compare: Sequence[Path] | None, output: str | None) -> None:
    """Print what each file or folder is, or where two of them differ.

    Args:
        paths: of anything that `describe` knows.
        compare: two checkpoints, language packs or task modules, instead of `paths`.
        output: where to write the same as JSON: a file, or "-" for the standard output, in the place
            of the text; None: nowhere.

    Raises:
        InputError: there is nothing to inspect, `output` holds something else, or a file is missing,
            damaged or of no known kind.
    """
    if bool(paths) == bool(compare):
        raise InputError("give one or more paths to inspect, or --compare A B")
    if output not in (None, "-"):
        check_file(output, INSPECTED, *(paths or compare))
    if compare:
        found = compare_two(*compare)
        text, content = str(found), found.as_json()
    else:
        descriptions = [describe(path) for path in paths]
        text = "\n\n".join(map(str, descriptions))
        content = [description.as_json() for description in descriptions]
    if output == "-":
        print(json.dumps(content, indent=2, ensure_ascii=False))
        return
    if output:
        write_json(output, content, INSPECTED)
    print(text)


def describe(path: Path) -> Description:
    """What a file or folder is, by what is in it.

    Raises:
        InputError: there is nothing, it is of no known kind, or it is damaged.
    """
    if path.is_dir():
        return _describe_folder(path)
    if not path.is_file():
        raise InputError(f"there is no {path}: check the path")
    return _reader_of(path)(path)


def _describe_folder(folder: Path) -> Description:
    if (folder / PACK).is_file():
        return describe_pack(folder)
    if (folder / MODULE).is_file():
        return describe_module(folder)
    for name in (MODEL, BODY):
        if (folder / name).is_file():
            return describe_checkpoint(folder / name)
    if (folder / CONFIG).is_file():
        return describe_hugging_face(folder)
    if (folder / WINDOWS).is_dir() and (folder / SPANS).is_dir():
        return data.describe_questions(folder)
    if (folder / data.LABEL).is_dir() and (folder / data.INPUTS[0]).is_dir():
        return data.describe_classification(folder)
    if shards_in(folder):
        return data.describe_text(folder)
    checkpoints = sorted(path.name for path in folder.glob("*.pt"))
    hint = f" (name one of its checkpoints: {', '.join(checkpoints[:4])})" if checkpoints else ""
    raise InputError(f"{folder} is no folder that inspect knows{hint}; give {KNOWN}")


def _reader_of(path: Path) -> Callable[[Path], Description]:
    """The function that describes a file, by how it begins and ends."""
    try:
        with open(path, "rb") as file:
            start = file.read(2)
        other = recognise(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if path.name == FAST_TOKENIZER_FILE:
        return data.describe_tokenizer
    if path.suffix == ".txt":
        return data.describe_dictionary
    # archives and pickles: the two forms of PyTorch's files
    if path.suffix == ".pt" or (other is None and start in (b"PK", b"\x80\x02")):
        return describe_checkpoint
    if path.suffix == ".model" or start[:1] == b"\n":  # of a message, whose first field is a piece
        return data.describe_tokenizer
    known = f": it is {other}" if other and other != UNKNOWN else ""
    raise InputError(f"{path} is no file that inspect knows{known}; give {KNOWN}")
