"""The loss of tagging against the plain formula, also where weights have half the bits."""

from types import SimpleNamespace

import pytest
import torch
from models.test_minimodel_roberta import make_dictionary, make_model, random_tokens

from fairseq_minimodel.criterions.tagging import TaggingCriterion
from fairseq_minimodel.kinds import TAG_HEAD

LENGTHS = (12, 7)
TAGS = 3
NO_WORD = make_dictionary().pad()
WORDS = {(0, 1): 0, (0, 4): 2, (0, 9): 1, (1, 2): 2}  # window and token: the tag


def make_sample():
    tokens = random_tokens(*LENGTHS)
    target = torch.full_like(tokens, NO_WORD)
    for place, tag in WORDS.items():
        target[place] = 4 + tag  # behind fairseq's four symbols
    return {
        "net_input": {"src_tokens": tokens, "src_lengths": torch.tensor(LENGTHS)},
        "target": target,
        "ntokens": sum(LENGTHS),
        "nsentences": len(LENGTHS),
    }


def make_tagger():
    model = make_model().eval()
    model.register_token_head(TAG_HEAD, TAGS)
    torch.nn.init.normal_(getattr(model, TAG_HEAD).weight, generator=torch.manual_seed(1))
    return model


def step(model, sample):
    criterion = TaggingCriterion(SimpleNamespace(target_dictionary=make_dictionary()))
    loss, words, log = criterion(model, sample)
    loss.backward()
    return loss, words, log


def test_the_loss_is_the_sum_over_first_tokens():
    model, sample = make_tagger(), make_sample()
    loss, words, log = step(model, sample)
    scores = model(**sample["net_input"], token_head=TAG_HEAD)[0].detach().double()
    expected, correct = 0.0, 0
    for (window, token), tag in WORDS.items():
        row = [float(score.exp()) for score in scores[window, token]]
        expected -= float(torch.tensor(row[tag] / sum(row)).double().log())
        correct += row[tag] == max(row)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert (words, int(log["correct"])) == (len(WORDS), correct)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_the_bits_give_nearly_the_same_gradients(precision):
    sample = make_sample()
    exact, half = make_tagger(), make_tagger().to(precision)
    losses = [step(model, sample)[0].item() for model in (exact, half)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    gradient, same = (getattr(model, TAG_HEAD).weight.grad.double() for model in (exact, half))
    assert same.isfinite().all()
    assert (gradient - same).norm() < 0.05 * gradient.norm()
