"""The language side with which a language starts on a body: from files to the rule and its result."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ...bodies.checkpoint import Checkpoint
from ...bodies.language_side import LanguageSide
from ...bodies.training_files import find_training_file, symbols_of
from ...corpus.cleaning import cleaning_of
from ...corpus.indexed import TOKENS, read_items
from ...errors import InputError
from ...vocabulary.matching import normalised_by, spelled_out
from ...vocabulary.symbols import read_symbols
from ...vocabulary.tokenizers import TOKENIZER_FILES, Vocabulary, folds_case, load_tokenizer
from ..pack import DICTIONARY, tokenizer_in
from . import RULES, Pair, Run, StartReport
from .translations import Reader

logger = logging.getLogger(__name__)


def start_language(
    base: Checkpoint,
    data: str | Path,
    initialise: str,
    settings: object,
    seed: int,
    source_dict: str | Path | None = None,
) -> tuple[LanguageSide, StartReport]:
    """The language side of the language of some data, started from a body's own.

    Args:
        data: folder that `prepare` or fairseq-preprocess wrote, or several, with colons between them,
            of which the first counts.
        initialise: the name of a rule.
        settings: has an attribute for each setting of each rule.
        seed: of what is drawn.
        source_dict: dict.txt of the body (default: beside it, or in its data folder).

    Raises:
        InputError: a file or a setting is missing or does not do.
    """
    rule, folder = RULES[initialise], Path(str(data).split(":")[0])
    source_dict = source_dict or find_training_file(base, DICTIONARY)
    source, target = symbols_of(base, source_dict), read_symbols(folder / DICTIONARY)
    becomes = None
    if rule.compares_tokens:
        source = spelled_out(source, source_dict)
        target = spelled_out(target, folder / DICTIONARY)
        becomes = _normalisation(base, folder)
    pair = Pair.of(base.language_side(), source, target, becomes)

    def text() -> tuple[Iterator[np.ndarray], str]:
        path = folder / "train"
        if not path.with_name(path.name + TOKENS).is_file():
            raise InputError(
                f"there is no {path}.bin: --initialise {initialise} needs the training text"
            )
        return read_items(path), str(path)

    def readers() -> tuple[Reader, Reader]:
        own = find_training_file(base, *TOKENIZER_FILES)
        return _reader(own, Path(source_dict)), _reader(tokenizer_in(folder), folder / DICTIONARY)

    run = Run(settings, torch.Generator().manual_seed(seed), text, readers)
    return rule.for_run(pair, run).start()


def _reader(tokenizer: Path, dictionary: Path) -> Reader:
    return Reader(Vocabulary(tokenizer, dictionary), cleaning_of(tokenizer.parent))


def _normalisation(base: Checkpoint, folder: Path):
    """What the body's tokenizer makes of a text; None: it is not there, or cannot be read here."""
    try:
        tokenizer = load_tokenizer(find_training_file(base, *TOKENIZER_FILES))
        own = tokenizer_in(folder)
        if folds_case(tokenizer) and own.is_file() and not folds_case(load_tokenizer(own)):
            logger.warning(
                "the tokenizer of %s folds case and %s does not: prepare the data with --body, or "
                "--case fold",
                base.path,
                own,
            )
    except InputError:
        return None
    return normalised_by(tokenizer)
