"""Packaging. fairseq is not among the dependencies, on purpose: see requirements.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"', (HERE / "fairseq_minimodel/__init__.py").read_text(), re.MULTILINE
)[1]
REQUIREMENTS = [
    line.split("#")[0].strip()
    for line in (HERE / "requirements.txt").read_text().splitlines()
    if line.split("#")[0].strip()
]

setup(
    name="fairseq-minimodel",
    version=VERSION,
    description="Mini-model adaptation of masked language models to new languages, for fairseq",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["fairseq_minimodel", "fairseq_minimodel.*"]),
    package_data={"fairseq_minimodel.report": ["page.html.j2"]},
    install_requires=REQUIREMENTS,
    # for models from Hugging Face with a tokenizer that is not SentencePiece's; transformers itself
    # is needed for nothing here but to load what export-hf writes
    extras_require={"hf": ["tokenizers>=0.20", "transformers>=4.45"]},
    entry_points={"console_scripts": ["fairseq-minimodel = fairseq_minimodel.cli:main"]},
)
