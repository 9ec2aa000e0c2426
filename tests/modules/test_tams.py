"""Cells and their controller against plain formulas in float64, their noise, and padding."""

import copy

import pytest
import torch
from torch import nn

from fairseq_minimodel.modules.tams import EDGES, OPERATIONS, Cell, Pass, Structure, describe

WIDTH, INNER, LENGTH, BATCH = 6, 4, 7, 3


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


def make_cell():
    structure = Structure(WIDTH)
    cell = Cell(WIDTH, INNER, structure).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter, std=0.5)
    return cell, structure.double()


def random_input():
    return torch.randn(LENGTH, BATCH, WIDTH, dtype=torch.float64)


def all_real():
    return torch.ones(LENGTH, BATCH, 1, dtype=torch.float64)


def plain_operation(name, edge, sentence):
    """Of one sentence (length x width), token by token."""
    if name == "none":
        return torch.zeros_like(sentence)
    if name == "identity":
        return sentence
    if name == "linear, ReLU":
        return torch.stack(
            [(edge.linear.weight @ x + edge.linear.bias).clamp(min=0) for x in sentence]
        )
    if name == "gated linear":
        both = [edge.gated.weight @ x + edge.gated.bias for x in sentence]
        return torch.stack([y[:INNER] / (1 + torch.exp(-y[INNER:])) for y in both])
    convolution, reach = (edge.narrow, 1) if name == "convolution 3" else (edge.wide, 2)
    assert convolution.weight.shape == (INNER, INNER, 2 * reach + 1)
    result = []
    for place in range(len(sentence)):
        total = convolution.bias
        for offset in range(-reach, reach + 1):
            if 0 <= place + offset < len(sentence):
                total = total + convolution.weight[:, :, offset + reach] @ sentence[place + offset]
        result.append(total.clamp(min=0))
    return torch.stack(result)


def plain_cell(cell, x, weights):
    """The formula, for weights (edges x operations): nine edges in the order of their targets."""
    output = torch.empty_like(x)
    for index in range(x.shape[1]):
        first, second = cell.down
        nodes = [(x[:, index] @ one.weight.T + one.bias).clamp(min=0) for one in (first, second)]
        edges = iter(zip(cell.edges, weights, strict=True))
        for _ in range(3):
            state = torch.zeros_like(nodes[0])
            for source in list(nodes):
                edge, row = next(edges)
                for name, weight in zip(OPERATIONS, row, strict=True):
                    state = state + weight * plain_operation(name, edge, source)
            nodes.append(state)
        assert next(edges, None) is None
        mean = (nodes[2] + nodes[3] + nodes[4]) / 3
        output[:, index] = x[:, index] + mean @ cell.up.weight.T + cell.up.bias
    return output


def test_there_are_nine_edges_forward_and_six_operations():
    assert len(EDGES) == len(set(EDGES)) == 9 and len(OPERATIONS) == 6
    assert all(source < target and 2 <= target <= 4 for source, target in EDGES)


def test_a_cell_has_the_parameters_of_the_released_one():
    cell = Cell(768, 64, Structure(768))
    assert sum(parameter.numel() for parameter in cell.parameters()) == 556_736


@pytest.mark.parametrize("operation", [4, 5])
def test_a_cell_of_convolutions_is_not_a_linear_map(operation):
    cell, structure = make_cell()
    for part in cell.modules():
        if getattr(part, "bias", None) is not None:
            nn.init.zeros_(part.bias)
    structure.current = Pass([operation] * 9, all_real())
    x, y = random_input(), random_input()
    assert not torch.allclose(cell(x + y), cell(x) + cell(y))


