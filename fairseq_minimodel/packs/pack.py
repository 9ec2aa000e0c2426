"""A language pack: the folder in which a language is kept, apart from any body.

language.safetensors      embed_tokens.weight (V x d), lm_head.bias (V); of families that do not tie the
                          output projection to it, lm_head.weight (V x d) in the place of the bias
dict.txt                  fairseq's dictionary: row i of the embedding is symbol i
sentencepiece.bpe.model   the tokenizer; of some models from Hugging Face tokenizer.json instead
language.json             what the pack is and how it came about
"""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors.torch

from ..bodies.language_side import LanguageSide, language_side_of
from ..bodies.tensors import EMBEDDING, OUTPUT_BIAS, OUTPUT_PROJECTION
from ..bodies.weights import check_weights, read_safetensors
from ..errors import InputError
from ..files.atomic import atomic_folder
from ..files.outputs import FolderForm
from ..files.records import read_record
from ..terminal.progress import waiting
from ..terminal.text import plain
from ..vocabulary.symbols import fingerprint, read_symbols
from ..vocabulary.tokenizers import (
    SENTENCEPIECE_FILE,
    TOKENIZER_FILES,
    Vocabulary,
    tokenizer_file,
)

WEIGHTS = "language.safetensors"
DICTIONARY = "dict.txt"
DESCRIPTION = "language.json"
PACK = FolderForm("a language pack", (WEIGHTS, DICTIONARY, DESCRIPTION), TOKENIZER_FILES)
LONGEST_NAME = 100  # characters
# of the tensors, by their names in the state dict of a model
NAMES = {
    EMBEDDING: "embed_tokens.weight", OUTPUT_BIAS: "lm_head.bias", OUTPUT_PROJECTION: "lm_head.weight",
}  # fmt: skip
AGAIN = "make the pack again with `fairseq-minimodel pack`"


@dataclass(frozen=True)
class Description:
    """What language.json holds. `None`: not known.

    Attributes:
        language: name of the language, as the user calls it ("de").
        lineage: identifier of the family of bodies that the pack fits.
        vocabulary: fingerprint of the symbols and their order.
        vocabulary_size, width: V and d.
        depth: number of layers over which the language side was trained.
        updates, tokens, seconds: length of that training; the seconds are those of its steps.
        flops: floating-point operations of that training (`cost/flops.py`).
        validation_loss: the last one, in bits per token, over the model it was trained with.
        versions: of the software that made it.
    """

    language: str
    lineage: str
    vocabulary: str
    vocabulary_size: int
    width: int
    depth: int
    updates: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    flops: int | None = None
    validation_loss: float | None = None
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LanguagePack:
    """A language side with its vocabulary, its tokenizer and where it comes from."""

    description: Description
    side: LanguageSide
    symbols: list[str]
    folder: Path

    @property
    def tokenizer(self) -> Path:
        return tokenizer_in(self.folder)

    @property
    def dictionary(self) -> Path:
        return self.folder / DICTIONARY


def check_language(name: str) -> None:
    """Refuse a name of a language that could not name a folder, or be printed on one line.

    Raises:
        InputError: it is empty, too long, or has other characters than a name.
    """
    if not name.strip() or len(name) > LONGEST_NAME:
        raise InputError(
            f"--language {name!r}: give a name of 1 to {LONGEST_NAME} characters, as de or swahili"
        )
    if name != plain(name) or any(letter in "/\\\t\n" for letter in name) or name[0] in ". ":
        raise InputError(
            f"--language {name!r}: give a name without slashes, line breaks and control characters "
            "that does not begin with a dot or a blank, as de or swahili"
        )


def tokenizer_in(folder: str | Path) -> Path:
    """The tokenizer in a folder, of whichever kind; where there is none, a SentencePiece model."""
    files = [Path(folder) / name for name in TOKENIZER_FILES]
    return next((file for file in files if file.is_file()), files[0])


def check_tokenizer(tokenizer: str | Path, dictionary: str | Path) -> None:
    """Refuse a SentencePiece model that is damaged or not the dictionary's with an `InputError`.

    Only a library that is not always there reads a tokenizer.json.
    """
    if tokenizer_file(tokenizer) == SENTENCEPIECE_FILE:
        Vocabulary(tokenizer, dictionary)


