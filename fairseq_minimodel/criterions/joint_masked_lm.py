"""The loss of joint pretraining: every MLM head predicts the same masked tokens."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq import utils
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor

from ..errors import InputError


@dataclass
class JointMaskedLMConfig(FairseqDataclass):
    head_weights: str = field(
        default="",
        metadata={
            "help": "weight of each head's loss, by layer: 4:0.5,12:0.5 (default: equal); the "
            "weights are divided by their sum"
        },
    )


@register_criterion("joint_masked_lm", dataclass=JointMaskedLMConfig)
class JointMaskedLM(FairseqCriterion):
    """Weighted mean over heads of the masked-language-model loss (Marchisio et al. 2023, MiniJoint).

    loss = sum_l w_l * loss_l / sum_l w_l, each loss_l the cross-entropy of the head after layer l,
    summed over the masked tokens. With one head this is fairseq's `masked_lm`, to the bit. Logged in
    bits per masked token: `loss`, and `loss_l4`, `ppl_l4` for the head after layer 4.
    """

    def __init__(self, cfg: JointMaskedLMConfig, task: object) -> None:
        super().__init__(task)
        self.given_weights = parse_head_weights(cfg.head_weights)

    def forward(
        self, model: torch.nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Loss, number of masked tokens (the gradient's denominator), and what is logged."""
        masked_tokens = sample["target"].ne(self.padding_idx)
        sample_size = masked_tokens.int().sum()
        extra = model(**sample["net_input"], masked_tokens=masked_tokens, targets=sample["target"])[
            1
        ]
        head_losses = extra["head_losses"]
        weights = self.weights(list(head_losses))

        loss = 0.0
        logging_output = {
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample_size,
        }
        for layer, head_loss in head_losses.items():
            loss = loss + weights[layer] * head_loss
            logging_output[f"loss_l{layer}"] = head_loss.data
        logging_output["loss"] = loss.data
        return loss, sample_size, logging_output

    def weights(self, layers: list[int]) -> dict[int, float]:
        """The weight of each head, summing to 1.

        Raises:
            InputError: weights were given for other layers than those that have heads.
        """
        given = self.given_weights or dict.fromkeys(layers, 1.0)
        if set(given) != set(layers):
            raise InputError(
                f"--head-weights names the layers {', '.join(map(str, sorted(given)))}, and the "
                f"model has heads after the layers {', '.join(map(str, layers))}"
            )
        total = sum(given.values())
        return {layer: given[layer] / total for layer in layers}

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        """Average over the batches and processes of an update."""
        sample_size = sum(log.get("sample_size", 0) for log in logging_outputs)
        names = {name for log in logging_outputs for name in log if name.startswith("loss")}
        for name in sorted(names):
            total = sum(log.get(name, 0) for log in logging_outputs)
            metrics.log_scalar(name, total / sample_size / math.log(2), sample_size, round=3)
            metrics.log_derived(
                name.replace("loss", "ppl", 1),
                lambda meters, name=name: utils.get_perplexity(meters[name].avg),
            )

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True


def parse_head_weights(text: str) -> dict[int, float]:
    """The weights in "4:0.5,12:0.5", by layer; empty for the empty text.

    Raises:
        InputError: the text is something else, or the weights are negative or all 0.
    """
    try:
        pairs = [pair.split(":") for pair in text.split(",") if pair.strip()]
        weights = {int(layer): float(weight) for layer, weight in pairs}
    except ValueError:
        raise InputError(f'--head-weights "{text}" is not of the form 4:0.5,12:0.5') from None
    if weights and (min(weights.values()) < 0 or sum(weights.values()) <= 0):
        raise InputError(f'--head-weights "{text}": weights are 0 or more, one of them above 0')
    return weights
