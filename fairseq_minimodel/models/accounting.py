"""What training has cost so far, in the log of every run and through every resume.

fairseq keeps the meters of its "default" group from the first update on and saves them with every
checkpoint; the sums below are read from there.
"""

from fairseq.distributed import utils as distributed
from fairseq.logging import metrics

from ..checkpoint.cost import FLOPS, SECONDS, TOKENS

DATA_SECONDS = "_data_seconds"  # spent waiting for batches


def record_flops(flops: float) -> None:
    """Add a batch to the cost of the run, and show what the run has cost in the log.

    All since the first update of the run: `flops`; `tokens`, without padding; `tflops`, 10^12 FLOPs
    per second of training. The other processes are taken to do what this one does.
    """
    metrics.log_scalar(FLOPS, flops * distributed.get_data_parallel_world_size())
    metrics.log_derived("flops", lambda _: total(FLOPS), priority=91)
    metrics.log_derived("tokens", lambda _: total(TOKENS), priority=92)
    metrics.log_derived("tflops", lambda _: round(_tflops(), 4), priority=93)


def record_waiting() -> None:
    """Show in the log how much of its time the run has waited for data: `data_wait`, in per cent."""
    metrics.log_derived("data_wait", lambda _: round(_data_wait(), 2), priority=94)


def total(name: str) -> float:
    """The sum of a meter since the first update; 0 before."""
    meter = metrics.get_meter("default", name)
    return meter.sum if meter else 0.0


def _tflops() -> float:
    seconds = total(SECONDS)
    return total(FLOPS) / seconds / 1e12 if seconds else 0.0


def _data_wait() -> float:
    waited = total(DATA_SECONDS)
    return 100 * waited / (waited + total(SECONDS)) if waited else 0.0
