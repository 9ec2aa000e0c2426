"""The loss of question answering against the plain formula."""

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.logging import metrics
from models.test_minimodel_roberta import make_dictionary, random_tokens
from models.test_span_head import make_span_model

from fairseq_minimodel.criterions.span_qa import SpanQACriterion

LENGTHS = (12, 7, 9)


def make_sample(target):
    tokens = random_tokens(*LENGTHS)
    net_input = {"src_tokens": tokens, "src_lengths": torch.tensor(LENGTHS)}
    return {
        "net_input": net_input,
        "target": torch.tensor(target),
        "ntokens": sum(LENGTHS),
        "nsentences": len(LENGTHS),
    }


def make_criterion():
    return SpanQACriterion(SimpleNamespace(target_dictionary=make_dictionary()))


def test_the_loss_is_the_mean_of_both_ends_over_the_real_tokens():
    model, sample = make_span_model().eval(), make_sample([[5, 8], [0, 0], [8, 8]])
    torch.nn.init.normal_(model.span_head.weight)
    loss, sample_size, log = make_criterion()(model, sample)
    scores = model(sample["net_input"]["src_tokens"], span_scores=True)[0].double()
    expected = 0.0
    for row, (length, ends) in enumerate(zip(LENGTHS, sample["target"], strict=True)):
        for part in (0, 1):
            exponentials = scores[row, :length, part].exp()
            expected -= (exponentials[ends[part]] / exponentials.sum()).log() / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert sample_size == 3 and log["loss"] == loss
    assert log["nsentences"] == 3 and log["ntokens"] == 28
    loss.backward()
    assert all(
        parameter.grad.isfinite().all()
        for parameter in model.parameters()
        if parameter.grad is not None
    )


def test_both_ends_must_be_right():
    model = make_span_model().eval()
    torch.nn.init.normal_(model.span_head.weight)
    tokens = make_sample([[0, 0]] * 3)["net_input"]["src_tokens"]
    scores = model(tokens, span_scores=True)[0].detach()
    for row, length in enumerate(LENGTHS):
        scores[row, length:] = -math.inf
    best = scores.argmax(dim=1).tolist()
    assert all(start or end for start, end in best)
    first_wrong = [best[2][0] % 8 + 1, best[2][1]]
    last_wrong = [best[1][0], best[1][1] % 6 + 1]
    for target, answers, correct in (
        (best, 3, 3),
        ([best[0], last_wrong, first_wrong], 3, 1),
        ([[0, 0], best[1], first_wrong], 2, 1),
        ([[0, 0]] * 3, 0, 0),
    ):
        log = make_criterion()(model, make_sample(target))[2]
        assert (log["answers"], log["correct"]) == (answers, correct)
    with torch.no_grad():  # <s> for every end: right where there is no answer, which does not count
        model.span_head.weight.zero_()
        model.span_head.bias.zero_()
    log = make_criterion()(model, make_sample([[0, 0], [0, 0], [5, 5]]))[2]
    assert (log["answers"], log["correct"]) == (1, 0)


def test_logs_are_in_bits_a_window_and_per_cent():
    logs = [
        {"loss": 6.0, "answers": 4, "correct": 3, "sample_size": 7},
        {"loss": 2.0, "answers": 1, "correct": 0, "sample_size": 3},
    ]
    nothing = {"loss": 1.0, "answers": 0, "correct": 0, "sample_size": 2}
    with metrics.aggregate() as aggregator:
        SpanQACriterion.reduce_metrics(logs)
        SpanQACriterion.reduce_metrics([nothing])
    values = aggregator.get_smoothed_values()
    assert values["loss"] == pytest.approx(9 / 12 / math.log(2), abs=1e-3)
    assert values["accuracy"] == 60
