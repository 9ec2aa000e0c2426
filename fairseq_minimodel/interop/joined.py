"""Modules that Hugging Face's files have as one, one below the other: Wqkv and Wi of ModernBERT."""

import torch
from torch import Tensor

from ..bodies.family import Family
from ..bodies.language_side import StateDict


def split_joined(theirs: StateDict, family: Family) -> StateDict:
    """The tensors with those of joined modules in parts, under the names of `Family.layer`.

    What does not divide stays as it is.
    """
    found: StateDict = {}
    for name, tensor in theirs.items():
        module, _, kind = name.rpartition(".")
        whole = next((one for one in family.joined_there if module.endswith(f".{one}")), None)
        parts = family.joined_there[whole] if whole else ()
        divides = isinstance(tensor, Tensor) and tensor.dim() and parts
        if not divides or tensor.size(0) % len(parts):
            found[name] = tensor
            continue
        start = module.removesuffix(whole)
        for part, rows in zip(parts, tensor.chunk(len(parts)), strict=True):
            found[f"{start}{part}.{kind}"] = rows
    return found


def join(theirs: StateDict, family: Family) -> StateDict:
    """The inverse of `split_joined`."""
    joined = dict(theirs)
    for whole, parts in family.joined_there.items():
        for name in [name for name in theirs if name.endswith(f".{parts[0]}.weight")]:
            start = name.removesuffix(f"{parts[0]}.weight")
            rows = [joined.pop(f"{start}{part}.weight") for part in parts]
            joined[f"{start}{whole}.weight"] = torch.cat(rows)
    return joined
