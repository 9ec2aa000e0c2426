"""The options of `report`."""

from dataclasses import dataclass
from pathlib import Path

from ..options import REQUIRED, option


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    runs: list[Path] = option(REQUIRED, "folder", name="", metavar="RUN")
    output: Path = option(Path("report.html"), "the page")
    pictures: Path | None = option(
        None, "for the PNGs (default: beside the page, report_files)", metavar="FOLDER"
    )
    source: str | None = option(
        None,
        "the language that others are compared with (default: that of pretraining)",
        metavar="LANGUAGE",
    )
