"""Linear layers whose weight is a function of the weight that they keep."""

from torch import Tensor, nn
from torch.nn import functional


class EffectiveLinear(nn.Linear):
    """A linear layer that reads as if its weight were `change(weight)`.

    `weight` is the changed weight, computed when it is read: by this layer, or by code that takes
    the weight and never calls the layer, such as PyTorch's attention. The state dict, and the
    optimiser, see the kept weight under the ordinary name `weight`, and the change's own parameters
    under `task_weight`. (PyTorch's `parametrize` does the same under other names, so that the
    checkpoints of a plain model would no longer fit.)

    Args:
        linear: its parameters are kept, not copied.
        change: maps a weight (outputs x inputs) to one of the same shape.
    """

    def __init__(self, linear: nn.Linear, change: nn.Module) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        # Not by assignment, which would read the property below.
        self._parameters["weight"] = linear._parameters["weight"]
        self.bias = linear.bias
        self.task_weight = change

    @property
    def kept_weight(self) -> nn.Parameter:
        return self._parameters["weight"]

    @property
    def weight(self) -> Tensor:
        return self.task_weight(self.kept_weight)


class ShiftedLinear(EffectiveLinear):
    """An `EffectiveLinear` to whose output `change.shift(input)` is added."""

    def forward(self, x: Tensor) -> Tensor:
        """... x inputs to ... x outputs."""
        return functional.linear(x, self.weight, self.bias) + self.task_weight.shift(x)