@pytest.mark.parametrize("soft", [True, False])
def test_a_cell_is_its_formula(soft):
    cell, structure = make_cell()
    x = random_input()
    for _ in range(3):
        if soft:
            choice = weights = torch.rand(9, 6, dtype=torch.float64)
        else:
            choice = torch.randint(6, (9,)).tolist()
            weights = torch.eye(6, dtype=torch.float64)[choice]
        structure.current = Pass(choice, all_real())
        torch.testing.assert_close(cell(x), plain_cell(cell, x, weights), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("operation", range(6))
def test_each_operation_counts(operation):
    cell, structure = make_cell()
    x = random_input()
    structure.current = Pass([operation] * 9, all_real())
    weights = torch.eye(6, dtype=torch.float64)[[operation] * 9]
    torch.testing.assert_close(cell(x), plain_cell(cell, x, weights), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_the_start_is_the_identity_and_there_is_a_way_out(training):
    structure = Structure(WIDTH).train(training)
    cell = Cell(WIDTH, INNER, structure)
    x = torch.randn(LENGTH, BATCH, WIDTH)
    structure.begin(torch.ones(LENGTH, BATCH, dtype=torch.bool))
    assert torch.equal(cell(x), x)
    cell(x).square().sum().backward()
    assert cell.up.weight.grad.any() and cell.up.bias.grad.any()


def test_outside_of_a_pass_a_cell_does_nothing():
    cell, structure = make_cell()
    x = random_input()
    assert cell(x) is x
    structure.begin(torch.ones(LENGTH, BATCH, dtype=torch.bool))
    assert not torch.equal(cell(x), x)
    structure.end()
    assert cell(x) is x


def straight_through(sums):
    """What a choice is, and the gradient of the logits for weights of the operations, row by row."""
    hard = torch.zeros(9, 6).scatter(1, sums.argmax(dim=1, keepdim=True), 1.0)
    soft = sums.softmax(dim=1)
    return hard, lambda weights: soft * (weights - (soft * weights).sum(dim=1, keepdim=True))


@pytest.mark.parametrize("in_episode", [True, False])
def test_the_gradient_passes_straight_through_the_choice(in_episode):
    """It is that of the softmax, where the forward pass has a hard choice; noise only in episodes."""
    structure = Structure(WIDTH)
    nn.init.normal_(structure.embedding)
    logits = structure.controller(structure.embedding).view(9, 6).detach()
    sums = logits
    if in_episode:
        torch.manual_seed(5)
        sums = logits - torch.empty_like(logits).exponential_().log()
        torch.manual_seed(5)
        structure.begin_episode()
    structure.begin(torch.ones(LENGTH, BATCH, dtype=torch.bool))
    choice, weights = structure.current.choice, torch.randn(9, 6)
    (choice * weights).sum().backward()
    hard, gradient = straight_through(sums)
    torch.testing.assert_close(choice, hard)
    found = structure.controller[2].bias.grad.view(9, 6)
    torch.testing.assert_close(found, gradient(weights), rtol=1e-4, atol=1e-6)
    assert structure.controller[0].weight.grad.any()


def test_an_episode_draws_each_operation_with_its_probability_and_keeps_it():
    structure = Structure(WIDTH)
    nn.init.normal_(structure.controller[2].bias)
    expected = structure.logits().softmax(dim=1).detach()
    counts, draws, real = torch.zeros(9, 6), 3000, torch.ones(1, 1, dtype=torch.bool)
    for _ in range(draws):
        structure.begin_episode()
        structure.begin(real)
        choice = structure.current.choice.detach().round()
        structure.end()
        structure.begin(real)
        assert torch.equal(structure.current.choice.detach().round(), choice)
        counts += choice
    assert counts.sum(dim=1).eq(draws).all()
    chi_square = ((counts - draws * expected) ** 2 / (draws * expected)).sum(dim=1)
    # 5 degrees of freedom: the mean is 5, and 1 in 1000 is above 20.5
    assert chi_square.max() < 20.5 and 2 < chi_square.mean() < 9
    structure.end_episode()
    assert structure.noise is None and not structure.embedding.any()


@pytest.mark.parametrize("frozen", [True, False])
def test_evaluation_and_a_frozen_controller_take_the_likeliest_and_draw_nothing(frozen):
    structure = Structure(WIDTH).train(frozen)
    structure.controller.requires_grad_(not frozen)
    nn.init.normal_(structure.embedding)
    state = torch.get_rng_state()
    structure.begin(torch.ones(1, 1, dtype=torch.bool))
    assert structure.current.choice == structure.logits().argmax(dim=1).tolist()
    assert torch.equal(torch.get_rng_state(), state)
    before = structure.chosen()
    nn.init.normal_(structure.embedding, std=10)  # another task
    assert structure.chosen() != before


def test_training_in_half_precision_chooses_what_inference_does():
    structure = Structure(64)
    nn.init.normal_(structure.embedding, std=0.01)
    half = copy.deepcopy(structure).half()
    again = copy.deepcopy(half).float()  # as a checkpoint of that training is read
    assert half.logits().dtype == torch.float32
    torch.testing.assert_close(half.logits(), again.logits())


@pytest.mark.parametrize("operation", range(6))
def test_padding_changes_nothing(operation):
    cell, structure = make_cell()
    x = random_input()
    real = all_real()
    real[4:, 1] = 0  # the second sentence has four tokens
    choice = [operation] * 9 if operation else torch.rand(9, 6, dtype=torch.float64)
    structure.current = Pass(choice, real)
    padded = cell(x)
    structure.current = Pass(choice, torch.ones(4, 1, 1, dtype=torch.float64))
    alone = cell(x[:4, 1:2])
    torch.testing.assert_close(padded[:4, 1:2], alone, rtol=1e-12, atol=1e-12)


def test_the_description_names_what_is_there():
    choice = [0, 0, 1, 0, 4, 2, 0, 3, 5]
    assert describe(choice).splitlines() == [
        "node 1: nothing",
        "node 2: identity of input 1 + convolution 3 of node 1",
        "node 3: linear, ReLU of input 1 + gated linear of node 1 + convolution 5 of node 2",
    ]
