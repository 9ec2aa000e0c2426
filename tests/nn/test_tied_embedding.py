"""The tied matrix against two plain uses of it, in float64."""

import pytest
import torch

from fairseq_minimodel.nn.cross_entropy import linear_cross_entropy
from fairseq_minimodel.nn.tied_embedding import tied_embedding

VOCABULARY, WIDTH = 6, 4


def make_weight():
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator, dtype=torch.float64)
    return weight.requires_grad_()


def plain(weight, tokens):
    return weight[tokens], weight


def logits(rows, matrix):
    return (rows.tanh() @ matrix.t()).square().sum()


LOSSES = {
    "both": logits,
    "rows only": lambda rows, matrix: rows.square().sum(),
    "matrix only": lambda rows, matrix: matrix.square().sum(),
    "matrix twice": lambda rows, matrix: logits(rows, matrix) + matrix.pow(3).sum(),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("tokens", [[2, 0, 2, 5, 2], [3], []], ids=["repeated", "one", "none"])
def test_it_has_the_values_and_the_gradient_of_two_uses(loss, tokens):
    tokens = torch.tensor(tokens, dtype=torch.long)
    results = []
    for function in (plain, tied_embedding):
        weight = make_weight()
        rows, matrix = function(weight, tokens)
        total = loss(rows, matrix)
        total.backward()
        results.append((rows.detach(), matrix.detach(), total.detach(), weight.grad))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_the_matrix_is_the_weight_itself_not_a_copy():
    weight = make_weight()
    assert tied_embedding(weight, torch.tensor([1]))[1].data_ptr() == weight.data_ptr()


def test_the_gradient_of_the_rows_goes_into_that_of_the_matrix_and_updates_add_up():
    """As the model uses it: hidden states from the rows, the loss from both, twice."""
    tokens, target = torch.tensor([2, 0, 2, 5]), torch.tensor([1, 1, 4, 0])
    bias = torch.arange(VOCABULARY, dtype=torch.float64)
    weight, expected = make_weight(), make_weight()
    for factor in (1, 2):
        rows, matrix = tied_embedding(weight, tokens)
        (factor * linear_cross_entropy(rows.tanh(), matrix, bias, target, VOCABULARY)).backward()
        logits = expected[tokens].tanh() @ expected.t() + bias
        loss = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
        (factor * loss).backward()
    torch.testing.assert_close(weight.grad, expected.grad, rtol=1e-13, atol=1e-13)


def test_a_weight_that_is_not_trained_gets_no_gradient():
    weight = make_weight().detach()
    rows, matrix = tied_embedding(weight, torch.tensor([1]))
    assert not rows.requires_grad and not matrix.requires_grad
