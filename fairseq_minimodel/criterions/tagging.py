"""The loss of tagging words."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor
from torch.nn import functional

from ..kinds import TAG_HEAD
from ..vocabulary.tokenizers import SPECIAL_SYMBOLS


@dataclass
class TaggingCriterionConfig(FairseqDataclass):
    pass


@register_criterion("tagging", dataclass=TaggingCriterionConfig)
class TaggingCriterion(FairseqCriterion):
    """Cross-entropy of the tag of each word, at its first token (Devlin et al. 2019, section 5.3).

    Logged: `loss`, in bits per word; `accuracy`, the share of the words whose most probable tag is
    right, in per cent.
    """

    def forward(
        self, model: torch.nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss, number of words (the gradient's denominator), and what is logged."""
        scores = model(**sample["net_input"], token_head=TAG_HEAD)[0]  # windows x length x tags
        target = sample["target"]  # windows x length
        is_word = target.ne(self.padding_idx)
        scores, classes = scores[is_word].float(), target[is_word] - len(SPECIAL_SYMBOLS)
        loss = functional.cross_entropy(scores, classes, reduction="sum")
        sample_size = len(classes)
        logging_output = {
            "loss": loss.data,
            "correct": (scores.argmax(dim=-1) == classes).sum(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample_size,
        }
        return loss, sample_size, logging_output

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        """Average over the batches and processes of an update."""
        loss, words, correct = (
            sum(log.get(name, 0) for log in logging_outputs)
            for name in ("loss", "sample_size", "correct")
        )
        metrics.log_scalar("loss", loss / words / math.log(2), words, round=3)
        metrics.log_scalar("accuracy", 100.0 * correct / words, words, round=1)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
