"""Recognising a model that comes from a known body: its token embeddings are that body's, by bits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..bodies.checkpoint import Checkpoint, read_checkpoint
from ..bodies.identity import lineage_of, with_identity
from ..bodies.tensors import EMBEDDING, HEAD, OUTPUT_BIAS, OUTPUT_PROJECTION
from ..bodies.training_files import find_training_file, symbols_of
from ..errors import InputError
from ..vocabulary.symbols import fingerprint
from ..vocabulary.tokenizers import FILLER, TOKENIZER_FILES, UNK
from .tokenizer import distinct


@dataclass(frozen=True)
class Relative:
    """A known body, from which others may derive.

    Attributes:
        body: the checkpoint.
        symbols: one for each row of its embedding.
        dictionary, tokenizer: its files.
    """

    body: Checkpoint
    symbols: Sequence[str]
    dictionary: Path
    tokenizer: Path


def read_relative(path: Path) -> Relative:
    """A body with its dictionary and tokenizer, which lie beside it or in its training data.

    Raises:
        InputError: one of them is missing or damaged.
    """
    body = read_checkpoint(path)
    body.language_side()  # refuses a body without one
    return Relative(
        body,
        symbols_of(body),
        find_training_file(body, "dict.txt"),
        find_training_file(body, *TOKENIZER_FILES),
    )


def derived(checkpoint: Checkpoint, symbols: Sequence[str], relative: Relative) -> Checkpoint:
    """The checkpoint as a member of the family of the known body, with its lineage and vocabulary.

    Rows behind those of the known body are left out where they say nothing: those that no text leads
    to, and those that are <unk>'s (pieces that the dictionary lacks, of `export-hf`). A model without
    an MLM head gets that of the known body.

    Args:
        symbols: one for each row of the checkpoint's embedding.

    Raises:
        InputError: token embeddings of the two differ.
    """
    known, own = relative.body.state[EMBEDDING], checkpoint.state[EMBEDDING]
    if known.size(1) != own.size(1):
        raise InputError(
            f"{checkpoint.path} is {own.size(1)} wide and {relative.body.path} is {known.size(1)} "
            "wide: the one does not derive from the other; leave --like out"
        )
    if differing := _count_differing(own, symbols, known, distinct(relative.symbols)):
        raise InputError(
            f"{differing:,} of {max(len(own), len(known)):,} rows of the token embeddings of "
            f"{checkpoint.path} are not those of {relative.body.path}, so packs of that lineage will "
            "not fit it: fine-tune it with the token embeddings frozen, or leave --like out, which "
            "gives it a lineage of its own"
        )
    state = dict(checkpoint.state)
    is_tied = checkpoint.family.is_tied
    output = OUTPUT_BIAS if is_tied else OUTPUT_PROJECTION
    if output not in state:
        state |= {
            name: tensor for name, tensor in relative.body.state.items() if name.startswith(HEAD)
        }
    state[EMBEDDING] = known.float()
    state[output] = state[output][: len(known)].float()
    if is_tied:
        state[OUTPUT_PROJECTION] = state[EMBEDDING]
    lineage = lineage_of(relative.body.state)
    state = with_identity(state, lineage, fingerprint(relative.symbols))
    return replace(checkpoint, state=state)


def _count_differing(
    own: torch.Tensor,
    symbols: Sequence[str],
    known: torch.Tensor,
    known_symbols: Sequence[str],
) -> int:
    """How many rows are of another token, or have another embedding, or are there in one of both."""
    shared = min(len(own), len(known))
    same = (own[:shared] == known[:shared].float()).all(dim=1)
    same &= torch.tensor(
        [one == other for one, other in zip(symbols[:shared], known_symbols, strict=False)]
    )
    unknown = known[UNK].float()
    more = sum(
        not (symbols[row].startswith(FILLER) or torch.equal(own[row], unknown))
        for row in range(shared, len(own))
    )
    return shared - int(same.sum()) + more + len(known) - shared
