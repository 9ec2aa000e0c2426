"""The loss of sentence vectors in a new language: how far they are from those of the translations."""

from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor
from torch.nn import functional

from ..errors import InputError

SAME = 1 - 1e-6  # cosine from which on two source texts count as one


@dataclass
class SentenceDistillationCriterionConfig(FairseqDataclass):
    contrastive_weight: float = field(
        default=0.0,
        metadata={
            "help": "how much it counts that each text is nearer to its own translation than to the "
            "others of the batch, beside the squared distance, which counts 1"
        },
    )
    contrastive_temperature: float = field(
        default=0.05, metadata={"help": "by which cosines are divided before the softmax"}
    )


@register_criterion("sentence_distillation", dataclass=SentenceDistillationCriterionConfig)
class SentenceDistillationCriterion(FairseqCriterion):
    """Squared distance of each text's vector from its teacher's, and a contrastive term.

    With s_i the vector of text i and t_i the teacher's vector of its translation,

        loss = sum_i |s_i - t_i|^2 + w sum_i (c_i + c'_i) / 2
        c_i  = -log (exp(cos(s_i, t_i) / T) / sum_j exp(cos(s_i, t_j) / T))
        c'_i = -log (exp(cos(s_i, t_i) / T) / sum_j exp(cos(s_j, t_i) / T))

    over the texts of a batch. The distance is that of Reimers and Gurevych 2020 (arXiv 2004.09813),
    equation 1, whose second part is 0 here: the teacher's body is the model's, so that the source
    language has the teacher's vectors. The contrastive term is that of van den Oord et al. 2018
    (arXiv 1807.03748), equation 4, both ways; texts with the same translation are not told apart.
    With several processes each compares within its own batch.

    Logged, each a mean over texts: `loss`; `distance`, the squared one; `contrastive`, in nats;
    `found`, the share of texts whose own translation is the nearest of the batch, in per cent.
    """

    def __init__(self, cfg: SentenceDistillationCriterionConfig, task: object) -> None:
        super().__init__(task)
        self.weight, self.temperature = cfg.contrastive_weight, cfg.contrastive_temperature
        if self.weight < 0:
            raise InputError(f"--contrastive-weight {self.weight} is below 0")
        if self.temperature <= 0:
            raise InputError(f"--contrastive-temperature {self.temperature} is not above 0")

    def forward(
        self, model: torch.nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss, number of texts (the gradient's denominator), and what is logged."""
        vectors = model(**sample["net_input"], sentence_vectors=True)[0].float()
        teacher = sample["target"].float()
        distance = (vectors - teacher).square().sum()
        contrastive, found = contrast(vectors, teacher, self.temperature)
        loss = distance + self.weight * contrastive if self.weight else distance
        logging_output = {
            "loss": loss.data,
            "distance": distance.data,
            "contrastive": contrastive.data,
            "found": found,
            "ntokens": sample["ntokens"],
            "nsentences": len(vectors),
            "sample_size": len(vectors),
        }
        return loss, len(vectors), logging_output

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        """Average over the batches and processes of an update."""
        texts = sum(log.get("sample_size", 0) for log in logging_outputs)
        for name, factor, digits in (
            ("loss", 1, 4),
            ("distance", 1, 4),
            ("contrastive", 1, 3),
            ("found", 100, 1),
        ):
            total = sum(log.get(name, 0) for log in logging_outputs)
            metrics.log_scalar(name, factor * total / texts, texts, round=digits)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True


def contrast(vectors: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The contrastive term, summed over a batch, and how many of its texts are nearest to their own.

    Args:
        vectors, teacher: batch x width.
    """
    student, teacher = functional.normalize(vectors), functional.normalize(teacher)
    cosines = student @ teacher.T
    own = torch.arange(len(cosines), device=cosines.device)
    found = (cosines.argmax(dim=1) == own).sum()
    same = (teacher @ teacher.T > SAME).fill_diagonal_(False)
    logits = (cosines / temperature).masked_fill(same, -torch.inf)
    both = (functional.cross_entropy(one, own, reduction="sum") for one in (logits, logits.T))
    return sum(both) / 2, found
