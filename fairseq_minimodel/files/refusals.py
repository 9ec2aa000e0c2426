"""What the system refuses because of a path, a right or a disk, in one sentence."""

import errno
import os
import re
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT}
_OF_WRITING = {*_FULL, errno.EFBIG, errno.EROFS}
_OF_PATHS = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}
_OF_PATHS |= {errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.ESTALE}
_OF_RIGHTS = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY, errno.EIO}
_OF_THE_USER = _OF_WRITING | _OF_PATHS | _OF_RIGHTS


def explain(error: OSError, path: str | Path | None = None) -> str | None:
    """One sentence for what the system refused. None: it is not of the kind that a user can help.

    Args:
        path: what was to be written; None: what the error names.
    """
    if error.errno not in _OF_THE_USER:
        return None
    reason = (error.strerror or os.strerror(error.errno)).lower()
    path = path or error.filename
    if path is None:
        return f"nothing more can be written: {reason}; check the disk and where the output goes"
    path = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
    if error.errno in _FULL:
        return (
            f"cannot write {path}: {reason} (the disk at {_disk_of(Path(path))}); free some of it, "
            "or write elsewhere"
        )
    verb = "write" if error.errno in _OF_WRITING else "use"
    return f"cannot {verb} {path}: {reason}; check the path and your rights there, or give another"


def cause_of(error: BaseException) -> OSError | None:
    """What the system refused, whichever library reports it in its own way."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno:
            return seen
        if number := re.search(r"\(os error (\d+)\)", str(seen)):  # safetensors
            return OSError(int(number[1]), os.strerror(int(number[1])))
        seen = seen.__cause__ or seen.__context__
    if "PytorchStreamWriter failed" in str(error):  # torch.save does not keep the number
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return None


def concerns_writing(error: OSError, path: Path, unfinished: Path) -> bool:
    """Whether it is about writing `path`, and not about something that is read meanwhile.

    Args:
        unfinished: what the paths begin with that stand for `path` until it is finished.
    """
    names = [
        os.fsdecode(name)
        for name in (error.filename, error.filename2)
        if isinstance(name, (str, bytes, os.PathLike))
    ]
    ours = str(unfinished)
    about_us = any(name == str(path) or name.startswith(ours) for name in names)
    return error.errno in _OF_WRITING or about_us or not names


def _disk_of(path: Path) -> Path:
    """Where the disk is mounted that holds, or would hold, a path."""
    folder = Path(os.path.abspath(path))
    while not os.path.ismount(folder) and folder != folder.parent:
        folder = folder.parent
    return folder
