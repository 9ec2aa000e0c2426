"""One call of `prepare`: its files and settings, what is refused before the work, what it has done."""

import unicodedata
from dataclasses import asdict, dataclass
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files.formats import refuse_structure
from ..files.records import read_json
from ..files.text import TextFile
from ..terminal.progress import ProgressFile
from ..vocabulary.tokenizers import Vocabulary, load_tokenizer
from .buckets import is_json_lines
from .indexed import check_folder_name
from .options import PrepareOptions
from .record import AGAIN, RECORD_NAME


@dataclass(frozen=True)
class Run:
    """One call of `prepare`; the fields as its arguments, paths resolved."""

    sources: list[Path]
    output: Path
    workers: int
    given_model: Path | None
    given_dictionary: Path | None
    options: PrepareOptions

    @property
    def work(self) -> Path:
        """The folder of work files."""
        return self.output.with_name(f".{self.output.name}.work")

    @property
    def buckets(self) -> Path:
        return self.work / "buckets"

    @property
    def encoded(self) -> Path:
        return self.work / "encoded"

    def settings(self) -> dict[str, Any]:
        """Everything but the text that decides the output."""
        versions = {"sentencepiece": version("sentencepiece")}
        if self.options.moses_punctuation is not None:
            versions["sacremoses"] = version("sacremoses")
        if self.options.unicode_normalisation != "none":
            versions["unicode"] = unicodedata.unidata_version
        options = asdict(self.options)
        options["user_defined_symbols"] = list(self.options.user_defined_symbols)  # as JSON has it
        return {
            "options": options,
            "sentencepiece_model": self.given_model and digest(self.given_model),
            "dictionary": self.given_dictionary and digest(self.given_dictionary),
            "versions": versions,
        }

    def check(self) -> None:
        """Refuse, before hours of work, what is wrong with an option or a file (InputError)."""
        if self.workers < 1:
            raise InputError(f"--workers is {self.workers}, but it must be at least 1.")
        if self.given_dictionary is not None and self.given_model is None:
            raise InputError("--dict is given without --sentencepiece-model; give both.")
        check_folder_name(self.output)
        for path in self.sources:
            self._check_source(path)
        if self.given_model is not None:
            self._check_given_vocabulary()

    def _check_source(self, path: Path) -> None:
        if path.is_fifo() or path.is_char_device():
            raise InputError(
                f"{path} is a pipe or a device, and prepare reads files more than once: write the "
                "text to a file first."
            )
        with TextFile(path) as file:
            if self.options.text_format == "auto" and not file.is_json_lines:
                refuse_structure(
                    file.head, path, "; if it is plain text nevertheless, give --text-format plain"
                )

    def _check_given_vocabulary(self) -> None:
        load_tokenizer(self.given_model)
        if self.given_dictionary is not None:
            Vocabulary(self.given_model, self.given_dictionary)
        for name in ("normalisation_rule", "user_defined_symbols"):
            if getattr(self.options, name) != getattr(PrepareOptions, name):
                raise InputError(
                    f"--{name.replace('_', '-')} is for a vocabulary that is trained here, but "
                    f"--sentencepiece-model {self.given_model} has been: give one of the two."
                )

    def has_plain_text(self) -> bool:
        for path in self.sources:
            with TextFile(path) as file:
                if not is_json_lines(file, self.options):
                    return True
        return False

    def is_finished(self) -> bool:
        """Whether the output is there already. Raises InputError if something else is."""
        if not self.output.exists() or (self.output.is_dir() and not any(self.output.iterdir())):
            return False
        way_out = "remove it or give another --output"
        try:
            record = read_json(self.output / RECORD_NAME, AGAIN)
            same_settings = all(record[key] == value for key, value in self.settings().items())
            inputs = sorted((entry["bytes"], entry["blake2b"]) for entry in record["inputs"])
            files = dict(record["files"])
        except (LookupError, TypeError, ValueError):
            raise InputError(
                f"{self.output} exists and holds no finished output of prepare; {way_out}."
            ) from None
        if not same_settings:
            raise InputError(f"{self.output} was prepared with other options; {way_out}.")
        sizes = sorted(path.stat().st_size for path in self.sources)
        for name, size in files.items():
            path = self.output / name
            if not path.is_file() or path.stat().st_size != size:
                raise InputError(f"{path} is missing or was changed; {way_out}.")
        if sizes != [size for size, _ in inputs] or inputs != sorted(
            (path.stat().st_size, digest(path)) for path in self.sources
        ):
            raise InputError(f"{self.output} was prepared from other text; {way_out}.")
        return True


def digest(path: Path) -> str:
    """The BLAKE2b hash of a file, as `TextFile.digest` has it."""
    found = blake2b(digest_size=16)
    with ProgressFile(path, "r", f"checking {path.name}") as file:
        while data := file.read(1 << 20):
            found.update(data)
    return found.hexdigest()
