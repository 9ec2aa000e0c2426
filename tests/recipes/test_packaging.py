"""A source distribution and a wheel, built without a network, and what is installed from the wheel.

Nothing is downloaded: the new environment sees the packages of the one that runs the tests.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.package_files import files_in, files_of_the_package

import fairseq_minimodel

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NOT_IN_A_CLONE = (".*", "__pycache__", "build", "dist", "outputs", "verbs", "*.egg-info")


def command(words, path=None, **options):
    """What the command prints; the folder path stands first on its PATH."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PIP_NO_INDEX")}
    if path:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    words = [str(word) for word in words]
    result = subprocess.run(
        words, env=environment, capture_output=True, text=True, check=False, **options
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip()


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packaging") / "clone"
    return shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_IN_A_CLONE))


@pytest.fixture(scope="module")
def built(clone):
    """The folder with both; the wheel is built from the source distribution."""
    command([sys.executable, "-m", "build", "--no-isolation", "--outdir", "built"], cwd=clone)
    return clone / "built"


def test_the_source_distribution_is_the_whole_clone(clone, built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    expected = {path for path in files_in(clone) if path.split("/")[0] != "built"}
    missing = {path for path in expected - names if "egg-info" not in path}
    assert not missing


def test_the_wheel_has_the_package_with_the_recipes(built):
    (archive,) = built.glob("*.whl")
    with zipfile.ZipFile(archive) as wheel:
        modules = {name for name in wheel.namelist() if name.startswith("fairseq_minimodel/")}
        (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        lines = wheel.read(metadata).decode().splitlines()
    assert modules == files_of_the_package()
    assert "fairseq_minimodel/py.typed" in modules
    assert "fairseq_minimodel/examples/hydra/pretrain.yaml" in modules
    assert f"Version: {fairseq_minimodel.__version__}" in lines
    assert "Classifier: Programming Language :: Python :: 3.13" in lines
    for start in ("Requires-Dist: torch>=2.6", "Project-URL: "):
        assert any(line.startswith(start) for line in lines), start


@pytest.fixture(scope="module")
def programs(built, tmp_path_factory):
    """The folder of the programs of a new environment with the wheel in it."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    command([sys.executable, "-m", "venv", "--without-pip", environment])
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    command([*pip, *built.glob("*.whl")])
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def test_the_installed_command_works_outside_the_clone(programs, tmp_path):
    own = programs / "fairseq-minimodel"
    version = f"fairseq-minimodel {fairseq_minimodel.__version__}"
    assert command([own, "--version"], cwd=tmp_path) == version
    module = [programs / "python", "-m", "fairseq_minimodel"]
    assert command([*module, "--version"], cwd=tmp_path) == version
    assert "evaluate" in command([*module, "--help"], cwd=tmp_path)

    command([own, "toy", "--output", "text", "--sentences", "200"], cwd=tmp_path)
    prepare = ["prepare", "--text", "text/source/mono.txt", "--vocabulary-size", "100"]
    prepare += ["--character-coverage", "1.0", "--workers", "2"]
    command([own, *prepare, "--output", "by-name"], cwd=tmp_path)
    command([*module, *prepare, "--output", "as-module"], cwd=tmp_path)
    for name in ("dict.txt", "train.bin", "valid.bin"):
        one, other = (tmp_path / way / name for way in ("by-name", "as-module"))
        assert one.read_bytes() == other.read_bytes(), name


def test_the_installed_recipes_are_found_and_can_run(programs, tmp_path):
    own = programs / "fairseq-minimodel"
    user_dir, examples = (
        Path(command([own, verb], cwd=tmp_path)) for verb in ("user-dir", "examples-dir")
    )
    assert user_dir.is_relative_to(programs.parent) and examples == user_dir / "examples"
    assert (examples / "hydra" / "pretrain.yaml").is_file()
    assert command([examples / "xnli" / "run.sh", "--list"], path=programs, cwd=tmp_path)


def test_in_a_clone_the_recipes_are_beside_the_package(capsys):
    from fairseq_minimodel.cli import main

    assert main(["examples-dir"]) == 0
    assert capsys.readouterr().out == f"{ROOT / 'examples'}\n"
