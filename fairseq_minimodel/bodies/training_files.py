"""Files that belong to a checkpoint: in the folder it lies in, or among its training data."""

from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..kinds.kind import Kind
from ..kinds.registry import kind_of
from ..vocabulary.symbols import fingerprint, read_symbols
from .checkpoint import Checkpoint
from .identity import decode, lineage_of, with_identity
from .tensors import EMBEDDING, VOCABULARY


def symbols_of(checkpoint: Checkpoint, dictionary: str | Path | None = None) -> list[str]:
    """The vocabulary of a checkpoint: one symbol for each row of its embedding.

    Args:
        dictionary: its dict.txt; None: the one beside the checkpoint, or in its training data.

    Raises:
        InputError: there is no dictionary, or it is not the one the model was trained with.
    """
    path = Path(dictionary) if dictionary else find_training_file(checkpoint, "dict.txt")
    symbols = read_symbols(path)
    rows = checkpoint.state[EMBEDDING].size(0)
    if len(symbols) != rows:
        raise InputError(
            f"{path} has {len(symbols)} symbols with the special ones, and {checkpoint.path} has "
            f"{rows} rows: it is not the dictionary of this checkpoint"
        )
    known = checkpoint.state.get(VOCABULARY)
    if known is not None and decode(known) != fingerprint(symbols):
        raise InputError(
            f"{path} has as many symbols as {checkpoint.path} has rows, and is not the dictionary "
            "that it was trained with: other symbols, or another order"
        )
    return symbols


def find_training_file(checkpoint: Checkpoint, *names: str) -> Path:
    """A file of a checkpoint's training data ("dict.txt"), or of the folder it lies in.

    Args:
        names: what it may be called; the first one that is there counts.

    Raises:
        InputError: it is in neither.
    """
    data = str(checkpoint.config.get("task", {}).get("data") or "").split(":")[0]
    folders = [checkpoint.path.parent]
    if data:
        folders += [Path(data), Path(data) / "input0"]
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise InputError(
        f"no {names[0]} for {checkpoint.path}, neither beside it nor in the data folder it was trained "
        "on: put it beside the checkpoint, or name it (--dict, in fairseq-train --source-dict; "
        "--sentencepiece-model; --labels)"
    )


def find_record(
    checkpoint: Checkpoint, given: str | Path | None = None, kind: Kind | None = None
) -> Path | None:
    """The file that its kind of task has beside the training data (`Kind.record`); None: it has none.

    Args:
        given: another one, which the user named.
        kind: None: the one that the checkpoint was trained for last.

    Raises:
        InputError: it is needed and is not there, or the given one is not.
    """
    kind = kind or kind_of(checkpoint.config)
    if given:
        if not Path(given).is_file():
            raise InputError(f"no {given}: check the path (--{kind.record_option})")
        return Path(given)
    try:
        return find_training_file(checkpoint, kind.record) if kind.record else None
    except InputError:  # the data may have moved, or were prepared before there was a record
        if kind.record_is_needed:
            raise
        return None


def identified(checkpoint: Checkpoint, dictionary: str | Path | None = None) -> Checkpoint:
    """The checkpoint with its lineage and vocabulary written into its state.

    Arguments and errors as in `symbols_of`.
    """
    vocabulary = fingerprint(symbols_of(checkpoint, dictionary))
    state = with_identity(checkpoint.state, lineage_of(checkpoint.state), vocabulary)
    return replace(checkpoint, state=state)
