"""Linear layers whose weight is a function of the weight that they keep."""

from torch import Tensor, nn
from torch.nn import functional


class Change(nn.Module):
    """What becomes of a linear layer. This one leaves the bias as it is, and the output alone.

    Attributes:
        reads_input: whether `shift` is added to the output, so that the layer must be called.
    """

    reads_input = False

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that counts; outputs x inputs, in and out."""
        raise NotImplementedError

    def change_bias(self, bias: Tensor) -> Tensor:
        """The bias that counts."""
        return bias

    def shift(self, x: Tensor) -> Tensor:
        """What is added to the output: ... x inputs to ... x outputs."""
        raise NotImplementedError


class EffectiveLinear(nn.Linear):
    """A linear layer that reads as if its weight were `change(weight)`, and its bias likewise.

    `weight` is the changed weight, computed when it is read: by this layer, or by code that takes
    the weight and never calls the layer, such as PyTorch's attention. The state dict, and the
    optimiser, see the kept weight under the ordinary name `weight`, and the change's own parameters
    under `task_weight`. (PyTorch's `parametrize` does the same under other names, so that the
    checkpoints of a plain model would no longer fit.)

    Args:
        linear: its parameters are kept, not copied.
    """

    def __init__(self, linear: nn.Linear, change: Change) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        # Not by assignment, which would read the properties below.
        self._parameters.update(linear._parameters)
        self.task_weight = change

    @property
    def kept_weight(self) -> nn.Parameter:
        return self._parameters["weight"]

    @property
    def weight(self) -> Tensor:
        return self.task_weight(self.kept_weight)

    @property
    def bias(self) -> Tensor:
        return self.task_weight.change_bias(self._parameters["bias"])

    def forward(self, x: Tensor) -> Tensor:
        """... x inputs to ... x outputs."""
        y = functional.linear(x, self.weight, self.bias)
        return y + self.task_weight.shift(x) if self.task_weight.reads_input else y
