"""Gather in one folder what an installation without a network needs (docs/install.md).

It runs before anything is installed, so it uses pip and the standard library alone.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
# hydra-core needs it, and it is published as source only; plain Python, so one wheel serves all.
SOURCE_ONLY = "antlr4-python3-runtime==4.9.*"
UNREACHABLE = re.compile("connection broken|connection error|Max retries exceeded", re.IGNORECASE)
# Even to download a source package, pip asks the package's build system for its name and version.
# fairseq's would need PyTorch to answer; this module takes the place of setuptools and just answers.
STAND_IN = r"""
from pathlib import Path

NAME, VERSION = "{}", "{}"


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = Path(metadata_directory, NAME.replace("-", "_") + "-" + VERSION + ".dist-info")
    folder.mkdir()
    text = "Metadata-Version: 2.1\nName: " + NAME + "\nVersion: " + VERSION + "\n"
    (folder / "METADATA").write_text(text)
    return folder.name
"""


class GatherError(Exception):
    """What is wrong and the way out, in one sentence."""


def main() -> None:
    options = parse_arguments()
    try:
        check(options)
        size = gather(options)
    except GatherError as error:
        print(f"gather: error: {error}", file=sys.stderr)
        sys.exit(2)
    print(
        f"{options.folder}: {size / 1e6:,.0f} MB for Python {options.python_version}, "
        f"{platform.machine()}, glibc {options.glibc} or newer. Copy it to the machine without a "
        f"network; there: sh {options.folder.name}/install.sh ENVIRONMENT"
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--fairseq", required=True, metavar="NAME==VERSION")
    parser.add_argument("--torch", required=True, help="as pip takes it; '' leaves PyTorch out")
    parser.add_argument(
        "--python-version",
        default=".".join(platform.python_version_tuple()[:2]),
        help="Python of the machine without a network (default: the one that runs this)",
    )
    parser.add_argument(
        "--with", default="", dest="others", metavar="REQUIREMENTS", help="to install besides"
    )
    parser.add_argument("--glibc", default="2.28", help="the oldest glibc to serve (default: 2.28)")
    return parser.parse_args()


def check(options: argparse.Namespace) -> None:
    """Raises: GatherError: the folder has something in it, or nothing could be gathered for that."""
    if options.python_version not in PYTHONS:
        raise GatherError(
            f"fairseq-minimodel supports Python {PYTHONS[0]} to {PYTHONS[-1]}, not "
            f"{options.python_version}: name the version on the other machine, as in 3.11"
        )
    if not re.fullmatch(r"2\.\d+", options.glibc):
        raise GatherError(
            f"{options.glibc} is not a version of glibc: take the last word of the first line of "
            "`ldd --version` on the other machine, as in 2.28"
        )
    if platform.system() != "Linux":
        raise GatherError(f"gather on Linux: what pip finds on {platform.system()} may not fit")
    if options.folder.exists() and not options.folder.is_dir():
        raise GatherError(f"{options.folder} is a file: name a new folder")
    if options.folder.exists() and any(options.folder.iterdir()):
        raise GatherError(f"{options.folder} is not empty: name a new folder")


def gather(options: argparse.Namespace) -> int:
    """Fill a folder beside `options.folder` and rename it at the end; returns its size in bytes."""
    target = options.folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial"))
    try:
        wheels = folder / "wheels"
        wheels.mkdir()
        write_requirements(options, folder / "requirements.txt")
        download_fairseq(options.fairseq, wheels)
        build_wheels(wheels)
        download_wheels(options, folder)
        write_target(options, folder / "target")
        shutil.copy(ROOT / "offline" / "install.sh", folder)
        copy_measurements(folder)
        size = write_checksums(folder)
        folder.chmod(0o755)  # mkdtemp makes folders private
        folder.replace(target)
        return size
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_requirements(options: argparse.Namespace, path: Path) -> None:
    """The project's requirements but for PyTorch, which install.sh may find in place; pip; others."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("torch>=")]
    path.write_text("\n".join(["pip", *lines, *options.others.split()]) + "\n")


