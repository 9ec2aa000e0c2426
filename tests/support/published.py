"""Files laid out as a benchmark's authors publish them; all sentences are invented."""

import io
import tarfile
import zipfile
from pathlib import Path

SHAPES = ("folder", "zip", "tar.gz", "tgz")


def publish(folder: Path, files: dict[str, str | bytes], shape: str = "folder") -> Path:
    """The files below a folder or in an archive, with what macOS adds; returns its path."""
    junk = {"__MACOSX/" + name.replace("/", "/._"): b"\x00\x05\x16\x07" for name in files}
    contents = {
        name: text if isinstance(text, bytes) else text.encode()
        for name, text in {**junk, **files, "data/.DS_Store": b"\x00"}.items()
    }
    path = folder / ("published" if shape == "folder" else f"published.{shape}")
    if shape == "folder":
        for name, data in contents.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    elif shape == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data/", b"")  # a folder has an entry of its own
            for name, data in contents.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz") as archive:
            folder_entry = tarfile.TarInfo("./data")
            folder_entry.type = tarfile.DIRTYPE
            archive.addfile(folder_entry)
            for name, data in contents.items():
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def tsv(*rows: tuple[str, ...]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)
