"""Installing without a network: gathering and install.sh for real, with made-up packages of no size.

Only fairseq's compiling is left out. The real packages need a network and minutes (docs/install.md).
"""

import ensurepip
import importlib.util
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.package_files import files_in, files_of_the_package

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
VERSION = "{}.{}".format(*sys.version_info)
# What the made-up setuptools does with the made-up fairseq: it notes what it was compiled against.
SETUPTOOLS = """
import os, zipfile
import torch

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name = "fairseq_fixed-0.12.3.1.dist-info"
    os.mkdir(os.path.join(folder, name))
    with open(os.path.join(folder, name, "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: fairseq-fixed\\nVersion: 0.12.3.1\\n"
                   "Requires-Dist: torchaudio\\n")
    return name

def build_wheel(folder, config_settings=None, metadata_directory=None):
    module = f"torch = {torch.__version__!r}; cuda_home = {os.environ.get('CUDA_HOME')!r}"
    name = "fairseq_fixed-0.12.3.1-py3-none-any.whl"
    info = "fairseq_fixed-0.12.3.1.dist-info"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("fairseq.py", module)
        wheel.writestr(f"{info}/METADATA",
                       "Metadata-Version: 2.1\\nName: fairseq-fixed\\nVersion: 0.12.3.1\\n"
                       "Requires-Dist: torchaudio\\n")
        wheel.writestr(f"{info}/WHEEL",
                       "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", f"fairseq.py,,\\n{info}/METADATA,,\\n{info}/WHEEL,,\\n")
    return name
"""


