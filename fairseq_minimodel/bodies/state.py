"""The state dict of a body: its present names, and whether its tensors fit each other."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from ..errors import InputError
from ..kinds import TOKEN_HEADS
from .family import Family
from .identity import IDENTIFIERS, family_of_state, is_identifier
from .language_side import StateDict
from .settings import AGAIN
from .tensors import (
    AUXILIARY_HEAD,
    CLASSIFICATION_HEAD,
    EMBEDDING,
    HEAD,
    LAYER,
    MIDDLE_NORM,
    OUTPUT_BIAS,
    OUTPUT_PROJECTION,
    POSITIONS,
    VERSION,
)
from .weights import check_shapes, without_prefix


def with_present_names(state: StateDict, family: Family) -> StateDict:
    """The state dict as fairseq has it since 0.10, whichever fairseq wrote it.

    The changes are those that fairseq makes when a model loads such a state dict
    (`upgrade_state_dict_named` of its modules), so that a lineage comes out the same here and there.
    Names lose what DistributedDataParallel puts before them.
    """
    present: StateDict = {}
    pattern, modules = family.joined
    for name, tensor in without_prefix(state).items():
        name = family.present_name(name)
        if match := pattern.match(name):
            for module, rows in zip(modules, tensor.chunk(len(modules)), strict=True):
                present[f"{match[1]}{module}.{match[2]}"] = rows.contiguous()
        else:
            present[name] = tensor
    if EMBEDDING in present:
        present.setdefault(VERSION, torch.Tensor([1]))
    return present


def check_state(path: Path, state: StateDict, family: Family) -> None:
    """Refuse tensors that do not fit each other, before anything is made of them.

    Raises:
        InputError: a layer, a tensor or a dimension is missing.
    """
    numbers = {match[1] for name in state if (match := LAYER.match(name))}
    lost = {str(number) for number in range(len(numbers))} - numbers
    if lost or not numbers:
        there = sorted(numbers, key=lambda number: (len(number), number))
        raise InputError(
            f"{path} is not a complete {family.name}: it has tensors of {len(numbers)} layers, and "
            "they are not numbered from 0 on without a gap "
            f"({', '.join(there[-3:]) or 'none'} the last)"
        )
    matrices = [EMBEDDING, *[POSITIONS] * family.has_positions, family.ffn]
    matrices += [family.key] * bool(family.key)
    check_presence(path, state, matrices, family)
    for name in matrices:
        if state[name].dim() != 2:
            raise InputError(
                f"{path} has {name} of the shape {tuple(state[name].shape)}, and it is a matrix: the "
                f"file is damaged or not of a {family.name}"
            )
    heads = {match[0] for name in state if (match := AUXILIARY_HEAD.match(name))}
    first = family.head[0].here if family.head else MIDDLE_NORM.removesuffix(".")
    heads = {head for head in {HEAD, *heads} if f"{head}{first}.weight" in state}
    shapes = family.shapes(range(len(numbers)), sizes_of_state(state, family), heads)
    # A model without its MLM head may lack the output bias, and the embedding under another name.
    required = [name for name in shapes if name not in (OUTPUT_PROJECTION, OUTPUT_BIAS)]
    check_presence(path, state, required, family)
    check_shapes(path, state, shapes)
    check_presence(path, state, _missing_of_tasks(state, family), family)


def sizes_of_state(state: StateDict, family: Family) -> dict[str, int]:
    """The sizes of a body, by their letters in the shapes of a `Family`."""
    vocabulary, width = state[EMBEDDING].shape
    positions = state[POSITIONS].size(0) if family.has_positions else 0
    keys = state[family.key].size(0) if family.key else width
    return {
        "V": vocabulary, "P": positions, "d": width, "f": state[family.ffn].size(0), "k": keys,
    }  # fmt: skip


def checked_family(path: Path, state: StateDict) -> Family:
    """The family of a state dict whose tensors were found to be what the family has.

    Raises:
        InputError: as in `check_state`; or an identifier is damaged, or the family not known.
    """
    for name in IDENTIFIERS:
        if name in state and not is_identifier(state[name]):
            raise InputError(f"{path} is damaged: {name} is not an identifier; {AGAIN}")
    family = family_of_state(state)
    if family is None:
        raise InputError(
            f"{path} is a model of a family that this version does not know: update "
            "fairseq-minimodel, or copy the file again"
        )
    check_state(path, state, family)
    return family


def _missing_of_tasks(state: StateDict, family: Family) -> Iterator[str]:
    """What heads of tasks lack. fairseq would fill it with whatever it has drawn (RobertaModel,
    `upgrade_state_dict_named`). Of weights that a task module computes, the parts are there."""
    found = {match[1] for name in state if (match := CLASSIFICATION_HEAD.match(name))}
    for head in (*found, *TOKEN_HEADS):
        names = [one.here for one in family.head_parameters(head)]
        there = {one for one in names if any(f"{name}.".startswith(f"{one}.") for name in state)}
        if there:
            yield from (name for name in names if name not in there)


def check_presence(path: Path, state: StateDict, names: Iterable[str], family: Family) -> None:
    """Refuse a state dict that lacks one of the tensors, with an `InputError`."""
    missing = [name for name in names if name not in state]
    if missing:
        raise InputError(f"{path} is not a complete {family.name}: it lacks {missing[0]}; {AGAIN}")
