"""What a file is that was taken for one of PyTorch's, by how it begins."""

import codecs
import re
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

START = 4096  # bytes that are looked at
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# First bytes, and what has them.
COMPRESSED = "compressed ({}): unpack it"
BEGINNINGS = (
    (LFS_POINTER, "a Git LFS pointer, which stands in the place of the file: run `git lfs pull`"),
    (b"\x1f\x8b", COMPRESSED.format("gzip")),
    (b"BZh", COMPRESSED.format("bzip2")),
    (b"\xfd7zXZ\x00", COMPRESSED.format("xz")),
    (b"\x28\xb5\x2f\xfd", COMPRESSED.format("zstd")),
    (b"7z\xbc\xaf\x27\x1c", COMPRESSED.format("7-Zip")),
    (b"\x93NUMPY", "an array of NumPy (.npy)"),
    (b"\x89HDF", "an HDF5 file, as Keras writes models: get the model's weights of PyTorch"),
    (b"GGUF", "a GGUF file, as llama.cpp reads models: get the model's weights of PyTorch"),
)
UNKNOWN = "no file of PyTorch, but something else"
PICKLE = b"\x80"
OLD_TAR = {"storages", "tensors", "pickle"}
DICTIONARY_LINE = re.compile(r"\S+ \d+( #fairseq:overwrite)?")


def recognise(path: str | Path) -> str | None:
    """What a file is, in words, with the way out where there is one; None if it may be PyTorch's.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(START)
    if not start:
        return "empty: copy or fetch it again"
    for beginning, words in BEGINNINGS:
        if start.startswith(beginning):
            return words
    if start.startswith(b"PK"):
        return _archive(path)
    if start.startswith(PICKLE):
        return None
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return (
            "a safetensors file: `fairseq-minimodel import-hf` reads it, with config.json and the "
            "tokenizer beside it in one folder"
        )
    if start[257:262] == b"ustar":
        return _tar(path)
    return _text(start) or UNKNOWN


def _archive(path: str | Path) -> str | None:
    """A zip archive, which torch.save writes, too."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return None  # cut off: PyTorch says so
    names = [member.filename.partition("/")[2] for member in members]
    if "constants.pkl" in names:
        return "a TorchScript program, which is code: save the state dict of its model"
    if "data.pkl" not in names:
        files = [member.filename for member in members]
        return f"a zip archive of {_listed(files)}: unpack it"
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        return "a compressed zip archive, as torch.save writes none: write it again with torch.save"
    return None


def _tar(path: str | Path) -> str:
    try:
        with tarfile.open(path) as archive:
            names = archive.getnames()
    except (tarfile.TarError, ValueError, EOFError):
        names = []
    if OLD_TAR.issubset(names):
        return (
            "in a form that PyTorch wrote before 2017 and that cannot be read without running code "
            "in it: get the model in a present form"
        )
    return f"a tar archive of {_listed(names)}: unpack it"


def _text(start: bytes) -> str | None:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # the last letter may be cut
    except UnicodeDecodeError:
        return None
    if not all(character.isprintable() or character.isspace() for character in text):
        return None
    begin = text.lstrip("\ufeff \t\r\n")[:500].lower()
    if begin.startswith(("<!doctype", "<html")) or "<html" in begin:
        return "a web page, perhaps one that says why there was no file: fetch it again"
    if begin[:1] in ("{", "["):
        return "a JSON file"
    lines = text.splitlines()
    lines = lines[:-1] if len(start) == START and len(lines) > 1 else lines
    if all(DICTIONARY_LINE.fullmatch(line.rstrip()) for line in lines):
        return "a dictionary of fairseq (dict.txt)"
    return "a text file"


def _listed(names: Sequence[str]) -> str:
    shown = [name if name.isprintable() else ascii(name) for name in names[:3]]
    return (", ".join(shown) or "nothing") + ", ..." * (len(names) > 3)