def files_of(name, version, modules):
    """What a wheel of that package unpacks to."""
    info = f"{name}-{version}.dist-info"
    files = {
        **modules,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    return files


def write_wheel(folder, name, version, tag="py3-none-any", **modules):
    name = name.replace("-", "_")
    modules = {f"{path}.py": text for path, text in modules.items()} or {f"{name}.py": ""}
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as wheel:
        for path, text in files_of(name, version, modules).items():
            wheel.writestr(path, text)


def load_gather():
    spec = importlib.util.spec_from_file_location("gather", ROOT / "offline" / "gather.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(arguments, **variables):
    """Run it with no settings of pip and make but those given."""
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith(("PIP_", "MAKE"))
    }
    return subprocess.run(
        [str(argument) for argument in arguments],
        env={**environment, "PIP_CONFIG_FILE": os.devnull, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def gather(packages, folder, *settings, **variables):
    """`make gather` with a folder for the package index."""
    local = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(packages)}
    local["PIP_NO_BUILD_ISOLATION"] = "0"  # pip reads it as --no-build-isolation; 1 is the opposite
    return command(
        ["make", "-C", ROOT, "gather", f"PYTHON={sys.executable}", f"FOLDER={folder}",
         "TORCH=torch==2.13.0", "FAIRSEQ=fairseq-fixed==0.12.3.1", *settings],
        **{**local, **variables},
    )  # fmt: skip


def install(folder, *arguments, **variables):
    return command(
        ["sh", folder / "install.sh", *arguments], **{"PYTHON": sys.executable, **variables}
    )


def refusal(result):
    """The one sentence of a refusal."""
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return re.findall(r"^(?:gather|install\.sh): error: (.+)", result.stderr, re.MULTILINE)[-1]


def ask(environment, code):
    result = command(
        [environment / "bin" / "python", "-c", f"import fairseq, torch; print({code})"]
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def version_in(environment, package):
    return ask(environment, f"__import__('importlib.metadata').metadata.version('{package}')")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A package index in a folder: pip itself, and the names that the project needs."""
    folder = tmp_path_factory.mktemp("packages")
    bundled = list((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if not bundled:
        pytest.skip("this Python has no wheel of pip with it")
    shutil.copy(bundled[0], folder)
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if found := re.match(r"([\w-]+)(?:==([\d.]+))?", line):
            write_wheel(folder, found[1], found[2] or "2.13.0")
    write_wheel(folder, "antlr4-python3-runtime", "4.9.3")
    write_wheel(folder, "torch", "2.13.0", torch="__version__ = '2.13.0'")
    backend = {"setuptools/__init__": "", "setuptools/build_meta": SETUPTOOLS}
    write_wheel(folder, "setuptools", "2.13.0", **backend)
    system = '[build-system]\nrequires = ["torch"]\nbuild-backend = "setuptools.build_meta"\n'
    with tarfile.open(folder / "fairseq_fixed-0.12.3.1.tar.gz", "w:gz") as archive:
        for name, text in {"pyproject.toml": system, "setup.py": "import no_such_module"}.items():
            entry = tarfile.TarInfo(f"fairseq_fixed-0.12.3.1/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return folder


@pytest.fixture(scope="module")
def gathered(packages, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gathered") / "folder"
    result = gather(packages, folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"for Python {VERSION}" in result.stdout
    assert os.listdir(folder.parent) == ["folder"]
    return folder


@pytest.fixture
def folder(gathered, tmp_path):
    """A copy to install from, with this project made up too: the real one needs real packages."""
    copy = shutil.copytree(gathered, tmp_path / "copied here")
    (own,) = (copy / "wheels").glob("fairseq_minimodel-*.whl")
    own.unlink()
    write_wheel(copy / "wheels", "fairseq-minimodel", "0.1", fairseq_minimodel="__version__ = '0'")
    (copy / "requirements.txt").write_text("setuptools\nnumpy\ntqdm\n")  # the rest takes seconds
    return sum_again(copy)


def sum_again(folder):
    (folder / "SHA256SUMS").unlink()
    load_gather().write_checksums(folder)
    return folder


def test_the_folder_has_everything(gathered, packages):
    check = command(["sh", "-c", f"cd '{gathered}' && sha256sum --check --strict SHA256SUMS"])
    assert check.returncode == 0, check.stdout
    listed = {line.split(": ")[0] for line in check.stdout.splitlines()}
    found = {str(path.relative_to(gathered)) for path in gathered.rglob("*") if path.is_file()}
    assert listed == found - {"SHA256SUMS"}

    names = {path.name for path in (gathered / "wheels").iterdir()}
    (own,) = [name for name in names if name.startswith("fairseq_minimodel-")]
    assert names - {own} == {path.name for path in packages.iterdir()}
    with zipfile.ZipFile(gathered / "wheels" / own) as wheel:
        modules = {name for name in wheel.namelist() if name.startswith("fairseq_minimodel/")}
    assert modules == files_of_the_package()
    for name in ("benchmarks", "tests"):  # for benchmarks/gpu.sh
        assert files_in(gathered / name) == files_in(ROOT / name)
    assert os.access(gathered / "benchmarks/gpu.sh", os.X_OK)


def test_another_python_an_older_glibc_and_no_pytorch(packages, tmp_path):
    index = shutil.copytree(packages, tmp_path / "index")
    for version, tag in {
        "3.0": "cp310-cp310-manylinux_2_17",
        "4.0": "cp310-cp310-manylinux_2_31",
        "5.0": "cp39-cp39-manylinux_2_17",
    }.items():
        write_wheel(index, "numpy", version, f"{tag}_{os.uname().machine}")
    for version in ("1.0", "2.0"):
        write_wheel(index, "pytest", version)
    write_wheel(index, "transformers", "3.0")
    settings = ["TORCH=", "FOR_PYTHON=3.10", "FOR_GLIBC=2.28", "WITH=pytest<2 transformers"]
    result = gather(index, tmp_path / "folder", *settings)
    assert result.returncode == 0, result.stderr
    wheels = tmp_path / "folder" / "wheels"
    assert [path.name.split("-")[1] for path in wheels.glob("numpy-*")] == ["3.0"]
    assert not list(wheels.glob("torch-*"))
    requirements = (tmp_path / "folder" / "requirements.txt").read_text().splitlines()
    assert not [line for line in requirements if line.startswith("torch")]
    assert requirements[-2:] == ["pytest<2", "transformers"]
    assert [path.name.split("-")[1] for path in wheels.glob("pytest-*")] == ["1.0"]
    assert list(wheels.glob("transformers-*"))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("FOR_PYTHON=3.9", "supports Python 3.10 to 3.13, not 3.9: name the version"),
        ("FOR_PYTHON=3.11.7", "not 3.11.7"),
        ("FOR_GLIBC=musl", "musl is not a version of glibc: take the last word"),
    ],
)
def test_what_cannot_be_gathered(setting, sentence, packages, tmp_path):
    assert sentence in refusal(gather(packages, tmp_path / "folder", setting))
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_left_alone(packages, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is not empty: name a new folder" in refusal(gather(packages, tmp_path))
    assert "is a file: name a new folder" in refusal(gather(packages, tmp_path / "file"))
    assert "name a new folder: make gather FOLDER=" in gather(packages, "").stderr
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "mine"


def test_gathering_without_a_network(packages, tmp_path):
    with socket.socket() as server:  # bound and not listening: every connection is refused
        server.bind(("localhost", 0))
        url = f"http://localhost:{server.getsockname()[1]}/simple"
        variables = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": url, "PIP_RETRIES": "1"}
        result = gather(tmp_path, tmp_path / "new" / "folder", **variables)
    assert refusal(result).startswith("pip cannot reach the package index: gather on a machine")
    assert not list((tmp_path / "new").iterdir())


def test_a_package_that_the_index_does_not_have(packages, tmp_path):
    result = gather(packages, tmp_path / "folder", "FAIRSEQ=fairseq-fixed==9.9")
    missing = "No matching distribution found for fairseq-fixed==9.9"
    assert refusal(result) == f"pip download failed: {missing}"
    assert not list(tmp_path.iterdir())


def test_a_new_environment_from_the_folder_alone(folder, gathered, tmp_path):
    """Nothing that pip is set to use elsewhere is used, and nothing is connected to."""
    shutil.copy(gathered / "requirements.txt", folder)
    sum_again(folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_wheel(elsewhere, "tqdm", "99.0")
    environment = tmp_path / "a venv"
    with socket.create_server(("localhost", 0)) as proxy:
        proxy.setblocking(False)
        url = f"http://localhost:{proxy.getsockname()[1]}"
        result = install(
            folder, environment, PIP_FIND_LINKS=str(elsewhere), PIP_INDEX_URL=url,
            HTTP_PROXY=url, HTTPS_PROXY=url, CUDA_HOME="/usr/local/cuda",
        )  # fmt: skip
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Installed: fairseq-minimodel 0 with PyTorch 2.13.0" in result.stdout
    assert ask(environment, "fairseq.torch, fairseq.cuda_home") == "2.13.0 None"
    assert version_in(environment, "tqdm") == "2.13.0"
    assert version_in(environment, "hydra-core") == "1.3.2" and version_in(environment, "pip")


def test_a_pytorch_in_an_environment_stays(folder, tmp_path):
    environment = environment_with_torch(tmp_path / "venv", "2.7.0+cu126")
    (tmp_path / "elsewhere").mkdir()
    write_wheel(tmp_path / "elsewhere", "tqdm", "99.0")
    setting = f"[global]\nfind-links = {tmp_path / 'elsewhere'}\n"
    (environment / "pip.conf").write_text(setting)
    result = install(folder, environment, PYTHON="no-such-python")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Keeping PyTorch 2.7.0+cu126" in result.stdout
    assert "Installed: fairseq-minimodel 0 with PyTorch 2.7.0+cu126" in result.stdout
    assert ask(environment, "torch.__version__, fairseq.torch") == "2.7.0+cu126 2.7.0+cu126"
    assert version_in(environment, "tqdm") == "2.13.0"


def environment_with_torch(environment, version):
    """An environment with that PyTorch, a fairseq compiled for another, and this project of before."""
    assert command([sys.executable, "-m", "venv", "--without-pip", environment]).returncode == 0
    (packages,) = environment.glob("lib/python*/site-packages")
    put(packages, "torch", version, {"torch.py": f"__version__ = '{version}'"})
    put(packages, "fairseq_minimodel", "0.1", {"fairseq_minimodel.py": "__version__ = 'old'"})
    put(packages, "fairseq_fixed", "0.12.3.1", {"fairseq.py": "torch = 'another'"})
    return environment


def put(folder, name, version, modules):
    for path, text in files_of(name, version, modules).items():
        (folder / path).parent.mkdir(exist_ok=True, parents=True)
        (folder / path).write_text(text)


def test_a_pytorch_of_the_python_stays(folder, tmp_path):
    """As where a cluster's module puts PyTorch on PYTHONPATH."""
    module = tmp_path / "module"
    put(module, "torch", "2.10.0a0+git1", {"torch.py": "__version__ = '2.10.0a0+git1'"})
    with zipfile.ZipFile(next((folder / "wheels").glob("setuptools-*"))) as wheel:
        wheel.extractall(module)  # the made-up one, before one that the Python may have
    result = install(folder, "--keep-torch", tmp_path / "venv", PYTHONPATH=str(module))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Keeping PyTorch 2.10.0a0+git1" in result.stdout
    assert not list(tmp_path.glob("venv/lib/python*/site-packages/torch*"))
    setting = (tmp_path / "venv" / "pyvenv.cfg").read_text()
    assert "include-system-site-packages = true" in setting


def test_a_pytorch_that_is_too_old(folder, tmp_path):
    environment = environment_with_torch(tmp_path / "venv", "2.5.1")
    sentence = refusal(install(folder, environment))
    assert sentence.startswith("PyTorch 2.5.1 is there, but 2.6 is needed: ")
    assert not list(environment.glob("lib/python*/site-packages/tqdm*"))


def test_a_folder_without_pytorch(folder, tmp_path):
    target = folder / "target"
    target.write_text(re.sub("^torch=.*", "torch=''", target.read_text(), flags=re.M))
    result = install(sum_again(folder), tmp_path / "venv")
    assert refusal(result).startswith("this folder has no PyTorch, and ")
    assert not (tmp_path / "venv").exists()


def test_no_pytorch_to_keep(folder, tmp_path):
    command([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"])
    result = install(folder, "--keep-torch", tmp_path / "venv")
    assert "has no PyTorch to keep: load its module, name the Python that has it" in refusal(result)
    assert (tmp_path / "venv").exists()


@pytest.mark.parametrize("change", ["damaged", "missing", "no list"])
def test_a_folder_that_did_not_come_over_whole(change, folder, tmp_path):
    path = next((folder / "wheels").glob("numpy-*"))
    if change == "damaged":
        path.write_bytes(path.read_bytes()[:-1])
    elif change == "missing":
        path.unlink()
    else:
        path = folder / "SHA256SUMS"
        path.unlink()
    assert refusal(install(folder, tmp_path / "venv")).startswith(f"{path} is ")
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("python_version", "3.9", f"is Python {VERSION} and this folder is for 3.9: name another"),
        ("machine", "vax", f"this machine is {os.uname().machine} and the folder is for vax"),
        ("glibc", "2.999", "and the folder is for glibc 2.999 or newer: gather again with"),
    ],
)
def test_a_folder_for_another_machine(name, value, sentence, folder, tmp_path):
    target = folder / "target"
    target.write_text(re.sub(rf"^{name}=.*", f"{name}={value}", target.read_text(), flags=re.M))
    sum_again(folder)
    assert sentence in refusal(install(folder, tmp_path / "venv"))
    assert not (tmp_path / "venv").exists()


COMPILERS = {
    "no-headers": ("the headers of Python", 'for part; do shift; case $part in -I*) ;; '
                   '*) set -- "$@" "$part" ;; esac; done; exec c++ "$@"'),
    "old": ("does not compile C++17", "echo 'error: unrecognized option -std=c++17' >&2; exit 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPILERS)
def test_a_compiler_that_will_not_do(name, folder, tmp_path):
    sentence, script = COMPILERS[name]
    compiler = tmp_path / name
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    assert sentence in refusal(install(folder, tmp_path / "venv", CXX=str(compiler)))
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("variable", ["CC", "CXX"])
def test_no_compiler(variable, folder, tmp_path):
    result = install(folder, tmp_path / "venv", **{variable: "no-such-compiler -pipe"})
    assert refusal(result).startswith("no compiler no-such-compiler was found, which fairseq needs")
    assert not (tmp_path / "venv").exists()


def test_no_python(folder, tmp_path):
    result = install(folder, tmp_path / "venv", PYTHON="no-such-python")
    assert refusal(result).startswith(f"no-such-python does not run: install Python {VERSION}")


def test_an_environment_that_is_something_else(folder, tmp_path):
    sentence = refusal(install(folder, folder))
    assert sentence == f"{folder} exists and is not a Python environment: name a new folder"
    for wrong in ([], ["--keep-torch"], ["--other", "x"], ["x", "y"], ["--other"]):
        assert refusal(install(folder, *wrong)).startswith("call it as: sh install.sh")


def test_a_failure_leaves_no_half_environment(folder, tmp_path):
    next((folder / "wheels").glob("numpy-*")).unlink()
    result = install(sum_again(folder), tmp_path / "venv")
    assert refusal(result) == "pip could not install this: its message is above"
    assert "No matching distribution found for numpy" in result.stderr
    assert not (tmp_path / "venv").exists()
