"""Memory of a training step on one GPU, from shapes alone: fairseq's own path, dropout and Adam.

**Parameters, gradients, optimiser.** In bytes per parameter, after fairseq's optimisers
(`fairseq/optim/fp16_optimizer.py`, `adam.py`); 16 bits are --fp16 or --bf16:

                  parameters   gradients   optimiser
    16 bits       2            2           16: 32-bit copies of both, two means of Adam
    32 bits       4            4           8: two means of Adam

What is frozen has its parameter and nothing else.

**Activations** are what the forward pass keeps for the backward pass. With d the width, f the
feed-forward width, h the heads, V the vocabulary, e the bytes of a number (2 or 4), and dropout
masks of one byte per element as on a GPU, in bytes:

    a layer, per token
        attention                    4 e d + 4 h     q, k, v, output; log-sum-exp of the scores
        two layer norms              2 (e d + 8)     input; mean and deviation
        two dropouts                 2 d             masks
        GELU                         4 f             its input, which fairseq copies to 32 bits
        if the layer is trained      e (2 d + f)     inputs of its products, but for the attention's
                                                     output, which is kept anyway
    embeddings, per token            e d + 8 + d     layer norm and dropout, if trained
    an MLM head, per masked token    4 d + e d + 8   GELU, layer norm
        if the heads are trained     e d             input of the dense layer
        if the language side is      e d             input of the projection
        cross-entropy                4 V             log-probabilities, in 32 bits
    a task's head, per token         e d             the last layer's output

A layer of ModernBERT keeps 2 e f more, the two factors at its gate. The first one has one layer norm
less, and one stands after the last layer and in each middle head instead. EuroBERT's first layer has
all norms, RMSNorms that keep no mean, and SiLU, which keeps e f in the place of GELU's 4 f; its
embeddings have no norm, and its MLM head nothing but the projection.

Layers below the lowest trained part keep nothing. On a GPU attention is one fused kernel that keeps
no scores. Without a fused kernel (on CPU with dropout on attention weights), a layer keeps
3 e d + h T (2 e + mask) instead of its first line, with T the tokens of a sequence, and e d more if
it is trained.

**Loss.** The backward pass begins with the gradients of the log-probabilities and of the logits,
(4 + e) V per masked token, when nothing has been freed yet. That is the peak.

Left out: what CUDA, cuBLAS and NCCL take for themselves (about 1 GB), gradient buckets of
distributed training, fragmentation, and indices of a few bytes per token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from .flops import Shape, Trained

OBJECTIVES = ("masked_lm", "classification", "span", "tags")
SPECIAL_POSITIONS = 2  # fairseq numbers positions from the padding index on, which is 1
STATISTICS = 8  # mean and deviation of a layer norm, 32 bits each


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a training step, by what they are for. See the head of this file."""

    parameters: int
    gradients: int
    optimiser: int
    activations: int
    loss: int

    @property
    def total(self) -> int:
        return self.parameters + self.gradients + self.optimiser + self.activations + self.loss


@dataclass(frozen=True)
class Precision:
    """Bytes that training takes for a number, and for a parameter's state in the optimiser."""

    number: int
    optimiser: int


BITS_16 = Precision(number=2, optimiser=16)
BITS_32 = Precision(number=4, optimiser=8)


def training_memory(
    shape: Shape,
    sequences: int,
    sequence_length: int,
    *,
    freeze: str = "none",
    auxiliary_head_layers: Sequence[int] = (),
    masked_fraction: float = 0.15,
    objective: str = "masked_lm",
    classes: int = 2,
    precision: Precision = BITS_16,
) -> Memory:
    """Memory of a training step over `sequences` x `sequence_length` tokens at once.

    Args:
        shape: of the layers that run, as in `compute.masked_lm_flops`, and so the next four.
        sequences: in a batch as the GPU sees it, before gradients are accumulated.
        sequence_length: T, which is also the number of positions that the model knows.
        objective: masked_lm, classification (on <s>), span (two scores per token) or tags.
        classes: of classification, or tags.
        precision: BITS_16 or BITS_32.

    Raises:
        InputError: a value is outside its range.
    """
    trained, frozen = parameter_count(
        shape,
        sequence_length,
        freeze=freeze,
        auxiliary_heads=len(auxiliary_head_layers),
        objective=objective,
        classes=classes,
    )
    heads = 1 + len(auxiliary_head_layers) if objective == "masked_lm" else 0
    masked = masked_fraction * sequences * sequence_length
    return Memory(
        parameters=(trained + frozen) * precision.number,
        gradients=trained * precision.number,
        optimiser=trained * precision.optimiser,
        activations=activation_bytes(
            shape,
            sequences,
            sequence_length,
            freeze=freeze,
            mlm_heads=heads,
            # a EuroBERT's tags and spans have no dense layer, and its classes are scored late
            scores_tokens=objective in ("span", "tags")
            if shape.tied
            else objective == "classification",
            masked_fraction=masked_fraction,
            number=precision.number,
        ),
        # one head after the other
        loss=round(masked * shape.vocabulary * (4 + precision.number)) if heads else 0,
    )


