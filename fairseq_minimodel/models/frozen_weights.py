"""Frozen weights in runs of 16 bits (`--bf16`, `--fp16`): checkpoints hold them as they were given.

fairseq turns the whole model to 16 bits, computes with that, and saves that. What is trained has
weights of 32 bits with the optimiser; what is frozen would leave the run rounded, though nothing
trained it.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn


class KeepsFrozenWeights(nn.Module):
    """A model whose `state_dict` has its frozen parameters as they were before they were rounded.

    They take their 4 bytes each in the memory of the host besides.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._before_rounding: dict[str, Tensor] = {}
        self.register_state_dict_post_hook(_put_back)

    def _apply(self, convert: Callable, *args: object, **kwargs: object) -> nn.Module:
        # PyTorch's one way for half(), bfloat16() and to()
        before = {name: parameter.detach() for name, parameter in _frozen(self)}
        super()._apply(convert, *args, **kwargs)
        self._keep(before)
        return self

    def load_state_dict(self, state_dict: Mapping, *args: object, **kwargs: object) -> object:
        """fairseq's, which changes the names in `state_dict` to this model's."""
        result = super().load_state_dict(state_dict, *args, **kwargs)
        self._keep(state_dict)
        return result

    def _keep(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in _frozen(self):
            if name in weights and _bits(weights[name]) > _bits(parameter):
                self._before_rounding[name] = weights[name].cpu()


def _frozen(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if not parameter.requires_grad:
            yield name, parameter


def _bits(tensor: Tensor) -> int:
    return torch.finfo(tensor.dtype).bits


def _put_back(model: KeepsFrozenWeights, state: dict, prefix: str, _: object) -> None:
    for name, parameter in _frozen(model):
        exact = model._before_rounding.get(name)
        if exact is not None and _bits(parameter) < _bits(exact):
            state[prefix + name] = exact
