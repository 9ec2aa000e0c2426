"""What is made once in a run of pytest, for all its workers."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path


class Once:
    """Folders that the first test to ask for one makes. No test changes what is in them."""

    def __init__(self, base: Path) -> None:
        # each worker has a folder of its own in the folder of the run
        self._base = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
        self._base.mkdir(exist_ok=True)
        self._used: set[str] = set()

    def __call__(self, name: str, make: Callable[[Path], object]) -> Path:
        """The folder `name`, filled by `make(folder)`."""
        folder, record = self._base / name, self._base / f"{name}.json"
        with open(self._base / f"{name}.lock", "w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            if not record.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                folder.mkdir()
                make(folder)
                record.write_text(json.dumps(_files(folder)))
        self._used.add(name)
        return folder

    def check(self) -> None:
        for name in self._used:
            made = json.loads((self._base / f"{name}.json").read_text())
            left = {
                path: state for path, state in _files(self._base / name).items() if path in made
            }
            assert left == made, f"a test has changed files in the shared folder {name}"


def _files(folder: Path) -> dict[str, list[int]]:
    """The size and the time of each file."""
    states = {str(path): path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {path: [state.st_size, state.st_mtime_ns] for path, state in states.items()}