def parameter_count(
    shape: Shape,
    positions: int,
    *,
    freeze: str = "none",
    auxiliary_heads: int = 0,
    objective: str = "masked_lm",
    classes: int = 2,
) -> tuple[int, int]:
    """How many parameters of the model are trained, and how many are frozen.

    The MLM head stays in the model when a task's head is trained, and fairseq keeps an optimiser's
    state for it. Arguments and errors as in `training_memory`.
    """
    if objective not in OBJECTIVES:
        raise InputError(f'objective "{objective}" is none of: {", ".join(OBJECTIVES)}')
    trained, d = Trained.parse(freeze, shape.layers), shape.width
    if shape.modern:
        layer = 2 * d * d + 2 * d * shape.keys + 3 * d * shape.ffn + 2 * d
        dense, norm = d * d, d
        table, of_middle_head = 0, norm
    else:
        layer = 4 * (d * d + d) + 2 * d * shape.ffn + shape.ffn + d + 2 * 2 * d
        dense, norm = d * d + d, 2 * d
        table, of_middle_head = (positions + SPECIAL_POSITIONS) * d, 0
    outputs = {"masked_lm": 0, "classification": classes, "span": 2, "tags": classes}[objective]
    task_head = outputs * (d + 1)
    if outputs and (shape.dense_for_tokens or objective == "classification"):
        task_head += d * d + d  # a bias, or a LayerNorm without one
    if shape.tied:
        language, before, head = shape.vocabulary * (d + 1), table + norm, dense + norm
    else:
        language, before, head = 2 * shape.vocabulary * d, 0, 0
    parts = [  # parameters, and whether they are trained
        (language, trained.language),
        (before, trained.positions),
        (trained.frozen_layers * layer, False),
        ((shape.layers - trained.frozen_layers) * layer, True),
        ((1 + auxiliary_heads) * head + auxiliary_heads * of_middle_head, trained.heads),
        (task_head, True),
    ]
    if shape.modern:  # there is a final norm, and the first layer lacks one after the embeddings'
        parts += [(norm, trained.final_norm(shape.layers))]
        parts += [(-norm * shape.tied, trained.is_trained(1))]
    count = sum(size for size, is_trained in parts if is_trained)
    return count, sum(size for size, _ in parts) - count


def activation_bytes(
    shape: Shape,
    sequences: int,
    sequence_length: int,
    *,
    freeze: str = "none",
    mlm_heads: int = 1,
    scores_tokens: bool = False,
    masked_fraction: float = 0.15,
    number: int = 2,
    mask: int = 1,
    fused_attention: bool = True,
) -> int:
    """Bytes that the forward pass keeps for the backward pass.

    Arguments and errors as in `training_memory`, and besides:

    Args:
        mlm_heads: heads that predict the masked tokens; 0: the head of a task instead.
        scores_tokens: whether that head keeps something of each token, where it has a dense layer.
        number: bytes of a number, e.
        mask: bytes of an element of a dropout mask: 1 on a GPU, e on CPU.
        fused_attention: attention keeps no scores.
    """
    if sequences < 1 or sequence_length < 1:
        raise InputError(f"{sequences} sequences of {sequence_length} tokens are not a batch")
    trained, d, e = Trained.parse(freeze, shape.layers), shape.width, number
    tokens = sequences * sequence_length
    norm = e * d + (STATISTICS if shape.tied else STATISTICS // 2)  # an RMSNorm has no mean
    inputs = e * (2 * d + shape.ffn + (not fused_attention) * d)
    activation = 4 if shape.tied else e  # GELU; SiLU
    passed = 2 * norm + 2 * mask * d + (activation + 2 * e * shape.modern) * shape.ffn

    def attention(layer: int) -> float:
        """Queries, keys and values, and what was made of them; where there are blocks, their mask."""
        scores = shape.attended(layer, sequence_length)
        in_blocks = scores != sequence_length
        kept = e * d * (7 if in_blocks else 3)
        if fused_attention:
            return kept + e * (d + in_blocks * scores) + 4 * shape.heads
        return kept + shape.heads * scores * (2 * e + mask)

    size = tokens * (norm * shape.tied + mask * d) if trained.embeddings else 0
    for layer in range(1, shape.layers + 1):
        if trained.output_needs_gradient(layer):
            kept = passed + attention(layer) + inputs * trained.is_trained(layer)
            size += tokens * kept
    if shape.modern:
        last = trained.input_of_head_needs_gradient(shape.layers, True)
        moved = last - shape.tied * trained.output_needs_gradient(1)
        size += norm * (tokens * moved + masked_fraction * tokens * max(0, mlm_heads - 1))
    head = e * d * trained.language + 4 * shape.vocabulary
    head += shape.tied * (4 * d + norm + e * d * trained.heads)
    size += masked_fraction * tokens * mlm_heads * head
    if mlm_heads == 0:
        size += tokens * e * d
    if scores_tokens and shape.modern:  # inputs of GELU, LayerNorm and the last linear layer
        size += tokens * (norm * shape.tied + 2 * e * d)
    return round(size)
