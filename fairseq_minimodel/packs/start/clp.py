"""CLP-Transfer: rows weighted by how near tokens are in a helper model."""

import torch
from torch import Tensor

from ...errors import InputError
from ..settings import ClpSettings
from .helper import read_helper
from .rule import Pair, Run
from .vectors import TokenVectors
from .weighted import Weigh, WeightedMeans

COVERED = 0.5  # share of the target vocabulary that a helper has at least


class Clp(WeightedMeans):
    """Means of the common rows, weighted by the cosines of the tokens' vectors in a helper model.

    Ostendorff and Rehm 2023, arXiv 2301.09626. Special symbols take no part in the means.

    Args:
        helper: vectors of a model in the target vocabulary.
        top_k: only so many nearest tokens count.
        temperature: weights exp(cosine / temperature) instead of the cosine.

    Raises:
        InputError: the helper has less than half of the target vocabulary, or a value is out of range.
    """

    name = "clp"
    other_rows = "mean of the copied rows, weighted by a helper model"
    needs = "a small model in the target vocabulary"
    Settings = ClpSettings

    def __init__(
        self,
        pair: Pair,
        generator: torch.Generator,
        helper: TokenVectors,
        top_k: int | None = None,
        temperature: float | None = None,
    ) -> None:
        super().__init__(pair, generator, helper, clp_weights(top_k, temperature))
        covered = sum(row not in pair.special for row in self.places)
        tokens = len(pair.symbols) - len(pair.special)
        if covered < COVERED * tokens:
            raise InputError(
                f"{helper.origin} has {covered} of the {tokens} tokens of the target vocabulary: a "
                "helper must have the vocabulary of the target; train one on the target's data, or "
                "take --initialise focus"
            )

    @classmethod
    def for_run(cls, pair: Pair, run: Run) -> "Clp":
        settings = run.settings
        if settings.helper is None:
            raise InputError(
                "--initialise clp needs --helper PATH, a model in the target vocabulary: a "
                "checkpoint, a language pack, or a folder in Hugging Face's form"
            )
        helper = read_helper(settings.helper, settings.helper_dict)
        top_k, temperature = settings.initialise_top_k, settings.initialise_temperature
        return cls(pair, run.generator, helper, top_k, temperature)


def clp_weights(top_k: int | None = None, temperature: float | None = None) -> Weigh | None:
    """The weights of CLP-Transfer: the cosines (None), those of the nearest tokens, or their softmax.

    Raises:
        InputError: a value is out of range.
    """
    if top_k is not None and top_k < 1:
        raise InputError(f"--initialise-top-k {top_k} is below 1")
    if temperature is not None and not temperature > 0:
        raise InputError(f"--initialise-temperature {temperature} is not above 0")
    if top_k is None and temperature is None:
        return None

    def weigh(cosines: Tensor) -> Tensor:
        nearest = cosines.topk(min(top_k or cosines.size(1), cosines.size(1)))
        values = nearest.values
        if temperature is not None:
            values = torch.softmax(values / temperature, dim=1)
        return torch.zeros_like(cosines).scatter_(1, nearest.indices, values)

    return weigh
