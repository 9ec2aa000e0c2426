"""The loss of sentence vectors against the plain formula."""

import math

import pytest
import torch
from fairseq.logging import metrics
from models.test_frozen_encoder import make_frozen_model
from models.test_minimodel_roberta import random_tokens

from fairseq_minimodel.bodies.tensors import EMBEDDING
from fairseq_minimodel.criterions.sentence_distillation import (
    SentenceDistillationCriterion,
    SentenceDistillationCriterionConfig,
)
from fairseq_minimodel.errors import InputError

LENGTHS = (12, 7, 9, 4)


def make_criterion(**settings):
    return SentenceDistillationCriterion(SentenceDistillationCriterionConfig(**settings), None)


def make_sample(repeated=False):
    teacher = torch.randn(4, 16, generator=torch.Generator().manual_seed(3)).double()
    if repeated:
        teacher[3] = teacher[1]
    tokens = random_tokens(*LENGTHS)
    net_input = {"src_tokens": tokens, "src_lengths": torch.tensor(LENGTHS)}
    return {"net_input": net_input, "target": teacher, "ntokens": 32, "nsentences": 4}


def plain_loss(vectors, teacher, weight, temperature):
    """Distance and contrastive term in double loops; of equal teachers only the own one counts."""

    def cosine(x, y):
        dot = sum(a * b for a, b in zip(x, y, strict=True))
        return dot / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))

    distance = sum(
        (a - b) ** 2
        for x, y in zip(vectors, teacher, strict=True)
        for a, b in zip(x, y, strict=True)
    )
    contrastive, count = 0.0, len(vectors)
    for i in range(count):
        others = [j for j in range(count) if j == i or teacher[j] != teacher[i]]
        own = math.exp(cosine(vectors[i], teacher[i]) / temperature)
        there = sum(math.exp(cosine(vectors[i], teacher[j]) / temperature) for j in others)
        back = sum(math.exp(cosine(vectors[j], teacher[i]) / temperature) for j in others)
        contrastive -= (math.log(own / there) + math.log(own / back)) / 2
    return distance, contrastive, distance + weight * contrastive


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize(("weight", "temperature"), [(0.0, 0.05), (0.3, 0.2), (2.0, 1.0)])
def test_the_loss_is_that_of_the_formula(weight, temperature, repeated):
    model, sample = make_frozen_model(sentence_pooling="mean"), make_sample(repeated)
    criterion = make_criterion(contrastive_weight=weight, contrastive_temperature=temperature)
    loss, size, log = criterion(model, sample)
    with torch.no_grad():
        vectors = model(sample["net_input"]["src_tokens"], sentence_vectors=True)[0]
    distance, contrastive, expected = plain_loss(
        vectors.tolist(), sample["target"].tolist(), weight, temperature
    )
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert log["distance"].item() == pytest.approx(distance, rel=1e-4)
    assert log["contrastive"].item() == pytest.approx(contrastive, rel=1e-4)
    assert size == log["sample_size"] == log["nsentences"] == 4 and log["ntokens"] == 32
    loss.backward()
    assert model.get_parameter(EMBEDDING).grad.isfinite().all()


def test_with_its_own_vectors_as_teacher_there_is_nothing_to_learn():
    model, sample = (
        make_frozen_model(sentence_pooling="cls", sentence_normalise=True),
        make_sample(),
    )
    with torch.no_grad():
        sample["target"] = model(sample["net_input"]["src_tokens"], sentence_vectors=True)[0]
    loss, _, log = make_criterion()(model, sample)
    assert loss.item() == pytest.approx(0, abs=1e-10) and log["found"] == 4


def test_logs_are_means_over_texts():
    logs = [
        {"loss": 6.0, "distance": 4.0, "contrastive": 2.0, "found": 3, "sample_size": 4},
        {"loss": 2.0, "distance": 1.0, "contrastive": 1.0, "found": 0, "sample_size": 2},
    ]
    with metrics.aggregate() as aggregator:
        SentenceDistillationCriterion.reduce_metrics(logs)
    values = aggregator.get_smoothed_values()
    assert values["loss"] == pytest.approx(8 / 6, abs=1e-4)
    assert values["distance"] == pytest.approx(5 / 6, abs=1e-4)
    assert values["contrastive"] == 0.5 and values["found"] == 50


@pytest.mark.parametrize(
    "settings", [{"contrastive_weight": -1.0}, {"contrastive_temperature": 0.0}]
)
def test_settings_out_of_range_are_refused(settings):
    [name] = settings
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} "):
        make_criterion(**settings)
