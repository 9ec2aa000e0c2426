"""The verb `inspect`. Nothing here waits for torch: only the readers of models need it."""

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files.atomic import write_json
from ..files.outputs import FileForm, check_file, json_form
from ..files.recognise import UNKNOWN, recognise
from .facts import Description

if TYPE_CHECKING:
    from .compare import Comparison

_DESCRIBED = json_form("", "path", "kind", "title", "warnings")
_COMPARED = json_form("", "a", "b", "verdict")
INSPECTED = FileForm(
    "a description", lambda path: _DESCRIBED.is_own(path) or _COMPARED.is_own(path)
)
KNOWN = (
    "a checkpoint, a dict.txt or a tokenizer; or the folder of a language pack, a task module, "
    "binarised data, a plugged model, or a model in Hugging Face's form"
)
# What a folder is, by files or folders in it, and the function that describes it. The first row that
# is there decides.
FOLDERS = (
    ("language.json", "models:describe_pack"),
    ("module.json", "models:describe_module"),
    ("model.pt", "models:describe_checkpoint"),  # of plug
    ("body.pt", "models:describe_checkpoint"),  # of import-hf
    ("config.json", "models:describe_hugging_face"),
    ("windows spans", "data:describe_questions"),
    ("windows tags", "data:describe_tags"),
    ("input0 label", "data:describe_classification"),
    ("*.idx", "data:describe_text"),
    ("[!.]*/*.idx", "data:describe_text"),  # shards; a dot: unfinished
)
COMPARED = ("models:describe_checkpoint", "models:describe_pack", "models:describe_module")


def inspect(paths: Sequence[Path], compare: Sequence[Path] | None, output: str | None) -> None:
    """Print what each file or folder is, or where two of them differ.

    The arguments are those of `InspectOptions`.

    Raises:
        InputError: there is nothing to inspect, `output` holds something else, or a file is missing,
            damaged or of no known kind.
    """
    if bool(paths) == bool(compare):
        raise InputError("give one or more paths to inspect, or --compare A B")
    if output not in (None, "-"):
        check_file(output, INSPECTED, *(paths or compare))
    if compare:
        found = compare_paths(*compare)
        text, content = str(found), found.as_json()
    else:  # one after another: a description of a model holds its weights
        found = [(str(one), one.as_json()) for one in map(describe, paths)]
        text, content = "\n\n".join(text for text, _ in found), [content for _, content in found]
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
    return _load(_reader_of(path))(path)


def compare_paths(a: Path, b: Path) -> "Comparison":
    """Where two checkpoints, language packs, task modules or plugged models differ.

    Raises:
        InputError: one of them is missing, damaged or something else.
    """
    for path in (a, b):
        if _reader_of(path) not in COMPARED:
            raise InputError(
                f"{path} is not a checkpoint, a language pack, a task module or a plugged model: "
                "--compare takes these"
            )
    return _load("compare:compare_models")(describe(a), describe(b))


def _load(name: str) -> Callable:
    """A function of this room, "module:function"."""
    module, function = name.split(":")
    return getattr(import_module(f"{__package__}.{module}"), function)


def _reader_of(path: Path) -> str:
    """The function that describes a path: of a folder by what is in it, of a file by how it begins."""
    if path.is_dir():
        for patterns, reader in FOLDERS:
            if all(any(path.glob(one)) for one in patterns.split()):
                return reader
        names = sorted(file.name for file in path.glob("*.pt"))[:4]
        hint = f" (name one of its checkpoints: {', '.join(names)})" if names else ""
        raise InputError(f"{path} is not a folder that inspect knows{hint}; give {KNOWN}")
    if not path.is_file():
        raise InputError(f"there is no {path}: check the path")
    with open(path, "rb") as file:
        start = file.read(2)
    other = recognise(path)
    if path.suffix == ".txt":
        return "data:describe_dictionary"
    # archives and pickles: the two forms of PyTorch's files
    if path.suffix == ".pt" or (other is None and start in (b"PK", b"\x80\x02")):
        return "models:describe_checkpoint"
    # a message of SentencePiece begins with a piece, its first field
    if path.name == "tokenizer.json" or path.suffix == ".model" or start[:1] == b"\n":
        return "data:describe_tokenizer"
    known = f": it is {other}" if other and other != UNKNOWN else ""
    raise InputError(f"{path} is not a file that inspect knows{known}; give {KNOWN}")