def save_pack(
    folder: str | Path,
    side: LanguageSide,
    description: Description,
    dictionary: str | Path,
    tokenizer: str | Path,
) -> None:
    """Write a pack, replacing a former one at the same place in one step.

    Raises:
        InputError: something else stands there, `description` has no name of a language, the
            dictionary or the tokenizer cannot be read, or the dictionary is not the one that the
            language side was trained with.
    """
    check_language(description.language)
    _check(f"the dictionary {dictionary}", side, description, read_symbols(dictionary))
    if not Path(tokenizer).is_file():
        raise InputError(
            f"no tokenizer {tokenizer}: give the SentencePiece model that the text was encoded with "
            "(--sentencepiece-model FILE)"
        )
    with waiting(f"writing {folder}"), atomic_folder(folder, PACK) as partial:
        tensors = {NAMES[name]: tensor.contiguous() for name, tensor in side.tensors.items()}
        safetensors.torch.save_file(tensors, partial / WEIGHTS)
        shutil.copyfile(dictionary, partial / DICTIONARY)
        shutil.copyfile(tokenizer, partial / tokenizer_file(tokenizer))
        text = json.dumps(asdict(description), indent=2, ensure_ascii=False)
        (partial / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def read_description(path: Path) -> Description:
    """What a language.json says. Raises InputError if it is damaged."""
    return read_record(path, Description, AGAIN)


def load_pack(folder: str | Path, *, finite: bool = True) -> LanguagePack:
    """Read a pack and check that its parts belong together.

    Args:
        finite: refuse weights that are NaN or infinite.

    Raises:
        InputError: a file is missing or damaged, or the parts do not fit each other.
    """
    folder = Path(folder)
    for file in (
        *(folder / name for name in (DESCRIPTION, WEIGHTS, DICTIONARY)),
        tokenizer_in(folder),
    ):
        if not file.is_file():
            raise InputError(
                f"{folder} is not a language pack: it has no {file.name}; "
                "make one with `fairseq-minimodel pack`"
            )
    description = read_description(folder / DESCRIPTION)
    tensors = read_safetensors(folder / WEIGHTS, AGAIN)
    is_untied = NAMES[OUTPUT_PROJECTION] in tensors and NAMES[OUTPUT_BIAS] not in tensors
    output = OUTPUT_PROJECTION if is_untied else OUTPUT_BIAS
    for name in (NAMES[EMBEDDING], NAMES[output]):
        if name not in tensors:
            raise InputError(f"{folder / WEIGHTS} is damaged (it has no {name}); {AGAIN}")
    check_weights(folder / WEIGHTS, tensors, AGAIN, finite=finite)
    side = language_side_of({name: tensors[NAMES[name]] for name in (EMBEDDING, output)})
    symbols = read_symbols(folder / DICTIONARY)
    _check(f"{folder / DICTIONARY}", side, description, symbols)
    return LanguagePack(description, side, symbols, folder)


def _check(
    dictionary: str, side: LanguageSide, description: Description, symbols: list[str]
) -> None:
    """Refuse a language side whose rows are not the symbols of the dictionary."""
    rows = side.embedding.shape
    output, expected = (side.bias, rows[:1]) if side.is_tied else (side.projection, rows)
    if len(rows) != 2 or output.shape != expected:
        raise InputError(
            f"the language side has an embedding of shape {tuple(rows)} and an output "
            f"{'bias' if side.is_tied else 'projection'} of shape {tuple(output.shape)}: they do not "
            "belong together"
        )
    if (side.vocabulary_size, side.width) != (description.vocabulary_size, description.width):
        raise InputError(
            f"the language side is {side.vocabulary_size} x {side.width}, and its description says "
            f"{description.vocabulary_size} x {description.width}"
        )
    if len(symbols) != side.vocabulary_size:
        raise InputError(
            f"{dictionary} has {len(symbols)} symbols with the special ones, and the language side "
            f"has {side.vocabulary_size} rows; give the dict.txt of its training data"
        )
    if fingerprint(symbols) != description.vocabulary:
        raise InputError(
            f"{dictionary} has the right number of symbols and is not the dictionary that the "
            "language side was trained with: other symbols, or another order"
        )
