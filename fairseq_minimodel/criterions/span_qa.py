"""The loss of extractive question answering."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor
from torch.nn import functional

from ..kinds.window_options import NO_ANSWER


@dataclass
class SpanQACriterionConfig(FairseqDataclass):
    pass


@register_criterion("span_qa", dataclass=SpanQACriterionConfig)
class SpanQACriterion(FairseqCriterion):
    """Mean of the cross-entropies of the first and the last token of the answer.

    Devlin et al. 2019 (arXiv 1810.04805), section 4.2. Both are distributions over the tokens of the
    window, without padding. Logged: `loss`, in bits per window; `accuracy`, the share of the windows
    that hold the answer in which the most probable first token and the most probable last token are
    both right, in per cent. (The others are the more, and the easier, the shorter windows are.)
    """

    def forward(
        self, model: torch.nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss, number of windows (the gradient's denominator), and what is logged."""
        padding = sample["net_input"]["src_tokens"].eq(self.padding_idx)
        scores = model(**sample["net_input"], span_scores=True)[0].float()
        scores = scores.masked_fill(padding.unsqueeze(-1), -math.inf)  # windows x length x 2
        target = sample["target"]  # windows x 2
        loss = functional.cross_entropy(scores, target, reduction="sum") / 2
        sample_size = len(target)
        has_answer = (target != target.new_tensor(NO_ANSWER)).any(dim=1)
        is_right = (scores.argmax(dim=1) == target).all(dim=1)
        logging_output = {
            "loss": loss.data,
            "answers": has_answer.sum(),
            "correct": (has_answer & is_right).sum(),
            "ntokens": sample["ntokens"],
            "nsentences": sample_size,
            "sample_size": sample_size,
        }
        return loss, sample_size, logging_output

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        """Average over the batches and processes of an update."""
        loss, windows, answers, correct = (
            sum(log.get(name, 0) for log in logging_outputs)
            for name in ("loss", "sample_size", "answers", "correct")
        )
        metrics.log_scalar("loss", loss / windows / math.log(2), windows, round=3)
        metrics.log_scalar("accuracy", 100.0 * correct / max(answers, 1), answers, round=1)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
