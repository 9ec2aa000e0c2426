"""Packaging. fairseq is not among the dependencies, on purpose: see requirements.txt."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"', (HERE / "fairseq_minimodel/__init__.py").read_text(), re.MULTILINE
)[1]
REQUIREMENTS = [
    line.split("#")[0].strip()
    for line in (HERE / "requirements.txt").read_text().splitlines()
    if line.split("#")[0].strip()
]


class BuildWithExamples(build_py):
    """Puts examples/ into the package, too: the documentation's commands use its files.

    In a clone, and in an editable installation, they stay where they are: `examples-dir` finds both.
    """

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree(
                HERE / "examples",
                Path(self.build_lib, "fairseq_minimodel", "examples"),
                ignore=shutil.ignore_patterns("__pycache__"),
                dirs_exist_ok=True,
            )


setup(
    cmdclass={"build_py": BuildWithExamples},
    name="fairseq-minimodel",
    version=VERSION,
    description="Mini-model adaptation of masked language models to new languages, for fairseq",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    # The paper of the method; the project itself has no address of its own yet.
    project_urls={"Paper": "https://arxiv.org/abs/2212.10503"},
    keywords=["fairseq", "masked language models", "cross-lingual transfer"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=["fairseq_minimodel", "fairseq_minimodel.*"]),
    package_data={
        "fairseq_minimodel": ["py.typed"],
        "fairseq_minimodel.interop": ["card.md.j2"],
        "fairseq_minimodel.report": ["page.html.j2"],
    },
    install_requires=REQUIREMENTS,
    # for models from Hugging Face with a tokenizer that is not SentencePiece's; transformers itself
    # is needed for nothing here but to load what export-hf writes
    extras_require={"hf": ["tokenizers>=0.20", "transformers>=4.45"]},
    entry_points={"console_scripts": ["fairseq-minimodel = fairseq_minimodel.cli:main"]},
)
