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
INPUTS = 2  # input nodes, each with a projection of its own
# (source, target) of each edge: every node takes from the inputs, 0 and 1, and from all nodes before
# it, as in DARTS (Liu et al. 2019, arXiv 1806.09055): 2 + 3 + 4 = 9 edges.
EDGES = tuple(
    (source, target) for target in range(INPUTS, INPUTS + NODES) for source in range(target)
)
CONTROLLER_WIDTH = 128


class Pass(NamedTuple):
    """What the cells of a model go by in one pass.

    Attributes:
        choice: while the controller learns, edges x operations, one 1 in each row; else an operation
            for each edge.
        real: length x batch x 1, 0 at padding and else 1.
    """

    choice: Tensor | list[int]
    real: Tensor


class Structure(nn.Module):
    """The structure that all cells of a model share: the embedding of the task, and the controller.

    Args:
        width: of the model, and of the embedding.

    Attributes:
        embedding: of the task; all 0 where it is not known yet.
        prepared: 1 once meta-training has trained the controller, which then stays as it is.
        in_meta_training: whether this run is meta-training.
        noise: edges x operations, of the present episode of meta-training; None outside of one.
        current: what the cells go by; None outside of a pass, where they do nothing.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.controller = nn.Sequential(
            nn.Linear(width, CONTROLLER_WIDTH),
            nn.ReLU(),
            nn.Linear(CONTROLLER_WIDTH, len(EDGES) * len(OPERATIONS)),
        )
        self.register_buffer("embedding", torch.zeros(width))
        self.register_buffer("prepared", torch.zeros(1))
        self.in_meta_training = False
        self.noise: Tensor | None = None
        self.current: Pass | None = None

    def logits(self) -> Tensor:
        """edges x operations, in float32 at least: training in 16 bits chooses what inference does."""
        first, _, last = self.controller
        wide = torch.promote_types(self.embedding.dtype, torch.float32)
        with torch.autocast(self.embedding.device.type, enabled=False):
            hidden = functional.linear(
                self.embedding.to(wide), first.weight.to(wide), first.bias.to(wide)
            )
            flat = functional.linear(hidden.relu(), last.weight.to(wide), last.bias.to(wide))
        return flat.view(len(EDGES), len(OPERATIONS))

    def chosen(self) -> list[int]:
        """The operation of each edge: the likeliest."""
        return self.logits().argmax(dim=-1).tolist()

    def begin_episode(self) -> None:
        """Draw the structure of an episode of meta-training, for all its passes in training.

        The largest sum of logit and Gumbel noise is each operation with its probability (Jang et al.
        2017, arXiv 1611.01144). The noise is what is kept; in evaluation there is none.
        """
        if self.training:
            self.noise = -torch.empty_like(self.logits()).exponential_().log()

    def end_episode(self) -> None:
        """Forget the task and its structure."""
        self.embedding.zero_()
        self.noise = None

    def begin(self, real: Tensor) -> None:
        """Choose for one pass: with gradients to the controller, while that learns.

        The choice is the largest, and its gradient that of the softmax.

        Args:
            real: length x batch, false at padding.
        """
        dtype = self.embedding.dtype
        if self.training and self.controller[0].weight.requires_grad:
            sums = self.logits() if self.noise is None else self.logits() + self.noise
            soft = sums.softmax(dim=-1)
            hard = functional.one_hot(soft.argmax(dim=-1), len(OPERATIONS))
            choice = ((hard - soft).detach() + soft).to(dtype)
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
        # Without the ReLU a cell of convolutions would be a linear map.
        return convolution((x * real).permute(1, 2, 0)).permute(2, 0, 1).relu()


class Cell(nn.Module):
    """x + up(mean of the intermediate nodes); a node is the sum over its edges.

    The input nodes are relu(W_0 x) and relu(W_1 x). At the start the cell is the identity, because
    the projection up is 0.

    Args:
        width: of the model.
        inner: width of the nodes.
        structure: shared by the cells of the model.
    """

    def __init__(self, width: int, inner: int, structure: Structure) -> None:
        super().__init__()
        # In a tuple, so that it is not this cell's own child: it has one place in the state dict.
        self.structure = (structure,)
        self.down = nn.ModuleList(nn.Linear(width, inner) for _ in range(INPUTS))
        self.up = nn.Linear(inner, width)
        for zero in (self.up.weight, self.up.bias):
            nn.init.zeros_(zero)
        self.edges = nn.ModuleList(Edge(inner) for _ in EDGES)

    def forward(self, x: Tensor) -> Tensor:
        """length x batch x width, in and out."""
        current = self.structure[0].current
        if current is None:
            return x
        choice, real = current
        nodes = [functional.relu(down(x)) for down in self.down]
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
