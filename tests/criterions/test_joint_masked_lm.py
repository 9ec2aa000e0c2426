"""The joint loss against fairseq's `masked_lm` and against the plain formula."""

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss
from fairseq.logging import metrics
from models.test_minimodel_roberta import make_dictionary, make_model, random_tokens

from fairseq_minimodel.criterions.joint_masked_lm import (
    JointMaskedLM,
    JointMaskedLMConfig,
    parse_head_weights,
)
from fairseq_minimodel.errors import InputError


def make_criterion(head_weights=""):
    task = SimpleNamespace(target_dictionary=make_dictionary())
    return JointMaskedLM(JointMaskedLMConfig(head_weights=head_weights), task)


def make_sample(masked=((0, 3), (0, 5), (1, 2))):
    tokens = random_tokens(12, 7)
    target = torch.full_like(tokens, 1)
    for row, column in masked:
        target[row, column] = tokens[row, column]
        tokens[row, column] = 44
    net_input = {"src_tokens": tokens, "src_lengths": torch.tensor([12, 7])}
    return {"net_input": net_input, "target": target, "ntokens": 19, "nsentences": 2}


@pytest.mark.parametrize("masked", [((0, 3), (0, 5), (1, 2)), ()])
def test_with_one_head_it_is_masked_lm_to_the_bit(masked):
    sample = make_sample(masked)
    task = SimpleNamespace(target_dictionary=make_dictionary())
    results = []
    for criterion in (MaskedLmLoss(MaskedLmConfig(tpu=False), task), make_criterion("4:3")):
        model = make_model().train()
        torch.manual_seed(5)
        loss, sample_size, log = criterion(model, sample)
        loss.backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        results.append((loss, sample_size, log["loss"], gradients))
    (loss, size, logged, gradients), (our_loss, our_size, our_logged, our_gradients) = results
    assert torch.equal(loss, our_loss) and torch.equal(logged, our_logged) and size == our_size
    for expected, found in zip(gradients, our_gradients, strict=True):
        assert (expected is None) == (found is None)
        assert expected is None or torch.equal(expected, found)


@pytest.mark.parametrize(
    ("given", "weights"), [("", {2: 0.5, 4: 0.5}), ("2:1,4:3", {2: 0.25, 4: 0.75})]
)
def test_the_loss_is_the_weighted_mean_over_the_same_masked_tokens(given, weights):
    model, sample = make_model(auxiliary_head_layers="2").eval(), make_sample()
    loss, sample_size, log = make_criterion(given)(model, sample)
    masked = sample["target"].ne(1)
    all_logits = model(sample["net_input"]["src_tokens"], all_heads=True)[1]["head_logits"]
    expected = 0.0
    for layer, logits in all_logits.items():
        probabilities = logits[masked].double().softmax(dim=-1)
        rows = torch.arange(3)
        head_loss = -probabilities[rows, sample["target"][masked]].log().sum()
        torch.testing.assert_close(log[f"loss_l{layer}"].double(), head_loss, rtol=1e-5, atol=1e-5)
        expected = expected + weights[layer] * head_loss
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    assert sample_size == 3


def test_one_pass_through_the_body_serves_all_heads():
    model = make_model(auxiliary_head_layers="1,2,3")
    passes = []
    model.encoder.sentence_encoder.register_forward_hook(lambda *_: passes.append(1))
    make_criterion()(model, make_sample())
    assert len(passes) == 1


def test_logs_are_in_bits_a_masked_token_for_each_head():
    log = {"loss": 6.0, "loss_l2": 8.0, "loss_l4": 4.0, "sample_size": 2, "ntokens": 9}
    with metrics.aggregate() as aggregator:
        JointMaskedLM.reduce_metrics([log, log])
    values = aggregator.get_smoothed_values()
    assert values["loss"] == pytest.approx(3 / math.log(2), abs=1e-3)
    assert values["loss_l2"] == pytest.approx(4 / math.log(2), abs=1e-3)
    assert values["ppl_l4"] == pytest.approx(math.exp(2), abs=1e-2)


@pytest.mark.parametrize("text", ["4", "4:x", "4:-1,2:2", "4:0"])
def test_malformed_head_weights_are_refused(text):
    with pytest.raises(InputError, match="--head-weights"):
        parse_head_weights(text)


def test_weights_of_other_layers_than_the_heads_are_refused():
    with pytest.raises(InputError, match=r"names the layers 3, 4.*heads after the layers 2, 4"):
        make_criterion("3:1,4:1")(make_model(auxiliary_head_layers="2"), make_sample())
