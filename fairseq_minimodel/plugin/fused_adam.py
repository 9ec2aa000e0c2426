"""PyTorch's fused Adam as an optimiser of fairseq."""

import torch
from fairseq.optim import FairseqOptimizer, register_optimizer
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from torch import nn

from ..errors import InputError


@register_optimizer("fused_adam", dataclass=FairseqAdamConfig)
class FusedAdam(FairseqAdam):
    """`--optimizer adam` in one pass over the parameters, with the same options.

    Kingma and Ba (2015, algorithm 1) with decoupled weight decay (Loshchilov and Hutter 2019),
    `torch.optim.AdamW(fused=True)`. fairseq's own makes a dozen passes, of which a language side of
    50,000 tokens feels each. As in the paper epsilon is added after the correction of the bias;
    fairseq's adds it before, which for the usual 1e-6 to 1e-8 hardly makes a difference.
    """

    def __init__(self, cfg: FairseqAdamConfig, params: list[nn.Parameter]) -> None:
        FairseqOptimizer.__init__(self, cfg)
        if cfg.fp16_adam_stats or cfg.use_old_adam:
            raise InputError(
                "--optimizer fused_adam has neither --fp16-adam-stats nor --use-old-adam: give "
                "--optimizer adam for these"
            )
        self._optimizer = torch.optim.AdamW(params, fused=True, **self.optimizer_config)

    @property
    def supports_flat_params(self) -> bool:
        """Whether --fp16 may hand over all parameters as one tensor: it computes by elements."""
        return True

    @property
    def supports_memory_efficient_fp16(self) -> bool:
        """Asked with --memory-efficient-fp16 or -bf16, where weights have 16 bits alone.

        PyTorch would keep the moments in 16 bits too, in which small changes are lost.
        """
        raise InputError(
            "--optimizer fused_adam needs weights of 32 bits, which --memory-efficient-fp16 and "
            "--memory-efficient-bf16 do without: give --optimizer adam, or --fp16 or --bf16 instead"
        )