def copy_measurements(folder: Path) -> None:
    """What benchmarks/gpu.sh needs: the benchmarks, the tests and their settings."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in ("benchmarks", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)


def download_fairseq(requirement: str, wheels: Path) -> None:
    """Download fairseq's source without running any of it."""
    with tempfile.TemporaryDirectory() as folder:
        stand_in = Path(folder, "setuptools")
        stand_in.mkdir()
        (stand_in / "__init__.py").touch()
        (stand_in / "build_meta.py").write_text(STAND_IN.format(*requirement.split("==")))
        arguments = ["--no-deps", "--no-build-isolation", "--no-binary=:all:", "--dest", wheels]
        pip("download", *arguments, requirement, PYTHONPATH=folder)


def build_wheels(wheels: Path) -> None:
    """Wheels of what has none on the package index: this project, and a package in plain Python."""
    with tempfile.TemporaryDirectory() as folder:
        # From a copy: setuptools leaves a folder `build` beside setup.py, and packs what is in it.
        for name in ("setup.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, folder)
        for name in ("fairseq_minimodel", "examples"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, Path(folder, name), ignore=ignored)
        pip("wheel", "--no-deps", "--use-pep517", "--wheel-dir", wheels, folder, SOURCE_ONLY)


def download_wheels(options: argparse.Namespace, folder: Path) -> None:
    """Download what requirements.txt names, PyTorch if wanted, and what these need in turn."""
    minor, machine = int(options.glibc.split(".")[1]), platform.machine()
    # pip compares platforms by name: a wheel for an older glibc fits, but is not found by itself.
    tags = [f"manylinux_2_{version}_{machine}" for version in range(minor, 4, -1)]
    tags += [f"{name}_{machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1")]
    requirements = ["-r", folder / "requirements.txt"]
    if options.torch:
        requirements = ["-r", ROOT / "requirements.txt", "pip", options.torch]
        requirements += options.others.split()
    pip(
        "download", "--only-binary=:all:", "--python-version", options.python_version,
        *[f"--platform={tag}" for tag in tags], "--find-links", folder / "wheels",
        "--dest", folder / "wheels", *requirements,
    )  # fmt: skip


def pip(*arguments: object, **environment: str) -> None:
    """Run pip with the settings that the user has for it; what it prints is seen.

    Raises: GatherError: pip fails.
    """
    result = subprocess.run(
        [sys.executable, "-m", "pip", *map(str, arguments)],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    sys.stderr.write(result.stderr)
    if result.returncode == 0:
        return
    if UNREACHABLE.search(result.stderr):
        raise GatherError(
            "pip cannot reach the package index: gather on a machine with a network, or give pip "
            "its proxy (HTTPS_PROXY) or another index (PIP_INDEX_URL)"
        )
    errors = re.findall(r"^ERROR: (.+)|(No module named pip)$", result.stderr, re.MULTILINE)
    reason = "".join(errors[-1]) if errors else "its message is above"
    raise GatherError(f"pip {arguments[0]} failed: {reason}")


def write_target(options: argparse.Namespace, path: Path) -> None:
    """What the folder is for; install.sh reads it as shell variables."""
    oldest_torch = re.search(r"^torch>=([\d.]+)", (ROOT / "requirements.txt").read_text(), re.M)[1]
    path.write_text(
        f"python_version={options.python_version}\n"
        f"machine={platform.machine()}\n"
        f"glibc={options.glibc}\n"
        f"torch='{options.torch}'\n"
        f"oldest_torch={oldest_torch}\n"
    )


def write_checksums(folder: Path) -> int:
    """List the SHA-256 of every file in SHA256SUMS; returns the sum of their sizes in bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with open(folder / "SHA256SUMS", "w") as sums:
        names = [path.relative_to(folder) for path in files]
        subprocess.run(["sha256sum", *names], cwd=folder, stdout=sums, check=True)
    return sum(path.stat().st_size for path in files)


if __name__ == "__main__":
    main()
