"""Binary masks over frozen weights (Zhao et al. 2020, arXiv 2004.12406)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from .effective_weight import Change
from .method import ALL_TARGETS, WEIGHT, WeightMethod, setting

LOWEST_SCORE = -0.02  # -s of the paper's initial distribution
FIXED_SEED = 1
HEAD_DEVIATION = 0.02  # of the weights of a head


class BinaryMask(Change):
    """weight -> weight * mask, mask = 1 where a trained score is above a threshold.

    The gradient of a score is that of its mask element, as if the mask were the score ("straight
    through"): equations 1 to 3 of the paper.

    Args:
        shape: of the weight.
        sparsity: share of zeros at the start, exactly (rounded to whole elements).
        threshold: tau.
    """

    def __init__(self, shape: Sequence[int], sparsity: float, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.scores = nn.Parameter(initial_scores(shape, sparsity, threshold))

    def forward(self, weight: Tensor) -> Tensor:
        """outputs x inputs, in and out."""
        return weight * _StraightThrough.apply(self.scores, self.threshold)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, scores: Tensor, threshold: float) -> Tensor:
        return (scores > threshold).to(scores.dtype)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def initial_scores(shape: Sequence[int], sparsity: float, threshold: float) -> Tensor:
    """Scores of which exactly round(sparsity * elements) are not above the threshold.

    Uniform from -s to h, s = 0.02, h = (s + threshold) / sparsity - s, as in the paper, given that
    number: which elements are below is drawn first, then each score in its part of the range.
    Without zeros, h is where the paper has it for a sparsity of 5 %.

    Args:
        sparsity: from 0 to below 1.
        threshold: above -s.
    """
    elements = int(numpy.prod(shape))
    width = (threshold - LOWEST_SCORE) / (sparsity or 0.05)
    highest = LOWEST_SCORE + width
    # in (threshold, highest], so that no score is the threshold itself
    scores = highest - (highest - threshold) * torch.rand(elements)
    just_above = numpy.nextafter(numpy.float32(threshold), numpy.float32(numpy.inf))
    scores.clamp_(min=float(just_above))
    below = torch.randperm(elements)[: round(sparsity * elements)]
    scores[below] = threshold - (threshold - LOWEST_SCORE) * torch.rand(len(below))
    return scores.view(*shape)


def pack_bits(masks: Iterable[Tensor]) -> Tensor:
    """Masks as one row of bytes, eight elements in a byte, each mask from a byte of its own on."""
    rows = [numpy.packbits(mask.cpu().bool().numpy().ravel()) for mask in masks]
    return torch.from_numpy(numpy.concatenate(rows))


def unpack_bits(packed: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """The inverse of `pack_bits`; boolean.

    Raises:
        ValueError: there are more or fewer bytes than the shapes need.
    """
    counts = [int(numpy.prod(shape)) for shape in shapes]
    sizes = [(count + 7) // 8 for count in counts]
    if sum(sizes) != len(packed):
        raise ValueError(f"{len(packed)} bytes of masks, and the shapes need {sum(sizes)}")
    masks = []
    for part, count, shape in zip(packed.cpu().split(sizes), counts, shapes, strict=True):
        bits = numpy.unpackbits(part.numpy(), count=count).view(bool)
        masks.append(torch.from_numpy(bits).view(*shape))
    return masks


def fixed_weights(shapes: Sequence[Sequence[int]], *, uniform: bool = False) -> list[Tensor]:
    """The random weights of a head that is only masked, never trained: always the same.

    So they need not be kept with the masks. From N(0, 0.02), as BERT starts; drawn by NumPy's legacy
    generator, whose numbers never change.

    Args:
        shapes: outputs x inputs, of the head's layers in their order.
        uniform: from +-1 / sqrt(inputs) instead, as version 0.1.0 drew them.
    """
    generator = numpy.random.RandomState(FIXED_SEED)
    weights = []
    for shape in map(tuple, shapes):
        if uniform:
            drawn = (2 * generator.random_sample(shape) - 1) / numpy.sqrt(shape[1])
        else:
            drawn = HEAD_DEVIATION * generator.standard_normal(shape)
        weights.append(torch.from_numpy(drawn).float())
    return weights


@dataclass(frozen=True)
class Mask(WeightMethod):
    """Masks over all weights; the pooler and the classifier are masked like the body (section 3)."""

    name = "mask"
    trained = "which weights take part: a bit for each"
    source = "[Zhao et al. 2020](https://arxiv.org/abs/2004.12406)"
    trains_layer_norms = False
    changes_heads = True
    default_targets = ALL_TARGETS
    bits = ("masks",)

    mask_sparsity: float = setting(
        0.05,
        "share of the weights that a mask leaves out at the start (exactly)",
        lambda share: 0 <= share < 1,
        "from 0 to below 1",
    )
    mask_threshold: float = setting(
        0.01,
        "keep a weight whose score is above this",
        lambda threshold: threshold > LOWEST_SCORE,
        f"above {LOWEST_SCORE}",
    )

    def change(self, target: str, outputs: int, inputs: int) -> BinaryMask:
        return BinaryMask((outputs, inputs), self.mask_sparsity, self.mask_threshold)

    def pack(self, tensors: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        scores = (tensors[f"{name}.{WEIGHT}.scores"] for name in names)
        return {self.bits[0]: pack_bits(score > self.mask_threshold for score in scores)}

    def unpack(
        self, saved: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
    ) -> Iterator[tuple[str, dict[str, Tensor]]]:
        if set(saved).isdisjoint(self.bits):
            raise ValueError("there are no masks")
        masks = unpack_bits(saved[self.bits[0]], list(shapes.values()))
        for name, mask in zip(shapes, masks, strict=True):
            yield name, {"scores": torch.where(mask, torch.inf, -torch.inf)}
