"""What several tests share. One thread everywhere: two spinning OpenMP pools are slower than one."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real text and benchmarks; the test is skipped where there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FAIRSEQ_MINIMODEL_DATA", default))
    if not (folder / "mono").is_dir():
        pytest.skip(f"no real data: {folder} has no folder mono (set FAIRSEQ_MINIMODEL_DATA)")
    return folder
