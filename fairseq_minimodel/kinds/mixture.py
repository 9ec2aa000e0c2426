"""Several classifiers as one, mixed anew for each batch so that the prediction is the least uncertain.

Wang, Tsvetkov, Ruder and Neubig 2021, *Efficient Test Time Adapter Ensembling for Low-resource Language
Varieties* (EMEA, arXiv 2109.04877). There the outputs of several languages' adapters are mixed in every
layer. Here a member is a body in the language of a pack, or with a task module, and each cuts a text by
its own tokenizer, so that hidden states of tokens have no counterparts: what is mixed is what the
heads say, before the softmax.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .classification import Classifier, Prediction
from .kind import Speaker

Member = tuple[Classifier, Speaker]


@dataclass(frozen=True)
class Mixing:
    """How members are mixed.

    Attributes:
        steps: of gradient descent for each batch; 0: all members count alike.
        rate: of these steps.
        together: texts of a batch, in the order of the texts.
    """

    steps: int = 10
    rate: float = 10.0
    together: int = 32


@torch.enable_grad()
def mix(logits: Tensor, mixing: Mixing) -> tuple[Tensor, Tensor]:
    """What several members say of a batch of texts, as one.

    With z_i the logits of member i, the weights are w = softmax(s), from s = 0 on, and

        z = sum_i w_i z_i,    H = -mean over texts of sum_c softmax(z)_c log softmax(z)_c,

    and each step takes s to s - rate dH/ds (Wang et al. 2021, section 3; the softmax is their code's).

    Args:
        logits: members x texts x classes.

    Returns: z (texts x classes) and w (members,), after the last step.
    """
    scores = logits.new_zeros(len(logits))
    for _ in range(mixing.steps):
        scores.requires_grad_()
        spoken = _mixed(logits, scores.softmax(0)).log_softmax(-1)
        entropy = -(spoken.exp() * spoken).sum(-1).mean()
        (gradient,) = torch.autograd.grad(entropy, scores)
        scores = scores.detach() - mixing.rate * gradient
    weights = scores.detach().softmax(0)
    return _mixed(logits, weights), weights


def _mixed(logits: Tensor, weights: Tensor) -> Tensor:
    return torch.einsum("m,mtc->tc", weights, logits)


def predict_mixed(
    members: Iterable[Member], texts: Sequence[Sequence[str]], mixing: Mixing
) -> tuple[list[Prediction], list[float]]:
    """The label of each text, or pair of texts, by all members together.

    Args:
        members: looked at one after the other, so that not all need be in memory at once.

    Returns: the predictions, and the mean weight of each member over the texts. `Prediction.cut` is
        that of the member that leaves the most out.

    Raises:
        InputError: members know other labels than the first.
    """
    first: Classifier | None = None
    said: list[Tensor] = []
    cut: list[list[int]] = []
    for classifier, speaker in members:
        first = first or classifier
        if classifier.classes != first.classes:
            raise InputError(
                f"{classifier.name} knows the labels {', '.join(classifier.classes)}, and {first.name} "
                f"{', '.join(first.classes)}: only what answers the same question can be mixed"
            )
        logits, left_out = classifier.logits(speaker, texts)
        said.append(torch.stack(logits))
        cut.append(left_out)
    rows, weights = [], torch.zeros(len(said), dtype=torch.float64)
    for batch in zip(*(one.split(mixing.together) for one in said), strict=True):
        # In 64 bits: ten steps at the paper's rate make a rounding in the seventh place visible.
        mixed, own = mix(torch.stack(batch).double(), mixing)
        weights += own * len(mixed)
        rows += mixed
    most = map(max, zip(*cut, strict=True))
    return list(map(first.named, rows, most)), (weights / len(texts)).tolist()
