"""Layers whose structure is chosen for the task, by a controller that reads what the task is like.

TAMS, task-adaptive model structure: Hou, Salazar and Polovets 2022, arXiv 2207.03509.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .method import FEED_FORWARD, Method, at_least_1
from .tarp import TARP

OPERATIONS = ("none", "identity", "linear, ReLU", "gated linear", "convolution 3", "convolution 5")
NODES = 3  # intermediate nodes
INPUTS = 2  # input nodes; both hold the cell's input
# (source, target) of each edge: every node takes from the inputs, 0 and 1, and from all nodes before
# it, as in DARTS (Liu et al. 2019, arXiv 1806.09055): 2 + 3 + 4 = 9 edges.
EDGES = tuple(
    (source, target) for target in range(INPUTS, INPUTS + NODES) for source in range(target)
)
CONTROLLER_WIDTH = 128


class Pass(NamedTuple):
    """What the cells of a model go by in one pass.

    Attributes:
        choice: in training, edges x operations, one 1 in each row; in evaluation, an operation for
            each edge.
        real: length x batch x 1, 0 at padding and else 1.
    """

    choice: Tensor | list[int]
    real: Tensor


class Structure(nn.Module):
    """The structure that all cells of a model share: the embedding of the task, and the controller.

    Args:
        width: of the model, and of the embedding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.controller = nn.Sequential(
            nn.Linear(width, CONTROLLER_WIDTH),
            nn.ReLU(),
            nn.Linear(CONTROLLER_WIDTH, len(EDGES) * len(OPERATIONS)),
        )
        self.register_buffer("embedding", torch.zeros(width))  # all 0: not known yet
        self.current: Pass | None = None  # outside of a pass the cells do nothing

    def logits(self) -> Tensor:
        """edges x operations."""
        return self.controller(self.embedding).view(len(EDGES), len(OPERATIONS))

    def chosen(self) -> list[int]:
        """The operation of each edge, as evaluation takes it: the likeliest."""
        return self.logits().argmax(dim=-1).tolist()

    def begin(self, real: Tensor) -> None:
        """Choose for one pass: the likeliest in evaluation; in training drawn, with gradients.

        Adding Gumbel noise and taking the largest draws each operation with its probability (Jang et
        al. 2017, arXiv 1611.01144); the gradient is that of the softmax of the same sums.

        Args:
            real: length x batch, false at padding.
        """
        dtype = self.embedding.dtype
        if self.training:
            wide = torch.promote_types(dtype, torch.float32)
            choice = functional.gumbel_softmax(self.logits().to(wide), hard=True).to(dtype)
        else:
            choice = self.chosen()
        self.current = Pass(choice, real.unsqueeze(-1).to(dtype))

    def end(self) -> None:
        self.current = None


class Edge(nn.Module):
    """The operations between two nodes, each from a width to the same width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.gated = nn.Linear(width, 2 * width)
        self.narrow = nn.Conv1d(width, width, 3, padding="same")
        self.wide = nn.Conv1d(width, width, 5, padding="same")

    def forward(self, x: Tensor, real: Tensor, choice: Tensor | int) -> Tensor:
        """The sum of all operations by their weights, or one alone.

        Args:
            x: length x batch x width.
            real: length x batch x 1; convolutions see 0 where it is 0.
            choice: a weight for each operation, or the number of one.
        """
        if isinstance(choice, int):
            return self.operation(choice, x, real)
        # "none" adds nothing, and its weight gets no gradient of its own
        return sum(
            choice[number] * self.operation(number, x, real) for number in range(1, len(OPERATIONS))
        )

    def operation(self, number: int, x: Tensor, real: Tensor) -> Tensor:
        """The output of one of `OPERATIONS`."""
        if number == 0:
            return torch.zeros_like(x)
        if number == 1:
            return x
        if number == 2:
            return functional.relu(self.linear(x))
        if number == 3:
            return functional.glu(self.gated(x))
        convolution = self.narrow if number == 4 else self.wide
        return convolution((x * real).permute(1, 2, 0)).permute(2, 0, 1)


class Cell(nn.Module):
    """x + up(mean of the intermediate nodes); a node is the sum over its edges.

    At the start it is the identity, because the projection up is 0.

    Args:
        width: of the model.
        inner: width of the nodes.
        structure: shared by the cells of the model.
    """

    def __init__(self, width: int, inner: int, structure: Structure) -> None:
        super().__init__()
        # In a tuple, so that it is not this cell's own child: it has one place in the state dict.
        self.structure = (structure,)
        self.down, self.up = nn.Linear(width, inner), nn.Linear(inner, width)
        for zero in (self.up.weight, self.up.bias):
            nn.init.zeros_(zero)
        self.edges = nn.ModuleList(Edge(inner) for _ in EDGES)

    def forward(self, x: Tensor) -> Tensor:
        """length x batch x width, in and out."""
        current = self.structure[0].current
        if current is None:
            return x
        choice, real = current
        nodes = [self.down(x)] * INPUTS
        for target in range(INPUTS, INPUTS + NODES):
            incoming = [number for number, edge in enumerate(EDGES) if edge[1] == target]
            nodes.append(
                sum(
                    self.edges[number](nodes[EDGES[number][0]], real, choice[number])
                    for number in incoming
                )
            )
        return x + self.up(sum(nodes[INPUTS:]) / NODES)


def node_name(node: int) -> str:
    """How a node is called where people read it."""
    return f"input {node + 1}" if node < INPUTS else f"node {node - INPUTS + 1}"


def describe(choice: Sequence[int]) -> str:
    """The structure as text, a line for each node: "node 1: identity of input 1 + ..."."""
    lines = []
    for target in range(INPUTS, INPUTS + NODES):
        terms = [
            f"{OPERATIONS[operation]} of {node_name(source)}"
            for (source, end), operation in zip(EDGES, choice, strict=True)
            if end == target and operation != 0
        ]
        lines.append(f"{node_name(target)}: {' + '.join(terms) or 'nothing'}")
    return "\n".join(lines)


@dataclass(frozen=True)
class TAMS(Method):
    name = "tams"
    trained = "a cell after each feed-forward, whose structure is chosen for the task"
    source = "Hou et al. 2022"
    has_structure = True
    outputs = (FEED_FORWARD,)

    structure_width: int = at_least_1(64, "width of the nodes in a cell")

    def shared_part(self, width: int) -> Structure:
        return Structure(width)

    def output_part(self, width: int, shared: Structure) -> Cell:
        return Cell(width, self.structure_width, shared)


@dataclass(frozen=True)
class TARPAndTAMS(TAMS, TARP):
    name = "tarp+tams"
    trained = "the factors and summands of tarp, and the cells of tams"
    source = ""
